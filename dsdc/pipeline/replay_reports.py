"""Reports of replays under `logs/replay`: a page and JSON beside it, with names and texts of documents.

They go whole with the first of their documents that is forgotten: a replay can be run again, and makes nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dsdc.db.repositories.documents import Documents
from dsdc.db.session import transaction
from dsdc.settings import Settings
from dsdc.storage import writing


def folder(config: Settings) -> Path:
    """Where they are."""
    return config.path("logs") / "replay"


def discard(config: Settings, document_id: str) -> None:
    """Remove those that tell of a document.

    Raises:
        StorageError: the folder refuses.
    """
    for report in _reports(config):
        if document_id in _documents(report):
            remove(report)


def stale(config: Settings) -> Iterator[Path]:
    """Those that tell of a forgotten document: brought back, or written on a machine that forgot nothing itself."""
    return (report for report in _reports(config) if tells_of_forgotten(report))


def tells_of_forgotten(report: Path) -> bool:
    """Whether one of its documents has been forgotten."""
    with transaction() as session:
        return bool(Documents(session).forgotten(_documents(report)))


def remove(report: Path) -> None:
    """The page first: as long as the JSON is there, both can be found."""
    with writing(report.parent):
        report.with_suffix(".html").unlink(missing_ok=True)
        report.with_suffix(".json").unlink(missing_ok=True)


def _reports(config: Settings) -> list[Path]:
    return sorted(folder(config).glob("*.json"))


def _documents(report: Path) -> set[str]:
    try:
        said = report.with_suffix(".json").read_text(encoding="utf-8", errors="ignore")
    except FileNotFoundError:
        return set()  # removed by somebody else meanwhile
    return set(re.findall(r"\b[0-9a-f]{64}\b", said))
