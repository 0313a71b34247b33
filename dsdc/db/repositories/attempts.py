"""The queue: which input of which stage is pending, claimed, finished or failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Select, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import StageAttempt

State = Literal["pending", "running", "done", "skipped", "failed"]


@dataclass(frozen=True)
class Claim:
    """One input that this worker owns until its lease ends; `fence` proves it."""

    id: int
    input_id: str
    document_id: str
    attempt: int
    fence: int


@dataclass(frozen=True)
class Finish:
    """The end of a claim."""

    claim: Claim
    state: Literal["done", "skipped", "failed"]
    category: str | None = None
    message: str | None = None


_CLAIM = text("""
    UPDATE stage_attempts AS a
    SET state = 'running', attempts = a.attempts + 1, fence = a.fence + 1, worker = :worker,
        started = clock_timestamp(), lease_until = clock_timestamp() + :lease * interval '1 second',
        available = clock_timestamp() + :lease * interval '1 second'
    FROM (
        SELECT id FROM stage_attempts
        WHERE stage = :stage AND processor_id = :processor AND state IN ('pending', 'running')
          AND available <= clock_timestamp()
        ORDER BY available, id
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ) AS open
    WHERE a.id = open.id
    RETURNING a.id, a.input_id, a.document_id, a.attempts, a.fence
""")

# A claim whose lease ran out as often as allowed killed its worker each time: it is not handed out again.
_GIVE_UP = text("""
    UPDATE stage_attempts SET state = 'failed', lease_until = NULL, finished = clock_timestamp(),
        category = 'crashed', message = 'The worker died ' || attempts || ' times while it had this input.'
    WHERE stage = :stage AND processor_id = :processor AND state = 'running'
      AND available <= clock_timestamp() AND attempts >= :max_attempts
    RETURNING document_id
""")

_FINISH = text("""
    UPDATE stage_attempts AS a
    SET state = f.state, category = f.category, message = f.message, lease_until = NULL, finished = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[]), CAST(:states AS text[]),
                CAST(:categories AS text[]), CAST(:messages AS text[])) AS f(id, fence, state, category, message)
    WHERE a.id = f.id AND a.fence = f.fence AND a.state = 'running'
    RETURNING a.id
""")

_RENEW = text("""
    UPDATE stage_attempts AS a
    SET lease_until = clock_timestamp() + :lease * interval '1 second',
        available = clock_timestamp() + :lease * interval '1 second'
    FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[])) AS f(id, fence)
    WHERE a.id = f.id AND a.fence = f.fence AND a.state = 'running'
    RETURNING a.id
""")

_RETRY = text("""
    UPDATE stage_attempts
    SET state = 'pending', lease_until = NULL, category = :category, message = :message,
        available = clock_timestamp() + :wait * interval '1 second'
    WHERE id = :id AND fence = :fence AND state = 'running'
    RETURNING id
