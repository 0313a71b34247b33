"""The database server goes down and comes up again and again, at random, in the middle of the work.

Small in every run of the tests; `DSDC_FAULTS=full ./scripts/test.sh tests/faults/test_f07_restarts.py` sends 300
documents through at least 20 restarts.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dsdc.samples import generate
from services.postgres.embedded import temporary_server
from tests.faults.runs import FULL, Restarts, finish, make_site, same_vectors

DOCUMENTS, RESTARTS = (300, 20) if FULL else (12, 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_end_is_as_after_a_calm_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = generate(tmp_path / "samples", count=DOCUMENTS, seed=11)
    files = [tmp_path / "samples" / sample.file for sample in samples]
    with temporary_server() as server:
        calm, shaken = (make_site(tmp_path, server.url(), name, DSDC_RENDER_DPI="100") for name in ("calm", "shaken"))
        for site in (calm, shaken):
            site.bring(files)
        started = time.monotonic()
        finish(calm)
        calm_s = time.monotonic() - started
        started, processes, restarts = time.monotonic(), 0, 0
        with Restarts(server, seed=3, every_s=(1.0, 6.0) if FULL else (1.0, 3.0)) as storm:
            processes += finish(shaken, workers=2, DSDC_PARSING_PROCESSES="1")
            while storm.count < RESTARTS:
                processes += finish(shaken, workers=2, DSDC_PARSING_PROCESSES="1")
            restarts = storm.count
        shaken_s = time.monotonic() - started
        assert shaken.state() == calm.state()
        assert same_vectors(shaken, calm)
        assert shaken.run("fsck") == 0, shaken.log_tail()
        before = shaken.state()
        finish(shaken)
        assert shaken.state() == before
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{DOCUMENTS} documents, {len(before['pages'])} pages: {restarts} restarts of the server in"
            f" {shaken_s:.0f} s, {processes} processes; calm {calm_s:.0f} s. Same final state."
        )
