"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what is asked twice is done once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Header
from sqlalchemy.orm import Session

from dsdc.db.repositories.idempotency import IdempotencyKeys, KeyClaim, Request
from dsdc.db.session import retrying, transaction
from dsdc.errors import DatabaseError
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline.leases import Leases
from dsdc.settings import Settings

log = get_logger(__name__)

#: As the draft has it, a string in quotes; without them it is taken too.
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r'^("[!#-\[\]-~]{1,128}"|[!#-\[\]-~]{1,128})$',
        description="The same key with the same request gives the first answer again; with another request, 422.",
        examples=['"8e03978e-40d5-43dd-bc93-6894a57f9324"'],
    ),
]


def fingerprint(*said: Any) -> str:
    """SHA-256 of all that a request says; not of its bytes, for each try has another multipart boundary."""
    return hashlib.sha256(json.dumps(said, ensure_ascii=True).encode()).hexdigest()


def request_of(owner: str, operation: str, header: str, *said: Any) -> Request:
    return Request(owner, operation, header.strip('"'), fingerprint(*said))


def _renew(claims: Sequence[KeyClaim], lease_s: float) -> set[int]:
    with transaction("serve") as session:
        return IdempotencyKeys(session).renew(claims, lease_s=lease_s)


class Once:
    """Answers each request with a key once. Safe to share between threads."""

    def __init__(self, config: Settings) -> None:
        self._lease_s = float(config.pipeline.claim_lease_s)
        self._lifetime_s = config.predict.idempotency_hours * 3600
        self._leases: Leases[KeyClaim] = Leases(self._lease_s, _renew)

    def start(self) -> None:
        self._leases.__enter__()

    def stop(self) -> None:
        self._leases.__exit__(None, None, None)

    def claim(self, session: Session, request: Request, resource_id: UUID) -> KeyClaim:
        """For work that fits into one transaction. Raises KeyReused, StillRunning."""
        return IdempotencyKeys(session).claim(request, resource_id, lease_s=self._lease_s, lifetime_s=self._lifetime_s)

    def run(self, request: Request, work: Callable[[UUID], object], is_made: Callable[[UUID], bool]) -> UUID:
        """The id of what the request asks for: made by `work` under the given id, or found where `is_made`.

        Raises:
            KeyReused: the key came with another request. StillRunning: somebody is at it now.
            Whatever `work` raises; then the request may be repeated.
        """
        chosen = uuid4()
        claim = retrying(lambda: self._claimed(request, chosen))
        if claim.done:
            return claim.resource_id
        self._leases.hold([claim])
        try:
            if not (claim.again and is_made(claim.resource_id)):
                work(claim.resource_id)
            reach("once.made")
        except BaseException:
            self._give_back(claim)
            raise
        finally:
            self._leases.drop([claim])
        retrying(lambda: self._finish(claim))
        return claim.resource_id

    def _claimed(self, request: Request, chosen: UUID) -> KeyClaim:
        with transaction("serve") as session:
            return self.claim(session, request, chosen)

    @staticmethod
    def _finish(claim: KeyClaim) -> None:
        with transaction("serve") as session:
            IdempotencyKeys(session).finish(claim)

    @staticmethod
    def _give_back(claim: KeyClaim) -> None:
        try:
            with transaction("serve") as session:
                IdempotencyKeys(session).give_back(claim)
        except DatabaseError as error:
            log.warning("once.not_given_back", error=str(error))  # its lease will run out
