"""Wrong passwords in a row, and sign-ins in crowds, against an `auth` of their own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import httpx
import psutil
import pytest

from dsdc.settings import secrets
from dsdc.web.origin import PROXY_TOKEN_HEADER
from services.supervisor.ports import free_port
from tests.services.platforms import Platform

GATEWAY = "127.0.0.2"  # all of 127/8 is this machine; the tests' own requests come from 127.0.0.1
WINDOW_S = 20


@pytest.fixture(scope="module")
def strict(platform: Platform) -> Iterator[tuple[str, int]]:
    """An `auth` behind a gateway that forgives three failures in twenty seconds; its URL and process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"DSDC_AUTH_PORT": str(port), "DSDC_AUTH_MAX_FAILURES": "3", "DSDC_AUTH_FAILURE_WINDOW_S": str(WINDOW_S)}
    env["DSDC_WEB_TRUSTED_PROXIES"] = f'["{GATEWAY}/32"]'
    started = platform.start("services.auth", "strict.log", url, **env)
    yield url, started.pid
    started.terminate()
    started.wait(120)


def sign_in(url: str, name: str, password: str) -> httpx.Response:
    return httpx.post(f"{url}/token", data={"username": name, "password": password}, timeout=300)


@dataclass
class Throttled:
    """Somebody who has failed too often, what the next attempt was told, and when that was, by the steady clock."""

    name: str
    refused: httpx.Response
    told: float


@pytest.fixture(scope="module")
def throttled(platform: Platform, strict: tuple[str, int]) -> Throttled:
    name = platform.user("viewer")
    assert [sign_in(strict[0], name, "wrong").status_code for _ in range(3)] == [401, 401, 401]
    refused = sign_in(strict[0], name, platform.passwords[name])  # the right one, but too soon
    return Throttled(name, refused, time.monotonic())


def test_failures_are_throttled(platform: Platform, strict: tuple[str, int], throttled: Throttled) -> None:
    assert throttled.refused.status_code == 429
    assert 1 <= int(throttled.refused.headers["retry-after"]) <= WINDOW_S
    assert throttled.refused.json()["type"] == "urn:dsdc:problem:too-many-attempts"
    other = platform.user("viewer")
    assert sign_in(strict[0], other, platform.passwords[other]).status_code == 200  # others are not held up


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


@pytest.fixture(scope="module")
def gateway(strict: tuple[str, int]) -> Iterator[httpx.Client]:
    """Asks as the gateway does, from its address."""
    with httpx.Client(base_url=strict[0], transport=httpx.HTTPTransport(local_address=GATEWAY), timeout=60) as client:
        yield client


def through(gateway: httpx.Client, forwarded: str | bytes, **form: str) -> int:
    headers = {b"X-Forwarded-For": forwarded.encode() if isinstance(forwarded, str) else forwarded}
    return gateway.post("/token", data=form, headers=headers).status_code


def test_behind_the_gateway_each_client_is_counted_by_itself(platform: Platform, gateway: httpx.Client) -> None:
    name = platform.user("viewer")
    wrong, right = {"username": name, "password": "wrong"}, {"username": name, "password": platform.passwords[name]}
    assert [through(gateway, "203.0.113.1", **wrong) for _ in range(4)] == [401, 401, 401, 429]
    assert through(gateway, "203.0.113.1", **right) == 429
    assert through(gateway, "203.0.113.2", **right) == 200
    found = platform.of_role("admin").audit(limit=10, actor=name).entries
    assert {str(entry.address) for entry in found} == {"203.0.113.1", "203.0.113.2"}


def test_what_a_client_claims_before_the_gateways_word_is_not_believed(gateway: httpx.Client) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    statuses = [through(gateway, f"10.0.0.{i}, 203.0.113.3", username=name, password="wrong") for i in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def test_the_web_page_is_believed_by_its_token_wherever_it_runs(platform: Platform, strict: tuple[str, int]) -> None:
    with platform.here():
        token = secrets().value("proxy_token")
    name = platform.user("viewer")

    def through_the_page(browser: str, password: str, shown: str) -> int:
        headers = {"X-Forwarded-For": browser, PROXY_TOKEN_HEADER: shown}
        form = {"username": name, "password": password}
        return httpx.post(f"{strict[0]}/token", data=form, headers=headers, timeout=30).status_code

    assert [through_the_page("203.0.113.8", "wrong", token) for _ in range(4)] == [401, 401, 401, 429]
    assert through_the_page("203.0.113.9", platform.passwords[name], token) == 200
    forged = [through_the_page(f"203.0.113.{i}", "wrong", token[::-1]) for i in range(10, 14)]
    assert forged == [401, 401, 401, 429]


def test_a_client_with_many_ipv6_addresses_is_one(gateway: httpx.Client) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    statuses = [through(gateway, f"2001:db8::{i:x}", username=name, password="wrong") for i in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


FORWARDED: list[str | bytes] = [
    "",
    "unknown",
    "203.0.113.4:80",
    "fe80::1%eth0",
    "' OR 1=1 --",
    "0x7f.1",
    "," * 1000,
    "1.1.1.1," * 5000,
    b"\xff\xfe",
    "[::1]",
    "::ffff:203.0.113.5",
    "256.1.1.1",
]


@pytest.mark.parametrize("forwarded", FORWARDED, ids=lambda value: repr(value[:16]))
def test_hostile_forwarded_headers(gateway: httpx.Client, forwarded: str | bytes) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    assert through(gateway, forwarded, username=name, password="wrong") in (401, 429)


def test_wrong_keys_are_throttled_and_hold_up_nobody_else(platform: Platform, gateway: httpx.Client) -> None:
    admin = platform.of_role("admin")
    account = admin.create_user(f"robot-{uuid4().hex[:8]}", None, "service")
    key, other = admin.create_key(account.id).key, admin.create_key(account.id).key
    form = {"grant_type": "client_credentials"}
    wrong = key[:-8] + ("0" * 8 if key[-8:] != "0" * 8 else "1" * 8)
    assert [through(gateway, "203.0.113.6", client_secret=wrong, **form) for _ in range(4)] == [401, 401, 401, 429]
    assert through(gateway, "203.0.113.6", client_secret=other, **form) == 200  # another key at the same place
    assert through(gateway, "203.0.113.7", client_secret=key, **form) == 200  # the key itself, elsewhere
    viewer = {"username": "the-viewer", "password": platform.passwords["the-viewer"]}
    assert through(gateway, "203.0.113.6", **viewer) == 200  # people there


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
    assert 0.33 < ratio < 3


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


def test_failures_are_forgiven(platform: Platform, strict: tuple[str, int], throttled: Throttled) -> None:
    """The last test, for the time that it waits for has passed with the others."""
    forgiven = throttled.told + int(throttled.refused.headers["retry-after"]) + 0.1
    time.sleep(max(0.0, forgiven - time.monotonic()))
    assert sign_in(strict[0], throttled.name, platform.passwords[throttled.name]).status_code == 200
