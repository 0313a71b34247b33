"""Where documents are worked on: a bounded number of threads, and a bounded number of places to wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from dsdc.errors import Busy
from services.predict.metrics import PredictMetrics

T = TypeVar("T")


class Bench:
    """`workers` documents at once, `queue` more admitted; whoever comes beyond that is told when to come again.

    A place is taken before the upload is read, so neither memory nor disk grows with the number of clients.
    """

    def __init__(self, workers: int, queue: int, metrics: PredictMetrics) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="predict")
        self._workers = workers
        self._places = workers + queue
        self._taken = 0
        self._usual_s = 1.0  # of one document, a moving mean
        self._metrics = metrics

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place, or raise Busy with the seconds after which one should be free."""
        if self._taken >= self._places:
            self._metrics.refused.inc()
            wait = math.ceil(self._usual_s * self._taken / self._workers / 2)
            raise Busy("More documents wait than the service takes.", retry_after_s=min(max(1, wait), 60))
        self._taken += 1
        self._show()
        try:
            yield
        finally:
            self._taken -= 1
            self._show()

    async def work(self, task: Callable[[], T]) -> T:
        """Run blocking work in one of the threads; a request calls it from within a `place`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, task)

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def spare(self) -> int:
        """Workers that no admitted request needs now."""
        return max(0, self._workers - self._taken)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _timed(self, task: Callable[[], T]) -> T:
        begun = time.perf_counter()
        # Gauge.inc is atomic; `_taken` belongs to the event loop and is not touched here.
        with self._metrics.working.track_inprogress():
            done = task()
        self._usual_s += 0.2 * (time.perf_counter() - begun - self._usual_s)
        return done

    def _show(self) -> None:
        self._metrics.queued.set(max(0, self._taken - self._workers))
