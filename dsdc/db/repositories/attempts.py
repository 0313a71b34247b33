"""The queue: which input of which stage is pending, claimed, finished or failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Select, Text, any_, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import array, insert
from sqlalchemy.orm import Session

from dsdc.db.repositories.claims import SUSPECT, claim_statement, give_back_statement, renew_statement
from dsdc.db.tables import OriginalDocument, StageAttempt

State = Literal["pending", "running", "done", "skipped", "failed"]


@dataclass(frozen=True)
class Claim:
    """One input that this worker owns until its lease ends; `fence` proves it. `failures` counts earlier errors."""

    id: int
    input_id: str
    document_id: str
    attempt: int
    fence: int
    failures: int = 0


@dataclass(frozen=True)
class Finish:
    """The end of a claim."""

    claim: Claim
    state: Literal["done", "skipped", "failed"]
    category: str | None = None
    message: str | None = None


_TABLE = "stage_attempts"
_CLAIM = claim_statement(
    _TABLE,
    scope="""
        stage = :stage AND processor_id = :processor
        AND (SELECT d.state FROM original_documents d WHERE d.id = stage_attempts.document_id) <> 'forgotten'
    """,
    returning="a.id, a.input_id, a.document_id, a.attempts, a.fence, a.failures",
)
_RENEW = renew_statement(_TABLE)
_RETRY = give_back_statement(_TABLE, also="category = :category, message = :message, failures = failures + :failed,")

_FIND_CRASHED = text("""
    SELECT id, document_id, crashes + 1 AS crashes FROM stage_attempts
    WHERE stage = :stage AND processor_id = :processor AND state = 'running'
      AND available <= clock_timestamp() AND crashes + 1 >= :max_crashes
    ORDER BY id
""")

_GIVE_UP = text("""
    UPDATE stage_attempts SET state = 'failed', lease_until = NULL, finished = clock_timestamp(),
        crashes = crashes + (state = 'running')::int, category = 'crashed', message = :message
    WHERE id = :id AND (
        (state = 'running' AND available <= clock_timestamp() AND crashes + 1 >= :max_crashes)
        OR (state = 'failed' AND message = :message)  -- by this call, whose answer was lost
    )
    RETURNING id
""")

# A claim that is ended as asked already was ended by this very call, whose answer was lost: the fence is nobody else's.
_FINISH = text("""
    UPDATE stage_attempts AS a
    SET state = f.state, category = f.category, message = f.message, lease_until = NULL, finished = clock_timestamp(),
        failures = a.failures + (f.state = 'failed' AND a.state = 'running')::int
    FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[]), CAST(:states AS text[]),
                CAST(:categories AS text[]), CAST(:messages AS text[])) AS f(id, fence, state, category, message)
    WHERE a.id = f.id AND a.fence = f.fence AND a.state IN ('running', f.state)
    RETURNING a.id
""")

_DISOWN = text("""
    UPDATE stage_attempts SET state = 'pending', lease_until = NULL, available = clock_timestamp()
    WHERE stage = :stage AND processor_id = :processor AND state = 'running' AND worker = :worker
