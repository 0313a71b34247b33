"""Requests that are sent again with the same Idempotency-Key: done once, answered each time."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from dsdc.client import Client
from dsdc.db.session import transaction
from dsdc.errors import CorruptFile, KeyReused, StillRunning
from tests.services.platforms import Platform
from tests.services.stored import PNG, nothing_is_left, over, page, rows


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def viewer(platform: Platform) -> Client:
    return platform.of_role("viewer")


def predictions(platform: Platform) -> int:
    return int(rows(platform, "SELECT count(*) FROM predictions")[0][0])


def test_the_first_answer_is_given_again(platform: Platform, viewer: Client, key: str) -> None:
    first = viewer.predict(page(1), name="a.png", idempotency_key=key)
    before = predictions(platform)
    again = viewer.predict(page(1), name="a.png", idempotency_key=key)
    assert again == first
    assert predictions(platform) == before
    assert viewer.predict(page(1), name="a.png").prediction_id != first.prediction_id  # without the key it is another


@pytest.mark.parametrize("change", ["bytes", "name", "store", "cascade"])
def test_a_key_is_good_for_one_request(viewer: Client, key: str, change: str) -> None:
    viewer.predict(page(1), name="a.png", idempotency_key=key)
    other: dict[str, Any] = {"name": "a.png", "store": True} | {
        "name": {"name": "b.png"},
        "store": {"store": False},
        "cascade": {"cascade": "auto"},
    }.get(change, {})
    with pytest.raises(KeyReused, match="new key"):
        viewer.predict(page(2 if change == "bytes" else 1), **other, idempotency_key=key)


def test_a_key_is_its_owners(platform: Platform, viewer: Client, key: str) -> None:
    mine = viewer.predict(page(1), name="a.png", idempotency_key=key)
    theirs = platform.of_role("service").predict(page(2), name="b.png", idempotency_key=key)
    assert theirs.prediction_id != mine.prediction_id


def test_a_key_for_predictions_is_none_for_batches(viewer: Client, key: str) -> None:
    viewer.predict(page(1), name="a.png", idempotency_key=key)
    over(viewer, viewer.submit_batch([("a.png", page(1))], idempotency_key=key))


def test_two_at_once_are_answered_once(platform: Platform, viewer: Client, key: str) -> None:
    before = predictions(platform)

    def ask(name: str) -> Any:
        try:
            return viewer.predict(page(3), name=name, idempotency_key=key)
        except StillRunning as error:
            return error

    with ThreadPoolExecutor(2) as pool, platform.held() as name:
        asked = [pool.submit(ask, name) for _ in range(2)]
        assert isinstance(next(as_completed(asked)).result(), StillRunning)
    given = [a for a in (f.result() for f in asked) if not isinstance(a, StillRunning)]
    assert len(given) == 1
    assert predictions(platform) == before + 1
    assert viewer.predict(page(3), name=name, idempotency_key=key) == given[0]


def test_while_it_runs_the_answer_is_409_with_a_time(platform: Platform, viewer: Client, key: str) -> None:
    url, headers = f"{platform.predict}/v1/predict", {**platform.bearer(), "Idempotency-Key": key}
    with ThreadPoolExecutor(2) as pool, platform.held() as name:
        files = {"file": (name, page(4))}
        asked = [pool.submit(httpx.post, url, files=files, headers=headers, timeout=60) for _ in range(2)]
        refused = next(as_completed(asked)).result()
    assert sorted(f.result().status_code for f in asked) == [200, 409]
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:dsdc:problem:still-running"
    assert refused.headers["retry-after"] == "1"


def test_what_failed_may_be_asked_again(viewer: Client, key: str) -> None:
    for _ in range(2):
        with pytest.raises(CorruptFile):
            viewer.predict(page(5), name="broken.png", idempotency_key=key)


def test_after_its_time_a_key_is_as_good_as_new(platform: Platform, viewer: Client, key: str) -> None:
    first = viewer.predict(page(1), name="a.png", idempotency_key=key)
    with platform.here(), transaction("owner") as session:
        session.execute(text("UPDATE idempotency_keys SET expires = clock_timestamp() WHERE key = :key"), {"key": key})
    assert viewer.predict(page(2), name="b.png", idempotency_key=key).prediction_id != first.prediction_id


@pytest.mark.parametrize(
    ("given", "status"), [('"abc-1"', 200), ("abc-1", 200), ('"', 422), ("x" * 200, 422), ("a b", 422)]
)
def test_keys_as_they_are_written(platform: Platform, given: str, status: int) -> None:
    headers = {**platform.bearer("service"), "Idempotency-Key": given}
    answer = httpx.post(f"{platform.predict}/v1/predict", files={"file": ("a.png", PNG + b"key")}, headers=headers)
    assert answer.status_code == status


def test_a_batch_is_taken_once(platform: Platform, viewer: Client, key: str) -> None:
    documents = [(f"{n}.png", page(n)) for n in range(3)]

    def submit(_: int) -> Any:
        return viewer.submit_batch(documents, idempotency_key=key).batch_id

    with ThreadPoolExecutor(3) as pool:
        ids = set(pool.map(submit, range(3)))
    assert len(ids) == 1
    batch = over(viewer, viewer.submit_batch(documents, idempotency_key=key))
    assert {batch.batch_id} == ids
    assert batch.counts["done"] == 3
    held = "SELECT count(*) FROM prediction_batches WHERE received IS NULL"
    assert rows(platform, held) == [(0,)]
    with pytest.raises(KeyReused):
        viewer.submit_batch(documents[:2], idempotency_key=key)
    with pytest.raises(KeyReused):
        viewer.submit_batch(documents, store=False, idempotency_key=key)
    assert nothing_is_left(platform)
