"""Worker, supervisor, scheduler: each is killed in the middle of the work, comes up again, and no work is lost.

The story with a real Airflow takes minutes: `DSDC_FAULTS=full ./scripts/test.sh tests/faults/test_f10_restarts.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from dsdc.cli.platform import app
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.samples import generate
from dsdc.settings import Settings, settings
from services.airflow.rest import AirflowApi
from services.supervisor.control import Supervisor
from services.supervisor.ports import free_port
from services.supervisor.processes import platform_processes
from services.supervisor.programs import Program, programs
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.faults.machine import quick_assembly
from tests.faults.runs import DSDC, FULL
from tests.processes import lives
from tests.projects import ROOT, forget_settings, make_project

AIRFLOW = ("postgres", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor")


def until(true: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def count(what: str) -> int:
    return int(rows(f"SELECT count(*) FROM {what}")[0][0])


def worker_at_work(stage: str) -> int | None:
    """The pid of the worker of this machine that holds inputs of a stage, while it runs."""
    found = rows(f"SELECT worker FROM stage_attempts WHERE stage = '{stage}' AND state = 'running'")
    pids = [int(worker.split(":")[1]) for (worker,) in found]  # host:pid, and more
    return next((pid for pid in pids if lives(pid)), None)


def kill_worker(stage: str) -> int:
    end = time.monotonic() + 120
    while (pid := worker_at_work(stage)) is None:
        assert time.monotonic() < end, "no worker is at work"
        time.sleep(0.05)
    psutil.Process(pid).kill()
    return pid


def arrive(inbox: Path, folder: Path, number: int) -> list[str]:
    """Sample documents in the inbox; their SHA-256."""
    brought = []
    for sample in generate(folder, count=number, seed=8):
        data = (folder / sample.file).read_bytes()
        brought.append(sha256_of(data))
        (folder / sample.file).replace(inbox / Path(sample.file).name)
    return brought


@pytest.fixture
def supervised(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """supervisord as the platform configures it, with one program: a worker that reads text, again and again."""
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_LEASE_S", "2")
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_BATCH", "4")
    monkeypatch.setenv("DSDC_RENDER_DPI", "100")
    forget_settings()
    supervisor = Supervisor(settings())
    yield supervisor
    supervisor.shut_down(lambda _: None)


def test_a_worker_and_its_supervisor_are_killed(supervised: Supervisor, database: Settings, tmp_path: Path) -> None:
    brought = arrive(database.path("to_ingest"), tmp_path / "samples", 10)
    ingest_inbox()
    run_stage("render", assembly=quick_assembly(settings()))
    program = Program("worker", (DSDC, "process", "--stage", "text"), priority=1)
    supervised.launch([program])
    supervised.start(["worker"])
    first = kill_worker("text")
    until(lambda: worker_at_work("text") not in (None, first))

    # A killed supervisor leaves the worker running; the next start ends that one, and begins anew.
    leader = psutil.Process(int((supervised.config_file.parent / "supervisord.pid").read_text()))
    leader.kill()
    psutil.wait_procs([leader], timeout=10)
    supervised.clear_leftovers(lambda _: None)
    assert worker_at_work("text") is None
    supervised.launch([program])
    supervised.start(["worker"])

    pages = count("processed_images")
    until(lambda: count("stage_attempts WHERE stage = 'text' AND state = 'done'") == pages, timeout_s=120)
    assert count("raw_texts") == pages
    assert count("stage_attempts WHERE crashes > 0") > 0
    supervised.shut_down(lambda _: None)
    check_invariant(database, brought)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A platform of PostgreSQL and Airflow, under the real supervisor, on the project's own DAGs."""
    root = Path(tempfile.mkdtemp(prefix="dsdc-airflow-"))
    root.chmod(0o755)
    make_project(root, ocr_engine="tesseract")
    for name in ("dsdc", "services", "dags", "models/clip"):
        (root / name).symlink_to(ROOT / name)
    for name in [name for name in os.environ if name.startswith("DSDC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSDC_DIR", str(root))
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_LEASE_S", "5")
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", "0")
    # Airflow looks every five minutes for tasks whose scheduler died.
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL", "20")
    forget_settings()
    for program in programs(settings()):
        if program.port:
            monkeypatch.setenv(program.port.variable, str(free_port()))
    forget_settings()
    platform("up", "--only", ",".join(AIRFLOW))
    yield settings()
    platform("down")
    left = platform_processes(settings())
    shutil.rmtree(root, ignore_errors=True)
    assert not left


def platform(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, f"{done.output}\n{done.exception}"


def states(api: AirflowApi, what: str) -> list[str]:
    """Of all runs of the main DAG, for one is scheduled besides ours, or of all their tasks."""
    path = "/api/v2/dags/ingest_and_process/dagRuns" + ("/~/taskInstances" if what == "task_instances" else "")
    return [str(one["state"]) for one in api._call("GET", path)[what]]


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="takes minutes; set DSDC_FAULTS=full")
def test_airflow_loses_no_work(airflow: Settings, tmp_path: Path) -> None:
    """A task, and then the scheduler, are killed in the middle of a run of the main DAG."""
    brought = arrive(airflow.path("to_ingest"), tmp_path / "samples", 16)
    api = AirflowApi(airflow)
    api.wait_for_dag("ingest_and_process")
    api.trigger("ingest_and_process", {"workers": 1})
    kill_worker("text")
    until(lambda: "up_for_retry" in states(api, "task_instances"), timeout_s=60)

    until(lambda: worker_at_work("text"), timeout_s=120)
    scheduler = Supervisor(airflow).states()["airflow-scheduler"].pid
    os.kill(scheduler, signal.SIGKILL)
    until(lambda: Supervisor(airflow).states()["airflow-scheduler"].pid not in (0, scheduler))

    until(lambda: set(states(api, "dag_runs")) <= {"success", "failed"}, timeout_s=400)
    assert set(states(api, "dag_runs")) == {"success"}
    assert count("stage_attempts WHERE state NOT IN ('done', 'skipped')") == 0
    assert count("stage_attempts WHERE crashes > 0") > 0
    check_invariant(airflow, brought)
