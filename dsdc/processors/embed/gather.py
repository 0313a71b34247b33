"""Dynamic micro-batching: what several threads want encoded at about the same time goes through the model together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np

from dsdc.processors.contract import Vectors

Item = TypeVar("Item")
Wanted = tuple[Sequence[Item], "Future[Vectors]"]


class Gather(Generic[Item]):
    """`encode` for many threads: the first call waits `wait_s` for others, or until there are `most` items.

    A batch that fails is tried again call by call, so that nobody fails for another's item.
    """

    def __init__(self, encode: Callable[[Sequence[Item]], Vectors], *, most: int, wait_s: float) -> None:
        self._encode = encode
        self._most = most
        self._wait_s = wait_s
        self._wanted: queue.SimpleQueue[Wanted[Item]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="gather", daemon=True).start()

    def __call__(self, items: Sequence[Item]) -> Vectors:
        """`[n, width]` in the order of `items`; raises what `encode` raises."""
        done: Future[Vectors] = Future()
        self._wanted.put((items, done))
        return done.result()

    def _work(self) -> None:
        while True:
            self._answer(self._batch())

    def _batch(self) -> list[Wanted[Item]]:
        found = [self._wanted.get()]
        until = time.monotonic() + self._wait_s
        while sum(len(items) for items, _ in found) < self._most:
            try:
                found.append(self._wanted.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return found

    def _answer(self, calls: Sequence[Wanted[Item]]) -> None:
        try:
            rows = self._encode([item for items, _ in calls for item in items])
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to whoever asked
            if len(calls) == 1:
                calls[0][1].set_exception(error)
                return
            for call in calls:
                self._answer([call])
            return
        ends = np.cumsum([len(items) for items, _ in calls])
        for (_, done), part in zip(calls, np.split(rows, ends[:-1]), strict=True):
            done.set_result(part)
