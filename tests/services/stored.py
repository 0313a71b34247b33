"""What a running platform has in its store, for tests; and documents that the stand-in takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dsdc.client import Client
from dsdc.db.session import transaction
from dsdc.web.contract import Batch
from tests.services.platforms import Platform

PNG = b"\x89PNG\r\n\x1a\n"


def page(number: int) -> bytes:
    return PNG + f"page {number}".encode()


def rows(platform: Platform, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with platform.here(), transaction("owner") as session:
        return [tuple(row) for row in session.execute(text(query), parameters)]


def uploads(platform: Platform) -> list[Path]:
    """Files that wait in the store, whole or on their way in."""
    return [path for path in (platform.root / "data" / "uploads").rglob("*") if path.is_file()]


def nothing_is_left(platform: Platform) -> bool:
    """Bytes go a moment after the last document has its end."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not uploads(platform):
            return True
        time.sleep(0.05)
    return False


def over(client: Client, batch: Batch) -> Batch:
    return client.wait_for_batch(batch.batch_id, timeout_s=300, poll_s=0.1)


def until(condition: Callable[[], object], within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    raise AssertionError("it did not come about in time")
