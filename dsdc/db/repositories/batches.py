"""Batches of documents to predict: what arrives, what is claimed, what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.repositories.claims import SUSPECT, claim_statement, give_back_statement, renew_statement
from dsdc.db.tables import Prediction, PredictionBatch, PredictionBatchItem

Problem = Mapping[str, Any]
_UNANSWERED = ("pending", "running")
_NEEDED = ("arriving", *_UNANSWERED)  # states in which a document's bytes are

_TABLE = "prediction_batch_items"
_CLAIM = claim_statement(
    _TABLE,
    scope="""
        (SELECT cancelled FROM prediction_batches b WHERE b.id = prediction_batch_items.batch_id) IS NULL
        AND failures + crashes + (state = 'running')::int < :most
    """,
    returning="a.id, a.batch_id, a.position, a.name, a.sha256, a.fence, a.failures, a.crashes",
)
_RENEW = renew_statement(_TABLE)
_GIVE_BACK = give_back_statement(_TABLE, also="failures = failures + :failed,")

# What waits, also what waits for another attempt; and what a dead service had in its hands.
_DROP_CANCELLED = text("""
    UPDATE prediction_batch_items AS i
    SET state = 'cancelled', lease_until = NULL, finished = clock_timestamp()
    FROM prediction_batches b
    WHERE b.id = i.batch_id AND b.cancelled IS NOT NULL
      AND (i.state = 'pending' OR (i.state = 'running' AND i.available <= clock_timestamp()))
""")

_ABANDONED = text("""
    SELECT id FROM prediction_batches
    WHERE received IS NULL AND created < clock_timestamp() - :age * interval '1 second'
    ORDER BY created LIMIT 20
""")

_LEFT_OVER = text("""
    SELECT id, sha256 FROM prediction_batch_items
    WHERE uploaded AND state NOT IN ('arriving', 'pending', 'running')
    ORDER BY id LIMIT :limit
