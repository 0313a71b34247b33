"""Wrong passwords in a row, and sign-ins in crowds, against an `auth` of their own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import psutil
import pytest

from services.supervisor.ports import free_port
from tests.services.platforms import Platform


@pytest.fixture(scope="module")
def strict(platform: Platform) -> Iterator[tuple[str, int]]:
    """An `auth` that forgives three failures in three seconds; its URL and process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"DSDC_AUTH_PORT": str(port), "DSDC_AUTH_MAX_FAILURES": "3", "DSDC_AUTH_FAILURE_WINDOW_S": "3"}
    started = platform.start("services.auth", "strict.log", url, **env)
    yield url, started.pid
    started.terminate()
    started.wait(20)


def sign_in(url: str, name: str, password: str) -> httpx.Response:
    return httpx.post(f"{url}/token", data={"username": name, "password": password}, timeout=60)


def test_failures_are_throttled_and_forgiven(platform: Platform, strict: tuple[str, int]) -> None:
    url, _ = strict
    name, other = platform.user("viewer"), platform.user("viewer")
    assert [sign_in(url, name, "wrong").status_code for _ in range(3)] == [401, 401, 401]
    refused = sign_in(url, name, platform.passwords[name])  # the right one, but too soon
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert refused.json()["type"] == "urn:dsdc:problem:too-many-attempts"
    assert sign_in(url, other, platform.passwords[other]).status_code == 200  # others are not held up
    time.sleep(int(refused.headers["retry-after"]) + 0.1)
    assert sign_in(url, name, platform.passwords[name]).status_code == 200


def test_a_name_that_nobody_has_is_throttled_the_same(strict: tuple[str, int]) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    assert [sign_in(strict[0], name, "wrong").status_code for _ in range(5)] == [401, 401, 401, 429, 429]


def test_forwarded_addresses_are_not_believed(strict: tuple[str, int]) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    statuses = [
        httpx.post(
            f"{strict[0]}/token",
            data={"username": name, "password": "wrong"},
            headers={"X-Forwarded-For": f"10.0.0.{i}", "Forwarded": f"for=10.0.0.{i}"},
        ).status_code
        for i in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]


def test_known_and_unknown_users_are_refused_alike(platform: Platform) -> None:
    """Same answer but for the request id, and as long by the median of pairs taken in turn."""
    known = [platform.user("viewer") for _ in range(3)]
    times: dict[bool, list[float]] = {True: [], False: []}
    answers = []
    for i in range(12):
        for is_known in (True, False):
            name = known[i % 3] if is_known else f"nobody-{uuid4().hex[:8]}"
            begun = time.perf_counter()
            answers.append(sign_in(platform.auth, name, "wrong"))
            times[is_known].append(time.perf_counter() - begun)
    bodies = {str({k: v for k, v in a.json().items() if k != "request_id"}) for a in answers}
    assert len(bodies) == 1
    assert {a.status_code for a in answers} == {401}
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    assert 0.5 < ratio < 2


def test_two_hundred_sign_ins_at_once_keep_memory_bounded(platform: Platform, strict: tuple[str, int]) -> None:
    url, pid = strict
    name = platform.user("service")
    process = psutil.Process(pid)
    assert sign_in(url, name, platform.passwords[name]).status_code == 200
    before, most = process.memory_info().rss, 0
    with ThreadPoolExecutor(200) as pool:
        futures = [pool.submit(sign_in, url, name, platform.passwords[name]) for _ in range(200)]
        while not all(f.done() for f in futures):
            most = max(most, process.memory_info().rss)
            time.sleep(0.02)
    statuses = [f.result().status_code for f in futures]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 100
    # All at once would be 200 x 19 MiB = 3.7 GiB.
    assert most - before < 250 * 1024 * 1024
