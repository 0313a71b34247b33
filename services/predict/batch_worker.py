"""Answers documents of batches beside the requests that somebody waits for, which go first."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.batches import ItemClaim
from dsdc.errors import DsdcError
from dsdc.log import get_logger
from dsdc.settings import Settings
from services.predict.batch_items import ItemWork
from services.predict.bench import Bench
from services.predict.keeper import ModelKeeper

log = get_logger(__name__)

_LOOK_S = 0.05  # how often it looks for a spare worker
_PATIENCE_S = 10.0  # without one for so long, a document queues behind the requests: batches are slow then, not stuck
_TIDY_S = 10.0


class BatchWorker:
    """A task on the event loop, and documents in all threads of the bench but one, which is so soon free for requests.

    Any number of services may run one; claims keep them apart.
    """

    def __init__(self, config: Settings, work: ItemWork, keeper: ModelKeeper, bench: Bench) -> None:
        self._poll_s = config.predict.batch_poll_s
        self._drain_s = config.pipeline.drain_s
        self._work = work
        self._keeper = keeper
        self._bench = bench
        self._most = max(1, bench.workers - 1)
        self._hands: dict[asyncio.Task[None], ItemClaim] = {}
        self._woken = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._tidied = -_TIDY_S  # by the monotonic clock, which may begin at 0
        self._told = ""

    def start(self) -> None:
        self._work.leases.__enter__()
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def tidy_soon(self) -> None:
        """A batch was cancelled: its bytes need not wait for the next round."""
        self._tidied = -_TIDY_S
        self.wake()

    async def stop(self) -> None:
        """Take nothing more; what is not done within `pipeline.drain_s` goes back, for another service or later."""
        if self._task is None:
            return
        self._stopping = True
        self.wake()
        await self._task
        if self._hands:
            await asyncio.wait(self._hands, timeout=self._drain_s)
        for claim in list(self._hands.values()):
            self._work.leases.drop([claim])
            await run_in_threadpool(self._work.give_back, claim)
        self._work.leases.__exit__(None, None, None)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._once()
            except DsdcError as error:
                self._tell(error)
                await self._rest()
            # Whatever it was, batches must not stand still until somebody starts the service anew.
            except Exception:
                log.exception("batch.worker_failed")
                await self._rest()

    def _tell(self, error: DsdcError) -> None:
        if str(error) != self._told:  # once, and not every two seconds
            log.warning("batch.waits", kind=type(error).__name__, error=str(error))
        self._told = str(error)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), self._poll_s)

    async def _once(self) -> None:
        self._woken.clear()
        if time.monotonic() - self._tidied > _TIDY_S:
            self._tidied = time.monotonic()
            await run_in_threadpool(self._work.tidy)
        self._keeper.model()  # without a model nothing is begun
        if await self._turn():
            claim = await run_in_threadpool(partial(self._work.claim, alone=not self._hands))
            if claim is None:
                await self._rest()
            else:
                self._begin(claim)

    async def _turn(self) -> bool:
        """Wait until a document may be begun; False when none may any more."""
        asked = time.monotonic()
        while not self._stopping and not self._may_begin(time.monotonic() - asked):
            await asyncio.sleep(_LOOK_S)
        return not self._stopping

    def _may_begin(self, waited_s: float) -> bool:
        if len(self._hands) >= self._most or any(claim.is_suspect for claim in self._hands.values()):
            return False
        return self._bench.spare > len(self._hands) or waited_s > _PATIENCE_S

    def _begin(self, claim: ItemClaim) -> None:
        task = asyncio.create_task(self._bench.work(partial(self._work.answer, claim)))
        self._hands[task] = claim
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._hands[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("batch.worker_failed", exc_info=error)