""")


class StageAttempts:
    def __init__(self, session: Session) -> None:
        self._session = session

    def enqueue(self, stage: str, processor_id: int, inputs: Select[str, str], *, limit: int) -> int:
        """Queue up to `limit` of `inputs` (input id, document id) that this processor version never met."""
        new = self._new(stage, processor_id, inputs).limit(limit).subquery()
        rows = insert(StageAttempt).from_select(
            ["stage", "processor_id", "input_id", "document_id"],
            select(
                bindparam("stage", stage),
                bindparam("processor", processor_id),
                new.c[0].label("i"),
                new.c[1].label("d"),
            ),
        )
        added = self._session.scalars(rows.on_conflict_do_nothing().returning(StageAttempt.id))
        return len(list(added))

    def unmet(self, stage: str, processor_id: int, inputs: Select[str, str]) -> int:
        """How many of `inputs` are not even queued."""
        new = self._new(stage, processor_id, inputs).subquery()
        return self._session.scalar(select(func.count()).select_from(new)) or 0

    @staticmethod
    def _new(stage: str, processor_id: int, inputs: Select[str, str]) -> Select[str, str]:
        known = (
            select(StageAttempt.id)
            .where(
                StageAttempt.stage == stage,
                StageAttempt.processor_id == processor_id,
                StageAttempt.input_id == inputs.selected_columns[0],
            )
            .exists()
        )
        return inputs.where(~known)

    def claim(self, stage: str, processor_id: int, *, worker: str, limit: int, lease_s: float) -> list[Claim]:
        """Take what is due, and what somebody else let expire. Leases run by the database's clock."""
        rows = self._session.execute(
            _CLAIM,
            {"stage": stage, "processor": processor_id, "worker": worker, "limit": limit, "lease": lease_s},
        )
        claims = [Claim(r.id, r.input_id, r.document_id, r.attempts, r.fence) for r in rows]
        return sorted(claims, key=lambda c: c.id)

    def give_up_on_crashes(self, stage: str, processor_id: int, *, max_attempts: int) -> list[str]:
        """Fail what has cost `max_attempts` workers their lives; returns the documents concerned."""
        rows = self._session.scalars(
            _GIVE_UP, {"stage": stage, "processor": processor_id, "max_attempts": max_attempts}
        )
        return list(rows)

    def finish(self, ends: Sequence[Finish]) -> set[int]:
        """End claims; returns the ids that were still owned. The others were taken over, their results are refused."""
        if not ends:
            return set()
        rows = self._session.scalars(
            _FINISH,
            {
                "ids": [e.claim.id for e in ends],
                "fences": [e.claim.fence for e in ends],
                "states": [e.state for e in ends],
                "categories": [e.category for e in ends],
                "messages": [e.message for e in ends],
            },
        )
        return set(rows)

    def renew(self, claims: Sequence[Claim], *, lease_s: float) -> set[int]:
        """Push the ends of leases out; returns the ids that are still owned."""
        if not claims:
            return set()
        parameters = {"ids": [c.id for c in claims], "fences": [c.fence for c in claims], "lease": lease_s}
        return set(self._session.scalars(_RENEW, parameters))

    def retry(self, claim: Claim, *, wait_s: float, category: str, message: str) -> bool:
        """Give a claim back for a later attempt; False when it is no longer ours."""
        parameters = {"id": claim.id, "fence": claim.fence, "wait": wait_s, "category": category, "message": message}
        return self._session.scalar(_RETRY, parameters) is not None

    def record_done(self, stage: str, processor_id: int, inputs: Sequence[tuple[str, str]], *, worker: str) -> None:
        """Note work that was done outside the queue (by the prediction service), so that no worker does it again."""
        if not inputs:
            return
        rows = insert(StageAttempt).values(
            [
                {
                    "stage": stage,
                    "processor_id": processor_id,
                    "input_id": input_id,
                    "document_id": document_id,
                    "state": "done",
                    "attempts": 1,
                    "worker": worker,
                    "finished": func.clock_timestamp(),
                }
                for input_id, document_id in inputs
            ]
        )
        self._session.execute(rows.on_conflict_do_nothing())

    def forgive(self, document_ids: Sequence[str]) -> None:
        """Let the failed work of these documents be tried again from the start."""
        self._session.execute(
            update(StageAttempt)
            .where(StageAttempt.document_id.in_(document_ids), StageAttempt.state == "failed")
            .values(state="pending", attempts=0, available=func.clock_timestamp(), finished=None)
        )

    def counts(self, stage: str, processor_id: int) -> dict[str, int]:
        """Number of inputs in each state."""
        rows = self._session.execute(
            select(StageAttempt.state, func.count())
            .where(StageAttempt.stage == stage, StageAttempt.processor_id == processor_id)
            .group_by(StageAttempt.state)
        )
        return {row[0]: row[1] for row in rows}

    def open(self, stage: str, processor_id: int) -> int:
        """How many inputs are pending or claimed."""
        return (
            self._session.scalar(
                select(func.count())
                .select_from(StageAttempt)
                .where(
                    StageAttempt.stage == stage,
                    StageAttempt.processor_id == processor_id,
                    StageAttempt.state.in_(["pending", "running"]),
                )
            )
            or 0
        )

    def failures(self, *, limit: int = 50) -> Sequence[StageAttempt]:
        """The newest failed inputs."""
        return self._session.scalars(
            select(StageAttempt)
            .where(StageAttempt.state == "failed")
            .order_by(StageAttempt.finished.desc())
            .limit(limit)
        ).all()
