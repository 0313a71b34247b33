"""Two machines work on one store: no page twice, and in half the time.

Here a machine is a process group with a host name and one core of its own. `DSDC_FAULTS=full ./scripts/test.sh
tests/faults/test_two_machines.py` takes 200 real pages and prints the speed-up; what else the machine has to do is
nobody's fault, so it is not tested.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from dsdc.samples import generate
from tests.faults.runs import FULL, Site, make_site, same_vectors

ONE_CORE = {"DSDC_PARSING_PROCESSES": "1", "OMP_NUM_THREADS": "1", "DSDC_PIPELINE_CLAIM_BATCH": "4"}
# A handful of documents would be done before a second process has started on a busy machine.
WAITS_FOR_THE_OTHER = {} if FULL else {"DSDC_FAILPOINTS": "worker.claimed=sleep:8@1"}


def _machine(name: str, core: int) -> list[str]:
    """A command prefix that gives a process a host name (where the system allows it) and one core."""
    pin = ["taskset", "-c", str(core)]
    named = ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"]
    allowed = subprocess.run([*named, "true"], capture_output=True, check=False).returncode == 0
    return [*(named if allowed else ["env", f"DSDC_PIPELINE_WORKER_NAME={name}"]), *pin]


def _process(site: Site, machines: Sequence[str], **env: str) -> float:
    """Seconds that these machines take for all that is pending."""
    cores = sorted(os.sched_getaffinity(0))
    started = time.monotonic()
    workers = [
        site.start("process", prefix=_machine(name, cores[number % len(cores)]), **ONE_CORE, **env)
        for number, name in enumerate(machines)
    ]
    assert {worker.wait(timeout=1800) for worker in workers} == {0}, site.log_tail()
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_page_twice_on_two_machines(
    tmp_path: Path, postgres: URL, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if FULL:
        corpus: Path = request.getfixturevalue("corpus")
        files = sorted((corpus / "rvl-cdip").rglob("*.*"))[::8]
    else:
        files = [tmp_path / s.file for s in generate(tmp_path, count=8, seed=31)]
    one, two = (make_site(tmp_path, postgres, name) for name in ("one", "two"))
    for site in (one, two):
        site.bring(files)
        assert site.run("ingest") == 0
    alone = _process(one, ["machine-a"])
    together = _process(two, ["machine-a", "machine-b"], **WAITS_FOR_THE_OTHER)
    # A machine may be through with a stage while the other still has a few of its pages: nobody waits for them.
    _process(two, ["machine-a"])
    assert two.state() == one.state()
    assert same_vectors(two, one)
    assert two.query("SELECT max(attempts) FROM stage_attempts")[0][0] == 1
    shares = {
        row[0]: row[1]
        for row in two.query("SELECT split_part(worker, ':', 1), count(*) FROM stage_attempts GROUP BY 1")
    }
    assert set(shares) == {"machine-a", "machine-b"}
    assert two.run("fsck") == 0, two.log_tail()
    speed = f"one machine {alone:.1f} s, two {together:.1f} s, {alone / together:.2f} times as fast; " if FULL else ""
    with capsys.disabled():
        print(f"\n{len(files)} documents: {speed}inputs by machine {shares}.")  # noqa: T201
