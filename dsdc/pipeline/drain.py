"""SIGTERM and Ctrl-C: the first asks the work to end in order, the second ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from dsdc.log import get_logger

log = get_logger(__name__)


class StopRequest:
    """Within, signals only leave word; who works looks at `requested` and `overdue` where it can stop.

    Outside the main thread, where Python takes no signal handlers, nothing is changed and nothing is ever requested.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._since: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._told)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self._since is not None:
            raise KeyboardInterrupt
        self._since = time.monotonic()
        log.warning("stage.asked_to_stop", signal=signal.Signals(number).name, drain_s=self._drain_s)

    @property
    def requested(self) -> bool:
        return self._since is not None

    @property
    def overdue(self) -> bool:
        """Whether what is under way has had its time to finish."""
        return self._since is not None and time.monotonic() - self._since > self._drain_s
