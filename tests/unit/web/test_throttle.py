"""The sliding window of failures."""

from __future__ import annotations

import pytest

from dsdc.errors import TooManyAttempts
from dsdc.web import throttle as module
from dsdc.web.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(300, clock)


def test_it_refuses_after_the_limit_and_says_how_long(throttle: Throttle, clock: Clock) -> None:
    for _ in range(3):
        throttle.check({"ada": 3})
        throttle.failed({"ada": 3})
        clock.now += 10
    with pytest.raises(TooManyAttempts) as caught:
        throttle.check({"ada": 3})
    assert caught.value.retry_after_s == 270
    throttle.check({"bob": 3})


def test_nobody_is_locked_out_for_good(throttle: Throttle, clock: Clock) -> None:
    for _ in range(50):
        throttle.failed({"ada": 3})
    clock.now += 300
    throttle.check({"ada": 3})
    throttle.failed({"ada": 3})
    throttle.check({"ada": 3})  # the window slides: one failure since


def test_the_strictest_key_decides(throttle: Throttle) -> None:
    for _ in range(2):
        throttle.failed({("pair", "ada"): 2, ("address", "::1"): 20})
    throttle.check({("address", "::1"): 20})
    with pytest.raises(TooManyAttempts):
        throttle.check({("pair", "ada"): 2, ("address", "::1"): 20})


def test_a_success_forgets(throttle: Throttle) -> None:
    for _ in range(2):
        throttle.failed({"ada": 2})
    throttle.forget("ada")
    throttle.check({"ada": 2})


def test_memory_is_bounded(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRACKED", 100)
    for i in range(1000):
        throttle.failed({i: 3})
    assert len(throttle._failures) == 100
    assert 999 in throttle._failures
