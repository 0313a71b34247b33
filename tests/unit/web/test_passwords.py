"""Hashing, strength, and the desk that bounds how many are verified at once."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time

import pytest

from dsdc.errors import Busy
from dsdc.web import passwords
from dsdc.web.passwords import PasswordDesk, WeakPassword, check_strength, hash_password, is_outdated, verify

PASSWORD = "correct horse battery"


def test_the_parameters_are_at_least_owasps() -> None:
    stored = hash_password(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert not is_outdated(stored)
    assert is_outdated(stored.replace("m=19456", "m=8192"))
    assert hash_password(PASSWORD) != stored


def test_only_the_password_itself_opens() -> None:
    stored = hash_password(PASSWORD)
    assert verify(stored, PASSWORD)
    for wrong in ("", "Correct horse battery", PASSWORD + " ", PASSWORD + "\x00", "x" * 5000, "\ud800", stored):
        assert not verify(stored, wrong)
    assert not verify("not a hash", PASSWORD)


def test_composed_and_decomposed_are_one_password() -> None:
    assert verify(hash_password("cafe\u0301 au lait bitte"), "caf\u00e9 au lait bitte")


@pytest.mark.parametrize("weak", ["short", "a" * 40, "x" * 257, "line\nend in the middle", "ada-lovelace-1"])
def test_weak_passwords_are_refused(weak: str) -> None:
    with pytest.raises(WeakPassword):
        check_strength(weak, name="ada-lovelace")


def test_a_long_password_may_hold_the_name() -> None:
    check_strength("the quick ada jumps over it", name="ada")


async def _many(desk: PasswordDesk, stored: str | None, n: int) -> list[bool]:
    async def one() -> bool:
        async with desk as turn:
            return await turn.verify(stored, PASSWORD)

    return await asyncio.gather(*(one() for _ in range(n)))


def test_two_hundred_at_once_are_verified_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, guard = 0, 0, threading.Lock()

    def watched(stored: str, password: str) -> bool:
        nonlocal at_once, most
        with guard:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with guard:
            at_once -= 1
        return password == PASSWORD

    monkeypatch.setattr(passwords, "verify", watched)

    async def run() -> list[bool]:
        desk = PasswordDesk(clerks=2)
        done = await _many(desk, "stored", 200)
        desk.close()
        return done

    assert asyncio.run(run()) == [True] * 200
    assert most <= 2


def test_who_finds_no_place_to_wait_is_sent_away() -> None:
    async def run() -> list[bool | BaseException]:
        desk = PasswordDesk(clerks=1, places=2)

        async def one() -> bool:
            async with desk as turn:
                return await turn.verify(None, PASSWORD)

        done = await asyncio.gather(*(one() for _ in range(8)), return_exceptions=True)
        desk.close()
        return done

    results = asyncio.run(run())
    assert sum(isinstance(r, Busy) for r in results) >= 4
    assert False in results


def test_an_unknown_user_takes_as_long() -> None:
    stored = hash_password(PASSWORD)

    async def seconds(desk: PasswordDesk, known: bool) -> float:
        begun = time.process_time()  # of this process: other programs on the machine do not count
        assert not (await _many(desk, stored if known else None, 1))[0] or known
        return time.process_time() - begun

    async def run() -> tuple[float, float]:
        desk = PasswordDesk()
        pairs = [(await seconds(desk, True), await seconds(desk, False)) for _ in range(15)]
        desk.close()
        known, unknown = zip(*pairs, strict=True)
        return statistics.median(known), statistics.median(unknown)

    known, unknown = asyncio.run(run())
    assert 0.6 < unknown / known < 1.67
