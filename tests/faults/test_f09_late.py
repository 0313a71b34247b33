"""A worker that was asleep while another one took over its work: its late results are refused."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from sqlalchemy.engine import URL

from dsdc.samples import generate
from tests.faults.runs import make_site


def test_what_comes_late_is_refused(tmp_path: Path, postgres: URL) -> None:
    quick = {"DSDC_PIPELINE_CLAIM_LEASE_S": "2", "DSDC_RENDER_DPI": "100"}
    site = make_site(tmp_path, postgres, "late", **quick)
    generate(tmp_path / "samples", count=3, seed=5)
    site.bring([path for path in (tmp_path / "samples").rglob("*") if path.is_file() and path.suffix != ".csv"])
    assert site.run("ingest") == 0
    assert site.run("process", "--stage", "render") == 0
    # It has its first results, and freezes before it records them.
    late = site.start(
        "process", "--stage", "text", DSDC_FAILPOINTS="worker.computed=pause@1", DSDC_PIPELINE_WORKER_NAME="late"
    )
    assert os.WIFSTOPPED(os.waitpid(late.pid, os.WUNTRACED)[1]), site.log_tail()
    time.sleep(2.5)
    assert site.run("process", "--stage", "text", DSDC_PIPELINE_WORKER_NAME="heir") == 0
    before = site.state()
    late.send_signal(signal.SIGCONT)
    assert late.wait(timeout=240) == 0, site.log_tail()
    assert site.state() == before
    workers = {row[0].split(":")[0] for row in site.query("SELECT worker FROM stage_attempts WHERE stage = 'text'")}
    assert workers == {"heir"}
    pages, texts = (site.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("processed_images", "raw_texts"))
    assert pages == texts > 0
    assert f'"lost": {pages}' in site.log_tail()
    assert site.run("fsck") == 0, site.log_tail()
