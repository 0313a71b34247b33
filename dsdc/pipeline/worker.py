"""A worker: claims inputs of one stage until nothing is left.

Any number of workers, on any number of machines, may run at once. A claim is a lease by the database's clock; a worker
that dies loses it, and one that wakes up late finds its results refused.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import Claim, Finish, StageAttempts
from dsdc.db.session import retrying, transaction
from dsdc.errors import DatabaseError, DocumentError, ModelError, SetupError, StorageError
from dsdc.log import get_logger
from dsdc.pipeline.assembly import STAGES, Assembly, assemble, ensure_vector_index
from dsdc.pipeline.contract import Produced, Stage, StageReport
from dsdc.pipeline.quarantine import reject_document
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, open_storage

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (inputs finished, inputs known to be open)
ENQUEUE = 2000  # inputs queued in one statement
FLUSH_S = 3.0  # results are recorded at least this often, and leases renewed


def run_stage(name: str, *, progress: Progress | None = None, assembly: Assembly | None = None) -> StageReport:
    """Work on one stage until no input is due.

    Raises:
        NotFound: no such stage.
        DatabaseError, StorageError, ModelError, SetupError: the fault is not a document's; claims are given back.
    """
    config = settings()
    storage = open_storage(config)
    ready = assembly or assemble(config, storage)
    worker = _Worker(config, storage, ready.stage(name), progress)
    report = worker.run()
    if name.startswith("embed") and report.done:
        ensure_vector_index(ready)
    log.info("stage.finished", **report.as_dict())
    return report


def run_all(*, progress: Callable[[str, int, int], None] | None = None) -> list[StageReport]:
    """All stages in order, on one set of loaded engines."""
    ready = assemble(settings())

    def of(name: str) -> Progress | None:
        return None if progress is None else (lambda done, total: progress(name, done, total))

    return [run_stage(name, progress=of(name), assembly=ready) for name in STAGES]


def worker_name() -> str:
    """host:pid, as it stands on claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


