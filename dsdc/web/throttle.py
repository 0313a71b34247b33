"""Counts failures in a sliding window, in a bounded amount of memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping

from dsdc.errors import TooManyAttempts

MAX_TRACKED = 20_000


class Throttle:
    """Refuses once a key has failed its limit of times within the window; nothing is locked for longer.

    When more keys are tracked than memory is set aside for, the one that failed longest ago is forgotten.
    """

    def __init__(self, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._failures: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def check(self, limits: Mapping[Hashable, int]) -> None:
        """Raise unless every key is below its limit.

        Raises:
            TooManyAttempts: with the seconds until the next attempt is taken.
        """
        now = self._clock()
        waits = [self._wait(key, limit, now) for key, limit in limits.items()]
        if any(waits):
            raise TooManyAttempts(retry_after_s=math.ceil(max(waits)))

    def failed(self, limits: Mapping[Hashable, int]) -> None:
        """Count a failure for each key."""
        now = self._clock()
        for key, limit in limits.items():
            times = self._failures.setdefault(key, deque(maxlen=limit))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > MAX_TRACKED:
            self._failures.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """A success: the failures before it were slips."""
        self._failures.pop(key, None)

    def _wait(self, key: Hashable, limit: int, now: float) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < limit:
            return 0.0
        return max(0.0, times[0] + self._window_s - now)
