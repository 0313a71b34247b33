"""SIGTERM and Ctrl-C: the first asks the work to end in order, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from dsdc.log import get_logger

log = get_logger(__name__)


class StopRequest:
    """Within, signals only leave word; who works looks at `requested` and `overdue` where it can stop.

    `break_off` is called when the time to drain is over, and at the second signal: it ends what cannot look.
    Outside the main thread, where Python takes no signal handlers, nothing is changed and nothing is ever requested.
    """

    def __init__(self, drain_s: float, break_off: Callable[[], None]) -> None:
        self._drain_s = drain_s
        self._break_off = break_off
        self._timer: threading.Timer | None = None
        self._over = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._told)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._timer is not None:
            self._timer.cancel()

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self._timer is not None:
            self._break_off()
            raise KeyboardInterrupt
        self._timer = threading.Timer(self._drain_s, self._end)
        self._timer.daemon = True
        self._timer.start()
        log.warning("stage.asked_to_stop", signal=signal.Signals(number).name, drain_s=self._drain_s)

    def _end(self) -> None:
        self._over.set()
        self._break_off()

    @property
    def requested(self) -> bool:
        return self._timer is not None

    @property
    def overdue(self) -> bool:
        """Whether what is under way has had its time to finish."""
        return self._over.is_set()
