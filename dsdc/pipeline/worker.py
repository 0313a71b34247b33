"""A worker: claims inputs of one stage until nothing is left.

Any number of workers, on any number of machines, may run at once. A claim is a lease by the database's clock, renewed
while its worker lives; one that dies loses it, and one that wakes up late finds its results refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from dsdc.db.repositories.attempts import Claim, StageAttempts
from dsdc.db.session import retrying, transaction
from dsdc.errors import PLATFORM_FAULTS, BytesMissing, DatabaseError, Stopped
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline.assembly import STAGES, Assembly, assemble, ensure_vector_index
from dsdc.pipeline.contract import Produced, Stage, StageReport
from dsdc.pipeline.drain import StopRequest
from dsdc.pipeline.leases import Leases, worker_name
from dsdc.pipeline.outcomes import Outcomes
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, open_storage

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (inputs finished, inputs known to be open)
ENQUEUE = 2000  # inputs queued in one statement
FLUSH_S = 3.0  # results are recorded at least this often
FEW_VECTORS = 1000  # indexed within seconds, for which others can wait


def run_stage(name: str, *, progress: Progress | None = None, assembly: Assembly | None = None) -> StageReport:
    """Work on one stage until no input is due.

    SIGTERM, and Ctrl-C, let what is under way finish (`pipeline.drain_s`) and give the rest back.

    Raises:
        NotFound: no such stage.
        Stopped: by a signal, before the work was done.
        DatabaseError, StorageError, ModelError, SetupError: the fault is not a document's; claims are given back.
    """
    config = settings()
    storage = open_storage(config)
    ready = assembly or retrying(lambda: assemble(config, storage))
    embeds = name.startswith("embed")
    if embeds:  # before there are vectors: building it over many keeps everybody from writing
        retrying(lambda: ensure_vector_index(ready, at_most=FEW_VECTORS))
    with (
        StopRequest(config.pipeline.drain_s, ready.processors.break_off) as stop,
        Leases(config.pipeline.claim_lease_s, _renew) as leases,
    ):
        worker = _Worker(config, storage, ready.stage(name), progress, leases, stop)
        report = worker.run()
    log.info("stage.finished", **report.as_dict())
    if stop.requested:
        raise Stopped(f"Stage {name} was asked to stop; {report.done} inputs are done, the rest waits.")
    if embeds:  # of an archive that has lacked it: whatever this worker had to do
        retrying(lambda: ensure_vector_index(ready))
    return report


def run_all(*, progress: Callable[[str, int, int], None] | None = None) -> list[StageReport]:
    """All stages in order, on one set of loaded engines."""
    ready = retrying(lambda: assemble(settings()))

    def of(name: str) -> Progress | None:
        return None if progress is None else (lambda done, total: progress(name, done, total))

    return [run_stage(name, progress=of(name), assembly=ready) for name in STAGES]


def _renew(claims: Sequence[Claim], lease_s: float) -> set[int]:
    with transaction() as session:
        return StageAttempts(session).renew(claims, lease_s=lease_s)


class _Worker:
    def __init__(
        self,
        config: Settings,
        storage: Storage,
        stage: Stage[Any, Any],
        progress: Progress | None,
        leases: Leases[Claim],
        stop: StopRequest,
    ) -> None:
        self._config = config.pipeline
        self._stage = stage
        self._progress = progress
        self._leases = leases
        self._stop = stop
        self._name = worker_name(config)
        self._unsure = False  # whether the answer to a claim was lost
        self._outcomes = Outcomes(config, storage, stage)

    def run(self) -> StageReport:
        started = time.monotonic()
        self._outcomes.give_up_on_crashes()
        while not self._stop.requested and (claims := retrying(self._claim)):
            self._tell()
            self._work(claims)
        self._tell()
        return self._outcomes.report(time.monotonic() - started)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._outcomes.ended, retrying(self._still_open))

    def _still_open(self) -> int:
        with transaction() as session:
            return StageAttempts(session).open(self._stage.name, self._stage.processor_id)

    def _claim(self) -> list[Claim]:
        unsure, self._unsure = self._unsure, True
        with transaction() as session:
            queue = StageAttempts(session)
            if unsure:
                queue.disown(self._stage.name, self._stage.processor_id, worker=self._name)
            # Queueing looks at every input there is, so it is done only when the queue has run dry.
            claims = self._take(queue) or (self._take(queue) if self._enqueue(queue) else [])
        self._unsure = False
        return claims

    def _take(self, queue: StageAttempts) -> list[Claim]:
        return queue.claim(
            self._stage.name,
            self._stage.processor_id,
            worker=self._name,
            limit=self._config.claim_batch,
            lease_s=self._config.claim_lease_s,
        )

    def _enqueue(self, queue: StageAttempts) -> int:
        return queue.enqueue(self._stage.name, self._stage.processor_id, self._stage.inputs(), limit=ENQUEUE)

    def _load(self, claims: Sequence[Claim]) -> list[Any]:
        with transaction() as session:
            return self._stage.load(session, [claim.input_id for claim in claims])

    def _work(self, claims: Sequence[Claim]) -> None:
        """Compute a batch and record its results as they come; what is left after a fault goes back to the queue."""
        reach("worker.claimed")
        batch = _Batch(self._outcomes, self._leases, claims)
        try:
            batch.inputs = retrying(lambda: self._load(claims))
            self._compute(batch)
            batch.flush()
            batch.release("The worker was asked to stop.")
        except PLATFORM_FAULTS:
            batch.release("The worker stopped: the platform itself failed.")
            raise
        except Exception as error:  # noqa: BLE001 - whatever an engine may raise over one input of a batch
            batch.flush()
            self._one_by_one(batch.hand_over(), error)
        except BaseException:
            batch.release("The worker was stopped.")
            raise

    def _compute(self, batch: _Batch) -> None:
        with closing(self._stage.compute(batch.inputs)) as results:
            for produced in results:
                if self._stop.overdue and produced.error is not None:
                    return  # what was broken off has not failed
                batch.add(produced)
                if self._stop.overdue:
                    return

    def _one_by_one(self, claims: Sequence[Claim], error: Exception) -> None:
        """Find out whose error it was: each input alone, so that only the culprit fails."""
        if len(claims) == 1:
            self._outcomes.fail(claims[0], error)
            return
        log.warning("stage.batch_failed", stage=self._stage.name, inputs=len(claims), error=str(error))
        self._leases.hold(claims)
        for claim in claims:
            self._work([claim])


class _Batch:
    """Claims of one batch on their way: collects results, records them in groups, knows what is still open."""

    def __init__(self, outcomes: Outcomes, leases: Leases[Claim], claims: Sequence[Claim]) -> None:
        self._outcomes = outcomes
        self._leases = leases
        self._claims = claims
        self.inputs: Sequence[Any] = ()
        self._open = set(range(len(claims)))
        self._ready: list[Produced[Any]] = []
        self._flushed = time.monotonic()
        leases.hold(claims)

    def add(self, produced: Produced[Any]) -> None:
        if produced.error is not None:
            self._failed(produced.index, produced.error)
            return
        self._ready.append(produced)
        if not produced.last or time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def _failed(self, index: int, error: Exception) -> None:
        if isinstance(error, PLATFORM_FAULTS) and not isinstance(error, BytesMissing):
            raise error
        self.flush()
        self._outcomes.fail(self._claims[index], error)
        self._close({index})

    def flush(self) -> None:
        """Record what is ready."""
        if self._ready:
            ready, self._ready = self._ready, []
            self._outcomes.record(self._claims, self.inputs, ready)
            self._close({result.index for result in ready if result.last})
        self._flushed = time.monotonic()

    def _close(self, indexes: set[int]) -> None:
        self._open -= indexes
        self._leases.drop(self._claims[index] for index in indexes)

    def hand_over(self) -> list[Claim]:
        """Claims without a result, which somebody else sees to from here on."""
        still_open = [self._claims[index] for index in sorted(self._open)]
        self._close(set(self._open))
        return still_open

    def release(self, reason: str) -> None:
        """Give back what has no result. A database that does not answer will let the leases expire instead."""
        claims = self.hand_over()
        try:
            self._outcomes.give_back(claims, reason)
        except DatabaseError as error:
            log.warning("stage.release_failed", claims=len(claims), error=str(error))
