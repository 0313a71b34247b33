"""A worker that is killed: its leases run out, another one does the work again, and every row is there once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import URL

from dsdc.samples import generate
from tests.faults.runs import Site, finish, make_site, same_vectors

POINTS = ("worker.claimed", "worker.computed", "worker.before_commit", "worker.recorded")
QUICK = {"DSDC_PIPELINE_CLAIM_LEASE_S": "2", "DSDC_PIPELINE_CLAIM_BATCH": "4", "DSDC_RENDER_DPI": "100"}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, postgres: URL) -> tuple[Site, list[Path]]:
    """A site on which nothing went wrong, and the files that it took."""
    folder = tmp_path_factory.mktemp("calm")
    samples = generate(folder / "samples", count=5, seed=5)
    files = [folder / "samples" / sample.file for sample in samples]
    site = make_site(folder, postgres, "calm", **QUICK)
    site.bring(files)
    finish(site)
    return site, files


def assert_same(site: Site, calm: Site) -> None:
    assert site.state() == calm.state()
    assert same_vectors(site, calm)
    assert site.run("fsck") == 0, site.log_tail()


def test_killed_at_every_step_of_every_stage(tmp_path: Path, postgres: URL, calm: tuple[Site, list[Path]]) -> None:
    site = make_site(tmp_path, postgres, "killed", **QUICK)
    site.bring(calm[1])
    assert site.run("ingest") == 0
    for number, point in enumerate(POINTS):
        # A later occurrence each time, so that they die in different places.
        status = site.run("process", DSDC_FAILPOINTS=f"{point}=kill@{1 + number}")
        assert status == -signal.SIGKILL, site.log_tail()
        time.sleep(2.2)
    finish(site)
    assert_same(site, calm[0])
    assert site.query("SELECT count(*) FROM stage_attempts WHERE crashes > 0")[0][0] > 0
    finish(site)
    assert_same(site, calm[0])  # running everything again changes nothing


def test_killed_in_the_middle_of_reading_a_page(tmp_path: Path, postgres: URL, calm: tuple[Site, list[Path]]) -> None:
    site = make_site(tmp_path, postgres, "reading", **QUICK)
    site.bring(calm[1])
    assert site.run("ingest") == 0
    assert site.run("process", "--stage", "render") == 0
    worker = site.start("process", "--stage", "text")
    while not site.query("SELECT 1 FROM stage_attempts WHERE stage = 'text' AND state = 'running'"):
        assert worker.poll() is None, site.log_tail()
        time.sleep(0.05)
    parsers = psutil.Process(worker.pid).children()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert psutil.wait_procs(parsers, timeout=60)[1] == [], "parsers do not outlive their worker"
    time.sleep(2.2)
    finish(site)
    assert_same(site, calm[0])
