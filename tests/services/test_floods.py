"""Requests without an end, slow ones, and crowds: cut off early, memory bounded, and everybody else is served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from dsdc.web.serve import HEADERS_S, MAX_HEAD
from tests.services.platforms import Platform

MOST = 64 * 1024 * 1024  # what a flood would send if nobody stopped it
LINE = b"X-Flood: " + b"y" * 1000 + b"\r\n"
START = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
#: How a flood begins, and what it goes on with.
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "headers": (START, LINE),
    "one header": (START + b"X-Flood: ", b"y" * 1000),
    "one header's name": (START, b"y" * 1000),
    "the address": (b"GET /", b"y" * 1000),
    "the query": (b"GET /healthz?", b"y=1&" * 250),
    "the method": (b"", b"G" * 1000),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", LINE),
    "one trailer": (CHUNKED + b"1\r\n{\r\n0\r\nX-Flood: ", b"y" * 1000),
    "a chunk's extension": (CHUNKED + b"1;", b"y" * 1000),
}
SERVICES = ("auth", "predict")
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20_000


def connected(base: str) -> socket.socket:
    parts = urlsplit(base)
    made = socket.create_connection((parts.hostname, parts.port), timeout=60)
    return made


def flood(base: str, start: bytes, more: bytes) -> tuple[int, bytes]:
    """Bytes that were sent until the connection was closed, and what was answered."""
    sent, answer, block = 0, b"", more * max(1, 64_000 // len(more))
    with connected(base) as raw:
        with contextlib.suppress(ConnectionError):
            raw.sendall(start)
            while sent < MOST:
                raw.sendall(block)
                sent += len(block)
        with contextlib.suppress(ConnectionError, TimeoutError):
            raw.settimeout(2)
            answer = raw.recv(4096)
    return sent, answer


@pytest.fixture
def memory(platform: Platform) -> Iterator[None]:
    """Neither service may grow while the test runs."""
    processes = [psutil.Process(p.pid) for p in platform.processes[:2]]
    before = [p.memory_info().rss for p in processes]
    yield
    after = [p.memory_info().rss for p in processes]
    assert max(b - a for a, b in zip(before, after, strict=True)) < MOST // 2


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_cut_off(platform: Platform, memory: None, service: str, kind: str) -> None:
    base = getattr(platform, service)
    sent, answer = flood(base, *FLOODS[kind])
    assert sent < MOST // 4
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{base}/healthz").status_code == 200


def test_long_headers_that_a_client_may_have_pass(platform: Platform) -> None:
    for size in (8_000, MAX_HEAD - 2_000):
        assert httpx.get(f"{platform.auth}/healthz", headers={"X-Long": "y" * size}).status_code == 200
    assert httpx.get(f"{platform.auth}/healthz", headers={"X-Long": "y" * 2 * MAX_HEAD}).status_code == 431


def test_what_is_counted_begins_anew_with_each_request(platform: Platform) -> None:
    """A hundred requests over one connection, large and small, none of which is too long by itself."""
    png = PNG * 15
    with httpx.Client(base_url=platform.predict, headers=platform.bearer(), timeout=30) as client:
        for i in range(100):
            assert client.get("/v1/model", headers={"X-Long": "y" * 5_000}).status_code == 200
            if i % 20 == 0:
                assert client.post("/v1/predict", files={"file": ("a.png", png)}).status_code == 200


def test_a_body_in_small_chunks_is_taken(platform: Platform) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        yield from (bytes([byte]) for byte in PNG)
        yield b"\r\n--b--\r\n"

    headers = platform.bearer() | {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{platform.predict}/v1/predict", content=pieces(), headers=headers, timeout=60)
    assert answer.status_code == 200


def test_a_trailer_is_no_header(platform: Platform) -> None:
    """Headers that come after the body, where nobody expects them, give no access."""
    token = platform.token("admin")
    with connected(platform.auth) as raw:
        raw.sendall(b"GET /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n")
        raw.sendall(f"0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("service", SERVICES)
def test_two_hundred_slow_clients_keep_nobody_waiting(platform: Platform, memory: None, service: str) -> None:
    base = getattr(platform, service)
    begun = time.perf_counter()
    slow = [connected(base) for _ in range(200)]
    try:
        for raw in slow:
            raw.sendall(START + b"X-Slow: ")
        with httpx.Client(base_url=base, limits=httpx.Limits(max_keepalive_connections=0), timeout=60) as client:
            for _ in range(10):
                assert client.get("/healthz").status_code == 200
        assert time.perf_counter() - begun < HEADERS_S  # before any of the slow ones is let go
        slow[0].settimeout(60)
        with contextlib.suppress(ConnectionError):
            assert slow[0].recv(1) == b""  # let go after a while, and not answered
    finally:
        for raw in slow:
            raw.close()