""")


# A worker claims a batch at once, so that the times of its inputs overlap: what counts is the union of their spans.
_PACE = text("""
    WITH measured AS (
        SELECT a.processor_id, p.name || ' ' || p.version AS processor
        FROM stage_attempts a JOIN processors p ON p.id = a.processor_id
        WHERE a.stage = :stage AND a.finished > a.started
        GROUP BY a.processor_id, p.name, p.version
        ORDER BY (a.processor_id = :processor AND count(*) >= :enough) DESC, max(a.id) DESC LIMIT 1
    ), recent AS (
        SELECT a.worker, a.started, a.finished, m.processor
        FROM stage_attempts a JOIN measured m USING (processor_id)
        WHERE a.stage = :stage AND a.finished > a.started ORDER BY a.id DESC LIMIT :most
    ), spans AS (
        SELECT *, max(finished) OVER (PARTITION BY worker ORDER BY started, finished
                                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until
        FROM recent
    )
    SELECT processor, count(*) AS inputs,
           sum(greatest(extract(epoch FROM finished - greatest(started, busy_until)), 0)) AS seconds
    FROM spans GROUP BY processor
""")
_PACE_ENOUGH, _PACE_MOST = 20, 2000


@dataclass(frozen=True)
class Pace:
    """How long one worker has taken for one input: mean over the newest `inputs` of `processor` (name and version)."""

    processor: str
    inputs: int
    seconds: float


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
        """Take what is due, and what somebody else let expire. Leases run by the database's clock.

        What may have ended workers comes last, and alone.
        """
        parameters = {"stage": stage, "processor": processor_id, "worker": worker, "lease": lease_s, "suspect": SUSPECT}
        for alone, most in ((False, limit), (True, 1)):
            rows = self._session.execute(_CLAIM, parameters | {"alone": alone, "limit": most})
            claims = [Claim(r.id, r.input_id, r.document_id, r.attempts, r.fence, r.failures) for r in rows]
            if claims:
                return sorted(claims, key=lambda c: c.id)
        return []

    def disown(self, stage: str, processor_id: int, *, worker: str) -> None:
        """Free what a worker has claimed without knowing it: the answer to its last claim was lost."""
        self._session.execute(_DISOWN, {"stage": stage, "processor": processor_id, "worker": worker})

    def crashed(self, stage: str, processor_id: int, *, max_crashes: int) -> list[tuple[int, str, int]]:
        """(id, document, crashes) of what has cost `max_crashes` workers their lives."""
        parameters = {"stage": stage, "processor": processor_id, "max_crashes": max_crashes}
        return [(r.id, r.document_id, r.crashes) for r in self._session.execute(_FIND_CRASHED, parameters)]

    def give_up(self, attempt_id: int, message: str, *, max_crashes: int) -> bool:
        """Fail one of `crashed`; False when somebody else has taken it meanwhile."""
        parameters = {"id": attempt_id, "message": message, "max_crashes": max_crashes}
        return self._session.scalar(_GIVE_UP, parameters) is not None

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
        """Give a claim that failed back for a later attempt; False when it is no longer ours."""
        return self._give_back(claim, wait_s, category, message, failed=1)

    def release(self, claim: Claim, message: str) -> bool:
        """Give a claim back that nothing speaks against; False when it is no longer ours."""
        return self._give_back(claim, 0, "interrupted", message, failed=0)

    def _give_back(self, claim: Claim, wait_s: float, category: str, message: str, *, failed: int) -> bool:
        parameters = {"id": claim.id, "fence": claim.fence, "wait": wait_s, "failed": failed}
        done = self._session.scalar(_RETRY, parameters | {"category": category, "message": message})
        return done is not None

    def record_done(
        self,
        stage: str,
        processor_id: int,
        inputs: Sequence[tuple[str, str]],
        *,
        worker: str,
        partial: str | None = None,
        skipped: bool = False,
    ) -> None:
        """Note work that was done outside the queue (a prediction, a replay), so that no worker does it again.

        What waits in the queue is done with it; what a worker has in hand or has ended is left alone.

        `partial` says what of the inputs could not be had; `skipped` that there was nothing to make of them.
        """
        if not inputs:
            return
        ended = {
            "stage": stage,
            "processor_id": processor_id,
            "state": "skipped" if skipped else "done",
            "category": "partial" if partial else None,
            "message": partial,
            "attempts": 1,
            "worker": worker,
            "finished": func.clock_timestamp(),
        }
        rows = insert(StageAttempt).values(
            [ended | {"input_id": input_id, "document_id": document_id} for input_id, document_id in inputs]
        )
        waiting = rows.on_conflict_do_update(
            index_elements=["stage", "processor_id", "input_id"],
            set_={name: rows.excluded[name] for name in ended} | {"fence": StageAttempt.fence + 1},
            where=StageAttempt.state == "pending",
        )
        self._session.execute(waiting)

    def forgive(self, document_ids: Sequence[str]) -> None:
        """Let the failed work of these documents be tried again from the start."""
        self._session.execute(
            update(StageAttempt)
            .where(StageAttempt.document_id.in_(document_ids), StageAttempt.state == "failed")
            .values(state="pending", attempts=0, failures=0, crashes=0, available=func.clock_timestamp(), finished=None)
        )

    def counts(self, stage: str, processor_id: int) -> dict[str, int]:
        """Number of inputs in each state."""
        rows = self._session.execute(
            select(StageAttempt.state, func.count())
            .where(StageAttempt.stage == stage, StageAttempt.processor_id == processor_id)
            .group_by(StageAttempt.state)
        )
        return {row[0]: row[1] for row in rows}

    def by_stage(self) -> dict[tuple[str, str], int]:
        """Number of inputs by stage and state, whichever processors they are or were for."""
        attempt = StageAttempt
        rows = self._session.execute(
            select(attempt.stage, attempt.state, func.count()).group_by(attempt.stage, attempt.state)
        )
        return {(row[0], row[1]): row[2] for row in rows}

    def open_by_stage(self, processor_ids: Collection[int]) -> dict[str, int]:
        """How many inputs are pending or claimed for these processors, by stage."""
        rows = self._session.execute(
            select(StageAttempt.stage, func.count())
            .where(StageAttempt.state.in_(["pending", "running"]), StageAttempt.processor_id.in_(processor_ids))
            .group_by(StageAttempt.stage)
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

    def pages_to_come(self, stage: str, processor_id: int, documents: Select[str, str]) -> int:
        """Pages of `documents` that this version has not finished, as counted by another; one where nobody knows."""
        waiting = self._unfinished(stage, processor_id, documents).subquery()
        pages = select(func.sum(func.coalesce(OriginalDocument.page_count, 1)))
        return self._session.scalar(pages.join(waiting, waiting.c[1] == OriginalDocument.id)) or 0

    def unfinished(
        self, stage: str, processor_id: int, inputs: Select[str, str], document_ids: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Those of `inputs` that belong to these documents and that this version has not finished, by document."""
        document = inputs.selected_columns[1]
        waiting = self._unfinished(stage, processor_id, inputs).where(document == any_(array(document_ids, type_=Text)))
        rows = self._session.execute(waiting.order_by(document, inputs.selected_columns[0]))
        return [(row[0], row[1]) for row in rows]

    @staticmethod
    def _unfinished(stage: str, processor_id: int, inputs: Select[str, str]) -> Select[str, str]:
        ended = (
            select(StageAttempt.id)
            .where(
                StageAttempt.stage == stage,
                StageAttempt.processor_id == processor_id,
                StageAttempt.input_id == inputs.selected_columns[0],
                StageAttempt.state.in_(["done", "skipped", "failed"]),
            )
            .exists()
        )
        return inputs.where(~ended)

    def pace(self, stage: str, processor_id: int) -> Pace | None:
        """Of this version where it has run often enough, else of the one that ran last; None where none ever ran."""
        given = {"stage": stage, "processor": processor_id, "enough": _PACE_ENOUGH, "most": _PACE_MOST}
        row = self._session.execute(_PACE, given).first()
        return None if row is None else Pace(row.processor, row.inputs, float(row.seconds) / row.inputs)

    def failures(self, *, limit: int = 50) -> Sequence[StageAttempt]:
        """The newest failed inputs."""
        return self._session.scalars(
            select(StageAttempt)
            .where(StageAttempt.state == "failed")
            .order_by(StageAttempt.finished.desc())
            .limit(limit)
        ).all()
