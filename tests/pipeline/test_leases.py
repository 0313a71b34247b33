"""The thread that renews leases outlives whatever it meets."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy.exc import TimeoutError as PoolExhausted

from dsdc.errors import DatabaseUnavailable
from dsdc.pipeline.leases import Leases


@dataclass(frozen=True)
class Claim:
    id: int
    fence: int = 1


@pytest.mark.parametrize("error", [DatabaseUnavailable, PoolExhausted, RuntimeError])
def test_leases_are_renewed_after_a_round_that_failed(error: type[Exception]) -> None:
    renewed, rounds = threading.Event(), 0

    def renew(claims: Sequence[Claim], _lease_s: float) -> set[int]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise error("not now")
        renewed.set()
        return {claim.id for claim in claims}

    with Leases(0.1, renew) as leases:
        leases.hold([Claim(1)])
        assert renewed.wait(60), "a claim whose worker lives has lost its lease"
