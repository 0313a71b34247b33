"""SIGTERM during a batch, an ingest, a request: what was begun is finished or given back, nothing is half-written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont
from sqlalchemy.engine import URL

from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.settings import Settings, settings
from tests.faults.documents import saved
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.faults.machine import picture, quick_assembly
from tests.faults.runs import DSDC
from tests.processes import asked
from tests.projects import forget_settings
from tests.services.platforms import Platform, running_platform


def until(true: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def count(what: str) -> int:
    return int(rows(f"SELECT count(*) FROM {what}")[0][0])


class Commands:
    """`dsdc` commands on the test's own project; what they say is kept."""

    def __init__(self, config: Settings) -> None:
        self._log = config.path("logs") / "commands.log"
        self._running: list[psutil.Popen] = []

    def start(self, *command: str, failpoints: str = "") -> psutil.Popen:
        with self._log.open("a") as output:
            env = os.environ | {"DSDC_FAILPOINTS": failpoints}
            started = psutil.Popen([DSDC, *command], env=env, stdout=output, stderr=output, start_new_session=True)
        self._running.append(started)
        return started

    def run(self, *command: str) -> None:
        assert self.start(*command).wait(300) == 0, self.said

    @property
    def said(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def drain_s() -> str:
    """How long a worker that is to stop waits for what it has begun."""
    return "1"


@pytest.fixture
def commands(database: Settings, drain_s: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    for name, value in (("CLAIM_BATCH", "2"), ("DRAIN_S", drain_s)):
        monkeypatch.setenv(f"DSDC_PIPELINE_{name}", value)
    monkeypatch.setenv("DSDC_PARSING_PROCESSES", "1")
    forget_settings()
    made = Commands(settings())
    yield made
    made.close()


def bring(config: Settings, files: Sequence[bytes], *stages: str) -> list[str]:
    """PNG files into the store and through the first stages; their SHA-256."""
    for number, data in enumerate(files):
        (config.path("to_ingest") / f"{number}.png").write_bytes(data)
    ingest_inbox()
    for stage in stages:
        run_stage(stage, assembly=quick_assembly(settings()))
    return [sha256_of(data) for data in files]


def check(config: Settings, brought: list[str]) -> None:
    """All is whole, and nobody holds anything."""
    check_invariant(config, brought)
    assert count("stage_attempts WHERE state = 'running'") == 0


def test_a_batch_is_drained_and_the_next_run_does_the_rest(database: Settings, commands: Commands) -> None:
    brought = bring(database, [saved(picture(seed), "PNG") for seed in range(8)])
    worker = commands.start("process", failpoints="worker.computed=sleep:1")
    until(lambda: count("processed_images"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 1, commands.said
    assert "error: Stage render was asked to stop; " in commands.said
    assert "Traceback" not in commands.said
    assert 0 < count("stage_attempts WHERE state = 'done'") < 8
    check(database, brought)
    commands.run("process", "--stage", "render")
    assert count("stage_attempts WHERE stage = 'render' AND state = 'done'") == count("processed_images") == 8
    assert count("stage_attempts WHERE failures + crashes > 0") == 0, "to be stopped is no fault of a document"
    check(database, brought)


def dense_page(seed: int, part: int = 700, times: int = 5) -> bytes:
    """A page so full of letters that reading it takes half a minute: a square part of it, again and again."""
    random, square = np.random.default_rng(seed), Image.new("L", (part, part), 255)
    pen, font = ImageDraw.Draw(square), ImageFont.load_default(12)
    for y in range(0, part, 14):
        pen.text((0, y), "".join(random.choice(list("abcdefgh ijklmnop QRSTUVWXYZ 0123456789 "), part // 7)), font=font)
    page = Image.new("L", (part * times, part * times), 255)
    for place in range(times * times):
        page.paste(square, (place % times * part, place // times * part))
    return saved(page, "PNG")


@pytest.fixture
def reading(database: Settings, commands: Commands) -> tuple[psutil.Popen, list[psutil.Process], list[str]]:
    """A worker in the middle of a long page, the processes that it has started, and what was brought."""
    brought = bring(database, [dense_page(seed) for seed in range(3)], "render")
    worker = commands.start("process", "--stage", "text")
    until(
        lambda: any(asked(child, lambda c: c.cpu_times().user > 2, False) for child in worker.children()), timeout_s=300
    )
    return worker, worker.children(), brought


@pytest.mark.parametrize(("signals", "status", "drain_s"), [(1, 1, "1"), (2, 130, "100")])
def test_a_long_page_is_not_waited_for(
    signals: int, status: int, database: Settings, commands: Commands, reading: Any
) -> None:
    """One signal: when `pipeline.drain_s` is over. Two: at once."""
    worker, parsers, brought = reading
    began = time.monotonic()
    for _ in range(signals):
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert worker.wait(100) == status, commands.said
    assert time.monotonic() - began < 20
    assert count("raw_texts") == 0
    assert psutil.wait_procs(parsers, timeout=60)[1] == []
    assert count("stage_attempts WHERE failures + crashes > 0") == 0, "to be stopped is no fault of a document"
    check(database, brought)


def holds_a_file_of(folder: Path, process: psutil.Popen) -> bool:
    return any(Path(file.path).parent == folder for file in process.open_files())


#: A failpoint of ingest, and what shows that a process has come there.
STOPS: dict[str, Callable[[Settings, psutil.Popen], object]] = {
    "ingest.opened": lambda config, process: holds_a_file_of(config.path("to_ingest"), process),
    "storage.drafted": lambda config, _: any(config.path("raw").glob(".incoming/*")),
    "ingest.before_commit": lambda *_: rows(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    ),
    "ingest.unlinked": lambda config, _: len(list(config.path("to_ingest").iterdir())) < 3,
}


@pytest.mark.parametrize("point", STOPS)
def test_an_ingest_is_stopped_anywhere(point: str, database: Settings, commands: Commands) -> None:
    files = [saved(picture(seed), "PNG") for seed in range(3)]
    for number, data in enumerate(files):
        (database.path("to_ingest") / f"{number}.png").write_bytes(data)
    brought = [sha256_of(data) for data in files]
    process = commands.start("ingest", failpoints=f"{point}=sleep:90")
    until(lambda: STOPS[point](database, process))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    check_invariant(database, brought, settled=False)
    ingest_inbox()
    assert count("sightings") == count("original_documents") == 3
    check(database, brought)


@pytest.fixture(scope="module")
def platform(postgres: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(postgres, tmp_path_factory.mktemp("platform")) as running:
        yield running


def test_a_request_that_was_begun_is_answered(platform: Platform) -> None:
    service = platform.processes[-1]
    client = platform.of_role("viewer")
    with ThreadPoolExecutor(1) as pool, platform.held() as name:
        asked = pool.submit(client.predict, saved(picture(1), "PNG"), name=name)
        until(platform.working)
        service.send_signal(signal.SIGTERM)
        until(lambda: not accepts(platform.predict))
        assert not asked.done(), "the service closes its door at once"
    answer = asked.result()
    assert service.wait(60) in (0, -signal.SIGTERM)
    with platform.here():
        assert rows("SELECT id::text FROM predictions") == [(str(answer.prediction_id),)]
    assert "Traceback" not in (platform.root / "logs" / "predict.log").read_text()


def accepts(url: str) -> bool:
    """Whether the service takes new connections."""
    try:
        httpx.get(f"{url}/healthz", timeout=5)
    except httpx.TransportError:
        return False
    return True
