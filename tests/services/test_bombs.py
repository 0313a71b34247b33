"""Documents that unfold without end, never end, or take their parser with them, sent to a service that parses."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

from services.supervisor.ports import free_port
from tests.faults.documents import deflated, page_objects, pdf, png, png_chunk, tiff, written
from tests.processes import parsers_of
from tests.services.platforms import Platform

STROKES = deflated(b"0 0 m 200 200 l 0 200 l S\n" * 2_000_000)  # minutes of drawing in a few kilobytes
ENDLESS = pdf(page_objects([STROKES]))
PARTLY = pdf(page_objects([written(b"one"), STROKES, written(b"three")]))
GOOD = pdf(page_objects([written(b"one")]))


@pytest.fixture(scope="module")
def parsing(platform: Platform) -> Iterator[tuple[str, int]]:
    """A `predict` that renders in child processes with little memory and two seconds a page; URL and process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"DSDC_PREDICT_PORT": str(port), "DSDC_PARSING_MEMORY_MB": "512", "DSDC_PARSING_PAGE_CPU_S": "2"}
    started = platform.start("tests.services.stand_in_renderer", "renderer.log", url, **env)
    yield url, started.pid
    started.terminate()
    started.wait(120)


def send(platform: Platform, url: str, data: bytes) -> httpx.Response:
    files = {"file": ("document", data)}
    return httpx.post(f"{url}/v1/predict", files=files, headers=platform.bearer(), timeout=240)


UNFOLDING = zlib.compress(bytes(50 << 20), 9)
WIDE = [(256, 4, 1, 400_000), (257, 4, 1, 400_000), (258, 3, 1, 1), (259, 3, 1, 4), (262, 3, 1, 0)]
BOMBS: dict[str, tuple[bytes, int]] = {
    "a PNG that declares 46 billion pixels": (png(2**31 - 1, 2**31 - 1, data=zlib.compress(bytes(1000))), 413),
    "a TIFF that declares 160 billion pixels": (
        tiff([*WIDE, (273, 4, 1, 200), (278, 4, 1, 400_000), (279, 4, 1, 1000)], bytes(1000)),
        413,
    ),
    "text in a PNG": (png(20, 20, png_chunk(b"zTXt", b"key\0\0" + UNFOLDING)), 422),
    "a profile in a PNG": (png(20, 20, png_chunk(b"iCCP", b"key\0\0" + UNFOLDING)), 422),
    "a page without end": (ENDLESS, 422),
    "a PDF that is cut off": (GOOD[:60], 422),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_and_cost_nothing(platform: Platform, parsing: tuple[str, int], kind: str) -> None:
    url, pid = parsing
    data, status = BOMBS[kind]
    assert send(platform, url, GOOD).status_code == 200
    before, begun = psutil.Process(pid).memory_info().rss, time.monotonic()
    answer = send(platform, url, data)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - begun < 60
    assert psutil.Process(pid).memory_info().rss - before < 50 << 20
    assert send(platform, url, GOOD).status_code == 200


def test_one_page_without_end_costs_that_page_alone(platform: Platform, parsing: tuple[str, int]) -> None:
    assert send(platform, parsing[0], PARTLY).status_code == 200


def test_a_parser_that_dies_costs_one_request_and_no_worker(platform: Platform, parsing: tuple[str, int]) -> None:
    """Killed in the middle of a page, as is the one that is asked next: the request is told to come again, no other."""
    url, pid = parsing
    assert send(platform, url, GOOD).status_code == 200
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(send, platform, url, ENDLESS)
        killed = 0
        end = time.monotonic() + 120
        while not lost.done() and time.monotonic() < end:
            with suppress(psutil.NoSuchProcess):
                for parser in parsers_of(pid):
                    if parser.cpu_percent(0.2) > 4:  # one that waits uses none, and many may share a core
                        parser.kill()
                        killed += 1
        assert killed, "no parser was seen at work"
        refused = lost.result()
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:dsdc:problem:parser-killed"
    assert refused.headers["retry-after"]
    assert psutil.pid_exists(pid)
    assert send(platform, url, GOOD).status_code == 200
