"""What becomes of claims: results into tables, failures counted, retried, or set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import Claim, Finish, StageAttempts
from dsdc.db.repositories.documents import Rejection
from dsdc.db.session import retrying, transaction
from dsdc.errors import BytesMissing, DocumentError, DsdcError, HashMismatch
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline.contract import Produced, Stage, StageReport
from dsdc.pipeline.leases import wait_before_retry_s
from dsdc.pipeline.quarantine import abandon_rejection, finish_rejection, plain, prepare_rejection, record_rejection
from dsdc.settings import Settings
from dsdc.storage import Storage

log = get_logger(__name__)

#: How often a document is set aside anew, because the same bytes arrived just then and took the copy out of quarantine.
_TRIES = 3


class Outcomes:
    """The one way from a result to the database; counts what happened."""

    def __init__(self, config: Settings, storage: Storage, stage: Stage[Any, Any]) -> None:
        self._config = config
        self._storage = storage
        self._stage = stage
        self._counts: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()

    @property
    def ended(self) -> int:
        """Inputs that need no further attempt."""
        return sum(self._counts[key] for key in ("done", "skipped", "failed"))

    def report(self, seconds: float) -> StageReport:
        keys = ("done", "skipped", "failed", "retried", "lost", "partial")
        return StageReport(
            self._stage.name,
            **{key: self._counts[key] for key in keys},
            seconds=seconds,
            categories=dict(self._categories),
        )

    def record(self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]) -> None:
        """One transaction for many results; if a row of one is refused, each gets a transaction of its own."""
        reach("worker.computed")
        try:
            lost = retrying(lambda: self._record_all(claims, inputs, results))
        except (IntegrityError, DataError) as error:
            log.warning("stage.row_refused", stage=self._stage.name, error=str(error.orig).splitlines()[0])
            self._record_each(claims, inputs, results)
            return
        self._count(inputs, results, lost)
        reach("worker.recorded")

    def _count(self, inputs: Sequence[Any], results: Sequence[Produced[Any]], lost: set[int]) -> None:
        for result in results:
            if result.index in lost:
                self._counts["lost"] += 1
                retrying(partial(self._stage.lost, inputs[result.index], result.rows))
                continue
            self._stage.committed(result.rows)
            if result.last:
                self._counts["skipped" if result.skipped else "done"] += 1
                self._counts["partial"] += result.partial is not None

    def _record_all(self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]) -> set[int]:
        """Returns the indexes whose claims somebody else has taken over: their results are refused."""
        with transaction() as session:
            owned = self._end(session, claims, results)
            for result in results:
                if result.index in owned:
                    self._stage.record(session, inputs[result.index], result.rows)
            reach("worker.before_commit")
        return {r.index for r in results} - owned

    def _end(self, session: Session, claims: Sequence[Claim], results: Sequence[Produced[Any]]) -> set[int]:
        """End or renew the claims behind results; returns the indexes whose claims are still ours."""
        queue = StageAttempts(session)
        goes_on = [claims[r.index] for r in results if not r.last]
        owned = queue.finish([_finish(claims[r.index], r) for r in results if r.last])
        owned |= queue.renew(goes_on, lease_s=self._config.pipeline.claim_lease_s)
        return {r.index for r in results if claims[r.index].id in owned}

    def _record_each(self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]) -> None:
        for result in results:
            alone = [result]
            try:
                lost = retrying(lambda one=alone: self._record_all(claims, inputs, one))  # type: ignore[misc]
                self._count(inputs, alone, lost)
            except (IntegrityError, DataError) as error:
                self.fail(claims[result.index], DocumentError(str(error.orig).splitlines()[0]))

    def fail(self, claim: Claim, error: Exception) -> None:
        """A document's own fault ends it; anything else gets further attempts, later, with jitter."""
        config = self._config.pipeline
        category = error.category if isinstance(error, DsdcError) else "error"
        message = plain(str(error)) or type(error).__name__
        if isinstance(error, DocumentError) or claim.failures + 1 >= config.max_attempts:
            self._end_failed(claim, category, message)
            return
        wait = wait_before_retry_s(self._config, claim.failures)
        retrying(lambda: self._retry(claim, wait, category, message))
        self._counts["retried"] += 1
        log.warning("stage.retry", stage=self._stage.name, document=claim.document_id, error=message, wait_s=wait)

    @staticmethod
    def _retry(claim: Claim, wait_s: float, category: str, message: str) -> None:
        with transaction() as session:
            StageAttempts(session).retry(claim, wait_s=wait_s, category=category, message=message)

    def _end_failed(self, claim: Claim, category: str, message: str) -> None:
        def end(session: Session) -> bool:
            return bool(StageAttempts(session).finish([Finish(claim, "failed", category, message)]))

        self._set_aside(
            end, lambda: self._rejection(claim.document_id, category, message, claim.failures + 1), category
        )

    def give_up_on_crashes(self) -> None:
        """End what has cost too many workers their lives."""
        limit = self._config.pipeline.max_crashes
        for attempt_id, document_id, crashes in retrying(self._crashed):
            message = f"It was in the hands of {crashes} workers that died."

            def end(session: Session, found: int = attempt_id, said: str = message) -> bool:
                return StageAttempts(session).give_up(found, said, max_crashes=limit)

            prepare = partial(self._rejection, document_id, "crashed", message, crashes)
            self._set_aside(end, prepare, "crashed")

    def _crashed(self) -> list[tuple[int, str, int]]:
        with transaction() as session:
            limit = self._config.pipeline.max_crashes
            return StageAttempts(session).crashed(self._stage.name, self._stage.processor_id, max_crashes=limit)

    def _rejection(self, document_id: str, category: str, message: str, attempts: int) -> Rejection | None:
        """A document whose pages cannot be had leaves the store; one page without text leaves the document usable."""
        if self._stage.name != "render":
            return None
        try:
            return prepare_rejection(
                self._config,
                self._storage,
                document_id,
                stage=self._stage.name,
                category=category,
                message=message,
                attempts=attempts,
            )
        except (BytesMissing, HashMismatch) as error:
            log.warning("stage.nothing_to_set_aside", document=document_id, error=str(error))
            return None  # the store is at fault, as `dsdc fsck` tells too

    def _set_aside(
        self, end: Callable[[Session], bool], prepare: Callable[[], Rejection | None], category: str
    ) -> None:
        """End a claim and record the rejection in one transaction: never one without the other."""
        for tries_left in reversed(range(_TRIES)):
            rejection = prepare()
            try:
                ended = retrying(partial(_record_end, end, rejection))
                break
            except BytesMissing:
                if not tries_left:
                    raise
        if not ended:
            if rejection is not None:
                abandon_rejection(rejection)
            return
        self._counts["failed"] += 1
        self._categories[category] += 1
        if rejection is not None:
            finish_rejection(self._storage, rejection)

    def give_back(self, claims: Sequence[Claim], reason: str) -> None:
        """Return claims that nothing speaks against to the queue."""
        with transaction() as session:
            queue = StageAttempts(session)
            for claim in claims:
                queue.release(claim, reason)


def _record_end(end: Callable[[Session], bool], rejection: Rejection | None) -> bool:
    """One transaction: False where the claim is somebody else's by now."""
    with transaction() as session:
        if not end(session):
            return False
        if rejection is not None:
            record_rejection(session, rejection)
        return True


def _finish(claim: Claim, result: Produced[Any]) -> Finish:
    if result.partial is not None:
        return Finish(claim, "done", "partial", result.partial)
    return Finish(claim, "skipped" if result.skipped else "done")
