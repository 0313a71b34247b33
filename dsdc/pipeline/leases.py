"""Claims that a worker has in its hands, renewed for as long as it lives."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from dsdc.errors import DatabaseError
from dsdc.log import get_logger
from dsdc.settings import Settings, settings

log = get_logger(__name__)


class Held(Protocol):
    """A claim on a row of some queue; `fence` proves it."""

    @property
    def id(self) -> int: ...
    @property
    def fence(self) -> int: ...


C = TypeVar("C", bound=Held)


def worker_name(config: Settings | None = None) -> str:
    """host:pid:token, as it stands on claims; no two workers have the same, whatever their machines are called."""
    named = (config or settings()).pipeline.worker_name
    return f"{named or socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def wait_before_retry_s(config: Settings, failures: int) -> float:
    """Seconds until what has failed `failures` times before is tried again; doubles, with jitter."""
    return config.pipeline.backoff_s * 2**failures * random.uniform(0.75, 1.25)  # noqa: S311


class Leases(Generic[C]):
    """A thread that renews leases four times in their life; it ends with the worker, and so do they.

    `renew` pushes the ends of leases out by so many seconds, and returns the ids of those that are still owned.
    """

    def __init__(self, lease_s: float, renew: Callable[[Sequence[C], float], set[int]]) -> None:
        self._lease_s = lease_s
        self._renew_all = renew
        self._held: dict[int, C] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_over, name="leases", daemon=True)

    def __enter__(self) -> Leases[C]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def hold(self, claims: Iterable[C]) -> None:
        with self._lock:
            self._held |= {claim.id: claim for claim in claims}

    def drop(self, claims: Iterable[C]) -> None:
        with self._lock:
            for claim in claims:
                self._held.pop(claim.id, None)

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._lease_s / 4):
            with self._lock:
                held = list(self._held.values())
            try:
                self._renew(held)
            # The next round may reach the database; if none does in time, the leases run out, as they should.
            except DatabaseError as error:
                log.warning("leases.not_renewed", claims=len(held), error=str(error))
            # Nobody would start this thread again: whatever it meets, the leases of later claims depend on it.
            except Exception:
                log.exception("leases.not_renewed", claims=len(held))

    def _renew(self, held: list[C]) -> None:
        if not held:
            return
        kept = self._renew_all(held, self._lease_s)
        lost = [claim for claim in held if claim.id not in kept]
        if lost:
            self.drop(lost)
