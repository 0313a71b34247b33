"""A worker killed at random every few seconds: nothing lost, nothing doubled, hardly anything done twice.

Small, on documents made here, in every run of the tests; `DSDC_FAULTS=full ./scripts/test.sh
tests/faults/test_kill_loop.py` takes 300 real pages.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from dsdc.samples import generate
from tests.faults.runs import FULL, Site, make_site

PAGES, KILLS = (300, 20) if FULL else (12, 3)
#: Seconds of work, from a process's first claim on, after which it is killed.
WORKED_S = (2.0, 16.0) if FULL else (0.3, 1.5)  # a fast machine is soon through with a few pages


def _files(folder: Path, request: pytest.FixtureRequest) -> list[Path]:
    if FULL:
        corpus: Path = request.getfixturevalue("corpus")
        return sorted((corpus / "rvl-cdip").rglob("*.*"))[: PAGES * 5 : 5]
    return [folder / sample.file for sample in generate(folder, count=PAGES, seed=21)]


def _mine(worker: subprocess.Popen[str]) -> str:
    return f"state = 'running' AND split_part(worker, chr(58), 2) = '{worker.pid}'"


def _wait_for_a_claim(site: Site, worker: subprocess.Popen[str]) -> None:
    while worker.poll() is None and not site.query(f"SELECT 1 FROM stage_attempts WHERE {_mine(worker)} LIMIT 1"):
        time.sleep(0.2)


def _kill(site: Site, worker: subprocess.Popen[str]) -> int:
    """Kill a worker's process alone; returns how many inputs it had in its hands."""
    os.kill(worker.pid, signal.SIGSTOP)  # so that the count is true
    held = site.query(f"SELECT count(*) FROM stage_attempts WHERE {_mine(worker)}")
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    return int(held[0][0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_again_and_again(
    tmp_path: Path, postgres: URL, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path, postgres, "kills", DSDC_PIPELINE_CLAIM_LEASE_S="3")
    files = _files(tmp_path / "samples", request)
    site.bring(files)
    assert site.run("ingest") == 0
    chance, kills, in_flight, started = random.Random(7), 0, 0, time.monotonic()
    while True:
        worker = site.start("process")
        _wait_for_a_claim(site, worker)
        try:
            # Once it has been killed often enough, it may end.
            status = worker.wait(timeout=chance.uniform(*WORKED_S) if kills < KILLS or FULL else 900)
            assert status == 0, site.log_tail()
            if not site.query("SELECT 1 FROM stage_attempts WHERE state IN ('pending', 'running') LIMIT 1"):
                break
            time.sleep(1)  # what the last victim held is about to come free
        except subprocess.TimeoutExpired:
            in_flight += _kill(site, worker)
            kills += 1
    seconds = time.monotonic() - started
    inputs, claims = site.query("SELECT count(*), sum(attempts) FROM stage_attempts")[0]
    redone = int(claims) - int(inputs)
    assert kills >= KILLS
    assert site.query("SELECT count(*) FROM original_documents WHERE state = 'stored'")[0][0] == len(files)
    assert site.query("SELECT count(*) FROM stage_attempts WHERE state NOT IN ('done', 'skipped')")[0][0] == 0
    assert site.run("fsck") == 0, site.log_tail()
    assert redone - in_flight <= 0.05 * inputs
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{len(files)} documents, {inputs} inputs of all stages: {kills} kills in {seconds:.0f} s; {in_flight}"
            f" inputs were in the hands of the killed, {redone} were claimed again:"
            f" {100 * (redone - in_flight) / inputs:.1f} % beyond what was in flight."
        )
