"""Requests that may be repeated without being done twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from dsdc.db.repositories.claims import give_back_statement, renew_statement
from dsdc.db.tables import IdempotencyKey
from dsdc.errors import KeyReused, StillRunning

_TABLE = "idempotency_keys"

# A key whose time is over is as good as new.
_NEW = text("""
    INSERT INTO idempotency_keys AS k
        (owner, operation, key, fingerprint, resource_id, state, fence, available, lease_until, expires)
    VALUES (:owner, :operation, :key, :fingerprint, :resource_id, 'running', 1,
        clock_timestamp() + :lease * interval '1 second', clock_timestamp() + :lease * interval '1 second',
        clock_timestamp() + :lifetime * interval '1 second')
    ON CONFLICT (owner, operation, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, state = 'running',
        fence = k.fence + 1, available = excluded.available, lease_until = excluded.lease_until,
        created = clock_timestamp(), expires = excluded.expires
    WHERE k.expires <= clock_timestamp()
    RETURNING k.id, k.fence, k.resource_id
""")

_AGAIN = text("""
    UPDATE idempotency_keys
    SET state = 'running', fence = fence + 1, available = clock_timestamp() + :lease * interval '1 second',
        lease_until = clock_timestamp() + :lease * interval '1 second'
    WHERE id = :id
    RETURNING id, fence, resource_id
""")
_RENEW = renew_statement(_TABLE)
_GIVE_BACK = give_back_statement(_TABLE)


@dataclass(frozen=True)
class Request:
    """A request with an idempotency key. `fingerprint` is a SHA-256 of all that it said."""

    owner: str
    operation: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class KeyClaim:
    """The right to answer a request, until the lease ends; with `done` it has been answered.

    `again`: somebody has tried before and may have got as far as making `resource_id`.
    """

    id: int
    fence: int
    resource_id: UUID
    done: bool = False
    again: bool = False


class IdempotencyKeys:
    def __init__(self, session: Session) -> None:
        self._session = session

    def claim(self, request: Request, resource_id: UUID, *, lease_s: float, lifetime_s: float) -> KeyClaim:
        """Begin to answer a request; `resource_id` is what its answer will be called, if this is the first try.

        Raises:
            KeyReused: the key came with another request.
            StillRunning: somebody is answering it now.
        """
        parameters = {
            "owner": request.owner,
            "operation": request.operation,
            "key": request.key,
            "fingerprint": request.fingerprint,
            "resource_id": resource_id,
            "lease": lease_s,
            "lifetime": lifetime_s,
        }
        new = self._session.execute(_NEW, parameters).one_or_none()
        if new is not None:
            return KeyClaim(new.id, new.fence, new.resource_id)
        return self._known(request, resource_id, lease_s)

    def _known(self, request: Request, resource_id: UUID, lease_s: float) -> KeyClaim:
        k = IdempotencyKey
        named = (k.owner == request.owner, k.operation == request.operation, k.key == request.key)
        taken = (k.available > func.clock_timestamp()).label("taken")
        found = self._session.execute(select(k, taken).where(*named).with_for_update()).one_or_none()
        if found is None:  # removed this very moment, for its time was over
            raise StillRunning
        row, is_taken = found
        if row.fingerprint != request.fingerprint:
            raise KeyReused
        if row.state == "done":
            return KeyClaim(row.id, row.fence, row.resource_id, done=True)
        # Under this very id it is ours: the answer to the COMMIT of the first try was lost.
        if row.state == "running" and is_taken and row.resource_id != resource_id:
            raise StillRunning
        again = self._session.execute(_AGAIN, {"id": row.id, "lease": lease_s}).one()
        return KeyClaim(again.id, again.fence, again.resource_id, again=True)

    def renew(self, claims: Sequence[KeyClaim], *, lease_s: float) -> set[int]:
        """Push the ends of leases out; returns the ids that are still owned."""
        if not claims:
            return set()
        parameters = {"ids": [c.id for c in claims], "fences": [c.fence for c in claims], "lease": lease_s}
        return set(self._session.scalars(_RENEW, parameters))

    def finish(self, claim: KeyClaim) -> None:
        """The request has been answered."""
        k = IdempotencyKey
        self._session.execute(
            update(k).where(k.id == claim.id, k.fence == claim.fence).values(state="done", lease_until=None)
        )

    def give_back(self, claim: KeyClaim) -> None:
        """The request was not answered; it may be repeated at once."""
        self._session.execute(_GIVE_BACK, {"id": claim.id, "fence": claim.fence, "wait": 0})

    def forget_expired(self) -> int:
        """Remove keys whose time is over; returns how many."""
        k = IdempotencyKey
        gone = delete(k).where(k.expires <= func.clock_timestamp()).returning(k.id)
        return len(self._session.scalars(gone).all())
