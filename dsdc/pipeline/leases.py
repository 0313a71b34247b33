"""Claims that a worker has in its hands, renewed for as long as it lives."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from dsdc.db.repositories.attempts import Claim, StageAttempts
from dsdc.db.session import transaction
from dsdc.errors import DatabaseError
from dsdc.log import get_logger

log = get_logger(__name__)


class Leases:
    """A thread that renews leases four times in their life; it ends with the worker, and so do they."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._held: dict[int, Claim] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_over, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def hold(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            self._held |= {claim.id: claim for claim in claims}

    def drop(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            for claim in claims:
                self._held.pop(claim.id, None)

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._lease_s / 4):
            with self._lock:
                held = list(self._held.values())
            try:
                self._renew(held)
            except DatabaseError as error:
                # The next round may reach it; if none does in time, the leases run out, as they should.
                log.warning("leases.not_renewed", claims=len(held), error=str(error))

    def _renew(self, held: list[Claim]) -> None:
        if not held:
            return
        with transaction() as session:
            kept = StageAttempts(session).renew(held, lease_s=self._lease_s)
        lost = [claim for claim in held if claim.id not in kept]
        if lost:
            self.drop(lost)
