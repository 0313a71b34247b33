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


def let_time_pass(where: str) -> None:
    """As if the leases of these, or their time to wait, were over."""
    with transaction() as session:
        session.execute(text(f"UPDATE stage_attempts SET available = clock_timestamp() WHERE {where}"))


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
        assert StageAttempts(session).retry(first, wait_s=60, category="error", message="later")
        waits = text("SELECT extract(epoch FROM available - clock_timestamp()) FROM stage_attempts WHERE id = :id")
        assert 30 < session.execute(waits, {"id": first.id}).scalar_one() <= 60
    assert first.id not in {c.id for c in claim(queue, limit=10)}
    let_time_pass(f"id = {first.id}")
    second = claim(queue)
    assert [(c.id, c.attempt) for c in second] == [(first.id, 2)]


def test_an_end_whose_answer_was_lost_may_be_told_again(queue: int) -> None:
    (mine,) = claim(queue, limit=1)
    for _ in range(2):
        with transaction() as session:
            assert StageAttempts(session).finish([Finish(mine, "failed", "corrupt", "m")]) == {mine.id}
    with transaction() as session:
        assert StageAttempts(session).finish([Finish(mine, "done")]) == set(), "but not otherwise"
        assert session.execute(text("SELECT failures FROM stage_attempts WHERE state = 'failed'")).scalar() == 1


def test_what_may_have_killed_workers_comes_last_and_alone(queue: int) -> None:
    for _ in range(2):
        claims = claim(queue, limit=10)
        with transaction() as session:
            assert {StageAttempts(session).release(mine, "in order") for mine in claims[3:]} == {True}
        let_time_pass("state = 'running'")
    assert len(claim(queue, limit=10)) == 7, "the three suspects are left out"
    suspects = [claim(queue, limit=10) for _ in range(4)]
    assert [len(claims) for claims in suspects] == [1, 1, 1, 0]


def test_a_worker_that_stops_in_order_makes_nothing_suspect(queue: int) -> None:
    for _ in range(5):
        for mine in claim(queue, limit=10):
            with transaction() as session:
                assert StageAttempts(session).release(mine, "asked to stop")
    assert [c.failures for c in claim(queue, limit=10)] == [0] * 10


def test_what_kills_its_worker_each_time_is_given_up(queue: int) -> None:
    for _ in range(3):
        while claim(queue, limit=10):
            pass
        let_time_pass("state = 'running'")
    with transaction() as session:
        attempts = StageAttempts(session)
        assert attempts.crashed("render", queue, max_crashes=4) == []
        found = attempts.crashed("render", queue, max_crashes=3)
        assert [crashes for _, _, crashes in found] == [3] * 10
        assert all(attempts.give_up(attempt_id, "died", max_crashes=3) for attempt_id, _, _ in found)
        assert attempts.give_up(found[0][0], "died", max_crashes=3), "told again, after an answer was lost"
        assert not attempts.give_up(found[0][0], "otherwise", max_crashes=3)
        assert session.execute(text("SELECT max(crashes) FROM stage_attempts")).scalar() == 3
        assert {a.category for a in attempts.failures()} == {"crashed"}
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
