"""Batches: handed in, answered beside the requests, asked about, cancelled; and what strangers may send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dsdc.client import AsyncClient, BatchUnfinished, Client
from dsdc.errors import NotFound, TooLarge
from tests.services.platforms import Platform
from tests.services.stored import PNG, nothing_is_left, over, page, rows, until
from tests.services.test_uploads import FORMS, LIMIT, multipart, problem


@pytest.fixture
def viewer(platform: Platform) -> Client:
    return platform.of_role("viewer")


def test_each_document_has_its_answer_or_its_problem(platform: Platform, viewer: Client, tmp_path: Path) -> None:
    letter = tmp_path / "letter.png"
    letter.write_bytes(page(1))
    documents = [
        letter,
        ("../two.png", page(2)),
        ("broken.png", page(3)),
        ("empty.png", b""),
        ("text.pdf", b"Dear Sir"),
        ("large.png", PNG.ljust(LIMIT + 1, b"x")),
        ("again.png", page(2)),
    ]
    batch = viewer.submit_batch(documents)
    assert (batch.items, batch.owner, batch.store) == (7, "the-viewer", True)
    assert batch.counts["refused"] == 3
    batch = over(viewer, batch)
    assert batch.state == "done"
    assert batch.finished is not None
    assert {k: v for k, v in batch.counts.items() if v} == {"done": 3, "failed": 1, "refused": 3}
    items = list(viewer.batch_items(batch.batch_id))
    assert [i.position for i in items] == list(range(1, 8))
    assert [i.name for i in items[:2]] == ["letter.png", "two.png"]
    assert [i.state for i in items] == ["done", "done", "failed", "refused", "refused", "refused", "done"]
    types = [i.problem and (i.problem.type.removeprefix("urn:dsdc:problem:"), i.problem.status) for i in items]
    assert types[2:6] == [("corrupt-file", 422), ("empty-file", 422), ("unsupported-type", 415), ("too-large", 413)]
    assert "save it again" in ((items[2].problem and items[2].problem.detail) or "")
    for item in (items[0], items[1], items[6]):
        assert item.prediction_id is not None
        answer = viewer.prediction(item.prediction_id)
        assert (answer.document_id, answer.original_name) == (item.sha256, item.name)
        assert (answer.label, answer.probability, answer.decision) == (item.label, item.probability, item.decision)
    assert len({i.prediction_id for i in items if i.prediction_id}) == 3
    assert nothing_is_left(platform)


def test_the_answer_says_where_to_ask(platform: Platform) -> None:
    files = [("file", ("a.png", page(4)))]
    answer = httpx.post(f"{platform.predict}/v1/batches", files=files, headers=platform.bearer())
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/batches/{answer.json()['batch_id']}"
    found = httpx.get(platform.predict + answer.headers["location"], headers=platform.bearer())
    assert found.status_code == 200
    assert set(found.json()["counts"]) == {"pending", "running", "done", "failed", "refused", "cancelled"}


def test_items_come_in_pages(platform: Platform, viewer: Client) -> None:
    batch = viewer.submit_batch((f"{n}.png", page(n)) for n in range(5))
    url = f"{platform.predict}/v1/batches/{batch.batch_id}/items"
    seen, after = [], 0
    for expected in (2, 4, None):
        got = httpx.get(url, params={"after": after, "limit": 2}, headers=platform.bearer()).json()
        seen += [item["name"] for item in got["items"]]
        assert got["next"] == expected
        after = expected or 0
    assert seen == [f"{n}.png" for n in range(5)]
    assert httpx.get(url, params={"limit": 0}, headers=platform.bearer()).status_code == 422
    over(viewer, batch)


def test_a_batch_is_there_for_its_owner_and_for_admins(platform: Platform, viewer: Client) -> None:
    batch = viewer.submit_batch([("a.png", page(1))])
    url = f"{platform.predict}/v1/batches/{batch.batch_id}"
    for role, status in (("viewer", 200), ("admin", 200), ("service", 404), ("annotator", 404), ("model-admin", 404)):
        for suffix in ("", "/items"):
            assert httpx.get(url + suffix, headers=platform.bearer(role)).status_code == status
    assert httpx.delete(url, headers=platform.bearer("service")).status_code == 404
    over(viewer, batch)
    with pytest.raises(NotFound):
        viewer.batch("00000000-0000-0000-0000-000000000000")


def test_what_is_cancelled_is_not_begun(platform: Platform, viewer: Client) -> None:
    before = rows(platform, "SELECT count(*) FROM predictions")[0][0]
    with platform.held() as name:
        batch = viewer.submit_batch((name, page(100 + n)) for n in range(6))
        until(lambda: viewer.batch(batch.batch_id).state == "running")
        assert viewer.cancel_batch(batch.batch_id).state == "cancelled"
    ended = over(viewer, batch)
    assert ended.state == "cancelled"
    assert 1 <= ended.counts["done"] <= 2
    assert ended.counts["done"] + ended.counts["cancelled"] == 6
    assert rows(platform, "SELECT count(*) FROM predictions")[0][0] == before + ended.counts["done"]
    assert nothing_is_left(platform)
    assert viewer.cancel_batch(batch.batch_id) == ended  # once more, and nothing changes
    done = over(viewer, viewer.submit_batch([("a.png", page(1))]))
    assert viewer.cancel_batch(done.batch_id).counts == done.counts


def test_requests_go_before_batches(platform: Platform, viewer: Client) -> None:
    with platform.held() as name:
        batch = viewer.submit_batch((name, page(200 + n)) for n in range(4))
        until(lambda: viewer.batch(batch.batch_id).counts["running"])
        for number in range(5):
            viewer.predict(page(300 + number), name="now.png")
        found = viewer.batch(batch.batch_id)
        assert (found.state, found.counts["done"]) == ("running", 0)
        viewer.cancel_batch(batch.batch_id)
    over(viewer, batch)


def test_who_waits_is_told_when_it_takes_too_long(platform: Platform, viewer: Client) -> None:
    with platform.held() as name:
        batch = viewer.submit_batch([(name, page(1))])
        with pytest.raises(BatchUnfinished, match="nothing is lost"):
            viewer.wait_for_batch(batch.batch_id, timeout_s=0.2, poll_s=0.1)
    over(viewer, batch)


def test_without_blocking(platform: Platform) -> None:
    async def run() -> None:
        async with AsyncClient(platform.auth, platform.predict) as client:
            await client.sign_in("the-viewer", platform.passwords["the-viewer"])
            batch = await client.submit_batch([("a.png", page(1)), ("slow-1-.png", page(2)), ("c.png", page(3))])
            assert (await client.cancel_batch(batch.batch_id)).state == "cancelled"
            ended = await client.wait_for_batch(batch.batch_id, timeout_s=300, poll_s=0.1)
            items = [item async for item in client.batch_items(batch.batch_id)]
            assert len(items) == 3
            assert ended.counts["done"] + ended.counts["cancelled"] == 3

    asyncio.run(run())


@pytest.mark.parametrize("store", [True, False])
def test_no_upload_outlives_its_answer(platform: Platform, viewer: Client, store: bool) -> None:
    batch = over(viewer, viewer.submit_batch([("a.png", page(1)), ("b.png", page(1))], store=store))
    assert (batch.store, batch.counts["done"]) == (store, 2)
    assert nothing_is_left(platform)
    # The row says so a moment after the bytes have gone.
    until(lambda: rows(platform, "SELECT count(*) FROM prediction_batch_items WHERE uploaded") == [(0,)])


def test_the_store_field_is_taken_from_form_and_query(platform: Platform, viewer: Client) -> None:
    url, files = f"{platform.predict}/v1/batches", [("file", ("a.png", page(1)))]
    for given in ({"data": {"store": "false"}}, {"params": {"store": "false"}}):
        answer = httpx.post(url, files=files, headers=platform.bearer(), **given)
        assert (answer.status_code, answer.json()["store"]) == (202, False)
        viewer.wait_for_batch(answer.json()["batch_id"], poll_s=0.1)
    refused = httpx.post(url, files=files, headers=platform.bearer(), data={"store": "perhaps"})
    assert refused.status_code == 422
    assert nothing_is_left(platform)


@pytest.fixture
def unchanged(platform: Platform) -> Iterator[None]:
    """What is refused leaves neither rows nor bytes."""
    count = "SELECT (SELECT count(*) FROM prediction_batches), (SELECT count(*) FROM prediction_batch_items)"
    before = rows(platform, count)
    yield
    until(lambda: rows(platform, count) == before)
    assert nothing_is_left(platform)


def test_more_files_than_a_batch_may_have(viewer: Client, unchanged: None) -> None:
    with pytest.raises(TooLarge, match="at most 20 files"):
        viewer.submit_batch((f"{n}.png", page(n)) for n in range(21))


def test_more_bytes_than_a_batch_may_have(platform: Platform, unchanged: None) -> None:
    files = [("file", (f"{n}.png", page(n).ljust(LIMIT, b"x"))) for n in range(4)]
    url, headers = f"{platform.predict}/v1/batches", platform.bearer()
    announced = httpx.post(url, files=files, headers=headers, timeout=120)
    assert announced.status_code == 413
    assert problem(announced)["detail"]
    body = httpx.Request("POST", url, files=files)
    chunked = httpx.post(
        url, content=iter([body.read()]), headers={**headers, "Content-Type": body.headers["content-type"]}, timeout=120
    )
    assert "content-length" not in chunked.request.headers
    assert chunked.status_code == 413


FINE = {"two files"}  # for a batch


@pytest.mark.parametrize("case", sorted(set(FORMS) - FINE))
def test_hostile_forms(platform: Platform, unchanged: None, case: str) -> None:
    options = dict(FORMS[case])
    headers = {**platform.bearer(), **options.pop("headers", {})}
    begun = time.perf_counter()
    answer = httpx.post(f"{platform.predict}/v1/batches", headers=headers, timeout=120, **options)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.status_code not in (401, 403)
    assert problem(answer)["detail"]
    assert time.perf_counter() - begun < 60  # as many files as a batch may have are stored, and removed again


def test_a_client_that_leaves_leaves_nothing(platform: Platform, unchanged: None) -> None:
    def body() -> Iterator[bytes]:
        yield multipart(b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + page(1))["content"][
            :-6
        ]
        yield b"\r\n--b\r\n"
        raise ConnectionAbortedError

    headers = {**platform.bearer(), "Content-Type": "multipart/form-data; boundary=b"}
    with pytest.raises(ConnectionAbortedError):
        httpx.post(f"{platform.predict}/v1/batches", content=body(), headers=headers)
    time.sleep(0.5)


def test_metrics_tell_of_batches(platform: Platform, viewer: Client) -> None:
    over(viewer, viewer.submit_batch([("a.png", page(1)), ("broken.png", page(2)), ("empty.png", b"")]))
    told = platform.metrics()
    assert "dsdc_batch_items_waiting" in told
    for result in ("done", "failed", "refused"):
        assert f'dsdc_batch_items_total{{result="{result}"}}' in told


def test_openapi_shows_how(platform: Platform) -> None:
    paths = httpx.get(f"{platform.predict}/openapi.json").json()["paths"]
    post = paths["/v1/batches"]["post"]
    schema = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"]["type"] == "array"
    assert "Location" in post["responses"]["202"]["headers"]
    assert any(p["name"] == "Idempotency-Key" for p in post["parameters"])
    assert any(p["name"] == "Idempotency-Key" for p in paths["/v1/predict"]["post"]["parameters"])