class _Worker:
    def __init__(self, config: Settings, storage: Storage, stage: Stage[Any, Any], progress: Progress | None) -> None:
        self._config = config
        self._storage = storage
        self._stage = stage
        self._progress = progress
        self._name = worker_name()
        self._counts: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()

    def run(self) -> StageReport:
        started = time.monotonic()
        self._give_up()
        while claims := retrying(self._claim):
            self._tell()
            self._work(claims)
        self._tell()
        return StageReport(
            self._stage.name,
            **{key: self._counts[key] for key in ("done", "skipped", "failed", "retried", "lost")},
            seconds=time.monotonic() - started,
            categories=dict(self._categories),
        )

    def _tell(self) -> None:
        if self._progress is None:
            return
        with transaction() as session:
            still = StageAttempts(session).open(self._stage.name, self._stage.processor_id)
        self._progress(sum(self._counts[key] for key in ("done", "skipped", "failed")), still)

    def _give_up(self) -> None:
        limit = self._config.pipeline.max_attempts
        with transaction() as session:
            lost = StageAttempts(session).give_up_on_crashes(
                self._stage.name, self._stage.processor_id, max_attempts=limit
            )
        for document_id in lost:
            self._count_failure("crashed")
            self._quarantine(document_id, "crashed", f"It ended {limit} workers.", limit)

    def _claim(self) -> list[Claim]:
        config = self._config.pipeline
        with transaction() as session:
            queue = StageAttempts(session)
            for first in (True, False):
                claims = queue.claim(
                    self._stage.name,
                    self._stage.processor_id,
                    worker=self._name,
                    limit=config.claim_batch,
                    lease_s=config.claim_lease_s,
                )
                # Queueing looks at every input there is, so it is done only when the queue has run dry.
                if claims or not first or not self._enqueue(queue):
                    return claims
        return []

    def _enqueue(self, queue: StageAttempts) -> int:
        return queue.enqueue(self._stage.name, self._stage.processor_id, self._stage.inputs(), limit=ENQUEUE)

    def _work(self, claims: Sequence[Claim]) -> None:
        """Compute a batch and record its results as they come; what is left after a fault goes back to the queue."""
        batch = _Batch(self, claims)
        try:
            with transaction() as session:
                batch.inputs = self._stage.load(session, [c.input_id for c in claims])
            for produced in self._stage.compute(batch.inputs):
                batch.add(produced)
            batch.flush()
        except (DatabaseError, StorageError, ModelError, SetupError):
            # Not the documents' fault: nothing of this counts against them, and the task is to end red.
            batch.release("The worker stopped: the platform itself failed.")
            raise
        except Exception as error:  # noqa: BLE001 - whatever an engine may raise over one input of a batch
            batch.flush()
            self._one_by_one(batch.still_open(), error)
        except BaseException:
            batch.release("The worker was stopped.")
            raise

    def _one_by_one(self, claims: Sequence[Claim], error: Exception) -> None:
        """Find out whose error it was: each input alone, so that only the culprit fails."""
        if len(claims) == 1:
            self.fail(claims[0], error)
            return
        log.warning("stage.batch_failed", stage=self._stage.name, inputs=len(claims), error=str(error))
        for claim in claims:
            self._work([claim])

    def record(self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]) -> None:
        """One transaction for many results; if a row of one is refused, each gets a savepoint of its own."""
        try:
            lost = retrying(lambda: self._record_all(claims, inputs, results))
        except (IntegrityError, DataError) as error:
            log.warning("stage.row_refused", stage=self._stage.name, error=str(error.orig).splitlines()[0])
            lost = retrying(lambda: self._record_each(claims, inputs, results))
        for result in results:
            if result.index in lost:
                self._counts["lost"] += 1
            elif result.last:
                self._counts["skipped" if result.skipped else "done"] += 1

    def _record_all(self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]) -> set[int]:
        with transaction() as session:
            owned = self._end(session, claims, results)
            for result in results:
                if result.index in owned:
                    self._stage.record(session, inputs[result.index], result.rows)
        return {r.index for r in results} - owned

    def _end(self, session: Session, claims: Sequence[Claim], results: Sequence[Produced[Any]]) -> set[int]:
        """End or renew the claims behind results; returns the indexes whose claims are still ours."""
        queue = StageAttempts(session)
        ends = [Finish(claims[r.index], "skipped" if r.skipped else "done") for r in results if r.last]
        goes_on = [claims[r.index] for r in results if not r.last]
        owned = queue.finish(ends) | queue.renew(goes_on, lease_s=self._config.pipeline.claim_lease_s)
        return {r.index for r in results if claims[r.index].id in owned}

    def _record_each(
        self, claims: Sequence[Claim], inputs: Sequence[Any], results: Sequence[Produced[Any]]
    ) -> set[int]:
        lost: set[int] = set()
        for result in results:
            try:
                lost |= self._record_all(claims, inputs, [result])
            except (IntegrityError, DataError) as error:
                self.fail(claims[result.index], DocumentError(str(error.orig).splitlines()[0]))
                lost.add(result.index)
        return lost

    def fail(self, claim: Claim, error: Exception) -> None:
        """A document's own fault ends it; anything else gets further attempts, later, with jitter."""
        config = self._config.pipeline
        category = error.category if isinstance(error, DocumentError) else "error"
        message = str(error) or type(error).__name__
        if isinstance(error, DocumentError) or claim.attempt >= config.max_attempts:
            with transaction() as session:
                ended = StageAttempts(session).finish([Finish(claim, "failed", category, message)])
            if ended:
                self._count_failure(category)
                self._quarantine(claim.document_id, category, message, claim.attempt)
            return
        wait = config.backoff_s * 2 ** (claim.attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        with transaction() as session:
            StageAttempts(session).retry(claim, wait_s=wait, category=category, message=message)
        self._counts["retried"] += 1
        log.warning("stage.retry", stage=self._stage.name, document=claim.document_id, error=message, wait_s=wait)

    def _count_failure(self, category: str) -> None:
        self._counts["failed"] += 1
        self._categories[category] += 1

    def _quarantine(self, document_id: str, category: str, message: str, attempts: int) -> None:
        """A document whose pages cannot be had leaves the store; one page without text leaves the document usable."""
        if self._stage.name == "render":
            reject_document(
                self._config,
                self._storage,
                document_id,
                stage=self._stage.name,
                category=category,
                message=message,
                attempts=attempts,
            )

    def keep_leases(self, batch: _Batch) -> None:
        """A batch of slow inputs may take longer than one lease: what is still to come is held on to."""
        lease_s = self._config.pipeline.claim_lease_s
        if time.monotonic() - batch.renewed < lease_s / 4:
            return
        batch.renewed = time.monotonic()
        with transaction() as session:
            StageAttempts(session).renew(batch.still_open(), lease_s=lease_s)

    def give_back(self, claims: Sequence[Claim], reason: str) -> None:
        with transaction() as session:
            queue = StageAttempts(session)
            for claim in claims:
                queue.retry(claim, wait_s=0, category="interrupted", message=reason)


class _Batch:
    """Claims of one batch on their way: collects results, records them in groups, knows what is still open."""

    def __init__(self, worker: _Worker, claims: Sequence[Claim]) -> None:
        self._worker = worker
        self._claims = claims
        self.inputs: Sequence[Any] = ()
        self._open = set(range(len(claims)))
        self._ready: list[Produced[Any]] = []
        self._flushed = time.monotonic()
        self.renewed = time.monotonic()

    def add(self, produced: Produced[Any]) -> None:
        if produced.error is not None:
            self.flush()
            self._worker.fail(self._claims[produced.index], produced.error)
            self._open.discard(produced.index)
            return
        self._ready.append(produced)
        if not produced.last or time.monotonic() - self._flushed > FLUSH_S:
            self.flush()
        self._worker.keep_leases(self)

    def flush(self) -> None:
        if self._ready:
            self._worker.record(self._claims, self.inputs, self._ready)
            self._open -= {r.index for r in self._ready if r.last}
            self._ready = []
        self._flushed = time.monotonic()

    def still_open(self) -> list[Claim]:
        """Claims without a result."""
        return [self._claims[i] for i in sorted(self._open)]

    def release(self, reason: str) -> None:
        """Give back what has no result. A database that does not answer will let the leases expire instead."""
        try:
            self._worker.give_back(self.still_open(), reason)
        except DatabaseError as error:
            log.warning("stage.release_failed", error=str(error))
