"""The queue: claims, leases, fences, retries."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import String, literal, select, text

from dsdc.db.repositories.attempts import Finish, StageAttempts
from dsdc.db.session import transaction
from dsdc.db.tables import OriginalDocument
from dsdc.settings import Settings

ALL = select(OriginalDocument.id, OriginalDocument.id)


@pytest.fixture
def queue(database: Settings) -> int:
    """Ten documents queued for one processor; its id."""
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
                " SELECT lpad(to_hex(n), 64, '0'), 'raw/x', 'x', 'application/pdf', 1 FROM generate_series(1, 10) n"
            )
        )
        processor = session.execute(
            text(
                "INSERT INTO processors (stage, name, version, params_hash, params)"
                " VALUES ('render', 'x', '1', repeat('0', 64), '{}') RETURNING id"
            )
        ).scalar_one()
        assert StageAttempts(session).enqueue("render", processor, ALL, limit=100) == 10
        assert StageAttempts(session).enqueue("render", processor, ALL, limit=100) == 0
    return processor


def claim(processor: int, *, limit: int = 4, lease_s: float = 60, worker: str = "w"):
    with transaction() as session:
        return StageAttempts(session).claim("render", processor, worker=worker, limit=limit, lease_s=lease_s)


def test_no_input_is_handed_out_twice(queue: int) -> None:
    taken = [c.input_id for _ in range(4) for c in claim(queue)]
    assert len(taken) == len(set(taken)) == 10


def test_two_open_transactions_claim_different_inputs(queue: int) -> None:
    with transaction() as one, transaction() as two:
        first = StageAttempts(one).claim("render", queue, worker="a", limit=6, lease_s=60)
        second = StageAttempts(two).claim("render", queue, worker="b", limit=6, lease_s=60)
    assert len(first) == 6
    assert len(second) == 4
    assert not {c.id for c in first} & {c.id for c in second}


def test_a_late_result_is_refused_after_the_lease_went_to_another(queue: int) -> None:
    late = claim(queue, limit=1, lease_s=0.05)
    time.sleep(0.1)
    again = [c for c in claim(queue, limit=10) if c.id == late[0].id]
    assert again[0].fence == late[0].fence + 1
    with transaction() as session:
        assert StageAttempts(session).finish([Finish(late[0], "done")]) == set()
        assert StageAttempts(session).renew(late, lease_s=5) == set()
        assert StageAttempts(session).finish([Finish(again[0], "done")]) == {again[0].id}
        assert StageAttempts(session).counts("render", queue)["done"] == 1


def test_a_renewed_lease_is_not_handed_out(queue: int) -> None:
    held = claim(queue, limit=10, lease_s=0.2)
    with transaction() as session:
        assert len(StageAttempts(session).renew(held, lease_s=60)) == 10
    time.sleep(0.25)
    assert claim(queue) == []


def test_a_retry_waits_and_counts(queue: int) -> None:
    first = claim(queue, limit=1)[0]
    with transaction() as session:
        assert StageAttempts(session).retry(first, wait_s=0.2, category="error", message="later")
    assert first.id not in {c.id for c in claim(queue, limit=10)}
    time.sleep(0.25)
    second = claim(queue)
    assert [(c.id, c.attempt) for c in second] == [(first.id, 2)]


def test_what_kills_its_worker_each_time_is_given_up(queue: int) -> None:
    for _ in range(3):
        claim(queue, limit=10, lease_s=0.01)
        time.sleep(0.03)
    with transaction() as session:
        assert len(StageAttempts(session).give_up_on_crashes("render", queue, max_attempts=3)) == 10
        assert {a.category for a in StageAttempts(session).failures()} == {"crashed"}
    assert claim(queue) == []


def test_a_new_processor_version_makes_everything_pending_again(queue: int) -> None:
    with transaction() as session:
        newer = session.execute(
            text(
                "INSERT INTO processors (stage, name, version, params_hash, params)"
                " VALUES ('render', 'x', '2', repeat('0', 64), '{}') RETURNING id"
            )
        ).scalar_one()
        assert StageAttempts(session).unmet("render", newer, ALL) == 10
        one = select(literal("x", String), OriginalDocument.id)
        assert StageAttempts(session).unmet("render", queue, one) == 10