""")


@dataclass(frozen=True)
class NewItem:
    """One document as it arrived; with a `problem` it was refused, and its bytes are not kept."""

    position: int
    name: str
    sha256: str
    byte_size: int
    problem: Problem | None = None


@dataclass(frozen=True)
class ItemClaim:
    """A document that this service answers until its lease ends; `fence` proves it. `failures`: errors before."""

    id: int
    batch_id: UUID
    position: int
    name: str
    sha256: str
    fence: int
    failures: int
    crashes: int
    owner: str
    store: bool

    @property
    def answer_id(self) -> UUID:
        """The id that its answer has, whoever gives it and however often: so there is only one."""
        return uuid5(self.batch_id, str(self.position))

    @property
    def is_suspect(self) -> bool:
        """Whether it may have ended services, and is worked on by itself."""
        return self.crashes >= SUSPECT


@dataclass(frozen=True)
class Summary:
    """A batch, and how many of its documents are in which state; `finished` is when the last one ended."""

    batch: PredictionBatch
    counts: Mapping[str, int]
    attempts: int
    finished: Any


class Batches:
    def __init__(self, session: Session) -> None:
        self._session = session

    # --- arriving -------------------------------------------------------------------------------------------------

    def begin(self, batch_id: UUID, *, owner: str, store: bool) -> None:
        """A batch whose documents are about to arrive."""
        self._session.add(PredictionBatch(id=batch_id, owner=owner, store=store))
        self._session.flush()

    def add(self, batch_id: UUID, item: NewItem) -> None:
        """Note a document, before its bytes are stored: from here on nobody removes them."""
        state = "arriving" if item.problem is None else "refused"
        ended = {} if item.problem is None else {"problem": dict(item.problem), "finished": func.clock_timestamp()}
        row = insert(PredictionBatchItem).values(
            batch_id=batch_id,
            position=item.position,
            name=item.name,
            sha256=item.sha256,
            byte_size=item.byte_size,
            uploaded=item.problem is None,
            state=state,
            **ended,
        )
        self._session.execute(row)

    def accept(self, batch_id: UUID, *, store: bool) -> bool:
        """All documents are there: let them be worked on. False where the batch is gone, given up as abandoned."""
        batch = update(PredictionBatch).where(PredictionBatch.id == batch_id, PredictionBatch.received.is_(None))
        values = {"received": func.clock_timestamp(), "store": store}
        if self._session.scalar(batch.values(**values).returning(PredictionBatch.id)) is None:
            return False
        items = update(PredictionBatchItem).where(
            PredictionBatchItem.batch_id == batch_id, PredictionBatchItem.state == "arriving"
        )
        self._session.execute(items.values(state="pending", available=func.clock_timestamp()))
        return True

    def abandoned(self, older_than_s: float) -> list[UUID]:
        """Batches that began to arrive so long ago that whoever received them must be dead."""
        return list(self._session.scalars(_ABANDONED, {"age": older_than_s}))

    def drop_arriving(self, batch_id: UUID) -> None:
        """What has arrived of a batch that nobody was promised is not to be answered."""
        self._session.execute(
            update(PredictionBatchItem)
            .where(PredictionBatchItem.batch_id == batch_id, PredictionBatchItem.state == "arriving")
            .values(state="cancelled", finished=func.clock_timestamp())
        )

    def forget(self, batch_id: UUID) -> None:
        """Delete a batch that nobody was promised, once its bytes are gone."""
        i, b = PredictionBatchItem, PredictionBatch
        if self._session.scalar(select(i.id).where(i.batch_id == batch_id, i.uploaded).limit(1)) is not None:
            return
        if self._session.scalar(select(b.id).where(b.id == batch_id, b.received.is_(None)).with_for_update()) is None:
            return
        self._session.execute(delete(i).where(i.batch_id == batch_id))
        self._session.execute(delete(b).where(b.id == batch_id))

    # --- working --------------------------------------------------------------------------------------------------

    def claim(self, *, worker: str, lease_s: float, most_attempts: int, alone: bool = False) -> ItemClaim | None:
        """Take the next document. With `alone`, one that may have ended a service before, to be worked on by itself."""
        parameters = {"worker": worker, "lease": lease_s, "most": most_attempts, "suspect": SUSPECT, "limit": 1}
        row = self._session.execute(_CLAIM, parameters | {"alone": alone}).one_or_none()
        if row is None:
            return None
        batch = self._session.get_one(PredictionBatch, row.batch_id)
        return ItemClaim(**row._mapping, owner=batch.owner, store=batch.store)

    def renew(self, claims: Sequence[ItemClaim], *, lease_s: float) -> set[int]:
        """Push the ends of leases out; returns the ids that are still owned."""
        if not claims:
            return set()
        parameters = {"ids": [c.id for c in claims], "fences": [c.fence for c in claims], "lease": lease_s}
        return set(self._session.scalars(_RENEW, parameters))

    def finish(self, claim: ItemClaim, *, prediction_id: UUID | None = None, problem: Problem | None = None) -> bool:
        """End a claim with its answer or with what was wrong; False when somebody else has taken it over.

        Saying it again, after the answer to a COMMIT was lost, changes nothing.
        """
        state: Literal["done", "failed"] = "failed" if prediction_id is None else "done"
        i = PredictionBatchItem
        row = update(i).where(i.id == claim.id, i.fence == claim.fence, i.state.in_(["running", state]))
        ended = row.values(
            state=state,
            prediction_id=prediction_id,
            problem=None if problem is None else dict(problem),
            lease_until=None,
            finished=func.clock_timestamp(),
        )
        return self._session.scalar(ended.returning(i.id)) is not None

    def give_back(self, claim: ItemClaim, *, wait_s: float = 0, failed: bool = False) -> bool:
        """Let a claim be taken again, after a while; False when it is no longer ours."""
        parameters = {"id": claim.id, "fence": claim.fence, "wait": wait_s, "failed": int(failed)}
        return self._session.scalar(_GIVE_BACK, parameters) is not None

    def answered(self, prediction_id: UUID) -> bool:
        """Whether this answer has been given."""
        return self._session.scalar(select(Prediction.id).where(Prediction.id == prediction_id)) is not None

    def crashed(self, *, most_attempts: int) -> list[ItemClaim]:
        """Documents whose last service died, and that have had all their attempts."""
        i, b = PredictionBatchItem, PredictionBatch
        columns = (i.id, i.batch_id, i.position, i.name, i.sha256, i.fence, i.failures, i.crashes, b.owner, b.store)
        rows = self._session.execute(
            select(*columns)
            .join(b, b.id == i.batch_id)
            .where(
                i.state == "running",
                i.available <= func.clock_timestamp(),
                i.failures + i.crashes + 1 >= most_attempts,
            )
            .order_by(i.id)
            .with_for_update(of=i, skip_locked=True)
        )
        return [ItemClaim(**row._mapping) for row in rows]

    # --- bytes ----------------------------------------------------------------------------------------------------

    def left_over(self, limit: int) -> list[tuple[int, str]]:
        """(id, SHA-256) of documents that have been seen to, and whose bytes may still be there."""
        return [(row.id, row.sha256) for row in self._session.execute(_LEFT_OVER, {"limit": limit})]

    def uploads_of(self, batch_id: UUID) -> list[tuple[int, str]]:
        """The same of one batch."""
        i = PredictionBatchItem
        rows = self._session.execute(
            select(i.id, i.sha256).where(i.batch_id == batch_id, i.uploaded, i.state.not_in(_NEEDED)).order_by(i.id)
        )
        return [(row.id, row.sha256) for row in rows]

    def is_needed(self, sha256: str) -> bool:
        """Whether any document with these bytes arrives or waits; hold the bytes before asking."""
        i = PredictionBatchItem
        waiting = select(i.id).where(i.sha256 == sha256, i.uploaded, i.state.in_(_NEEDED))
        return self._session.scalar(waiting.limit(1)) is not None

    def bytes_gone(self, item_id: int) -> None:
        """A document that has been seen to has nothing in the store any more."""
        i = PredictionBatchItem
        self._session.execute(update(i).where(i.id == item_id, i.state.not_in(_NEEDED)).values(uploaded=False))

    # --- asking ---------------------------------------------------------------------------------------------------

    def summary(self, batch_id: UUID) -> Summary | None:
        """None where there is no such batch, or it is still arriving."""
        batch = self._session.get(PredictionBatch, batch_id)
        if batch is None or batch.received is None:
            return None
        i = PredictionBatchItem
        rows = self._session.execute(
            select(
                i.state, func.count().label("n"), func.sum(i.attempts).label("tried"), func.max(i.finished).label("at")
            )
            .where(i.batch_id == batch_id)
            .group_by(i.state)
        ).all()
        ends = [row.at for row in rows if row.at is not None]
        return Summary(batch, {r.state: r.n for r in rows}, sum(r.tried for r in rows), max(ends, default=None))

    def items(self, batch_id: UUID, *, after: int, limit: int) -> Sequence[Row[Any]]:
        """Documents of a batch by position, beginning after `after`, each with what its answer says."""
        i, p = PredictionBatchItem, Prediction
        return self._session.execute(
            select(
                i.position,
                i.name,
                i.sha256,
                i.byte_size,
                i.state,
                i.attempts,
                i.problem,
                i.prediction_id,
                i.finished,
                p.label,
                p.probability,
                p.decision,
            )
            .outerjoin(p, p.id == i.prediction_id)
            .where(i.batch_id == batch_id, i.position > after)
            .order_by(i.position)
            .limit(limit)
        ).all()

    def cancel(self, batch_id: UUID) -> None:
        """What has not been begun is not begun any more. Cancelling twice, or too late, changes nothing."""
        b = PredictionBatch
        self._session.execute(
            update(b).where(b.id == batch_id, b.cancelled.is_(None)).values(cancelled=func.clock_timestamp())
        )
        self.drop_cancelled()

    def drop_cancelled(self) -> None:
        """End what waits in cancelled batches, and what a dead service had begun of them."""
        self._session.execute(_DROP_CANCELLED)

    def waiting(self) -> int:
        """How many documents of all batches have no end yet."""
        i = PredictionBatchItem
        return self._session.scalar(select(func.count()).select_from(i).where(i.state.in_(_UNANSWERED))) or 0
