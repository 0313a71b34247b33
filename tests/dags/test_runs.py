"""Whole runs in a real Airflow (its own SQLite), on a real PostgreSQL: what is green and what is red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from dsdc.settings import Settings
from tests.dags import openlineage_events
from tests.dags.conftest import DAGS, ROOT

# In a process of its own: Airflow's configuration, like the platform's, belongs to a process. All runs in one, for
# each process spends seconds on its imports.
_RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
dags = DagBag(sys.argv[1]).dags
for name, conf in json.loads(sys.argv[2]):
    for task in dags[name].tasks:
        task.retries = 0  # another attempt would only wait
    run = dags[name].test(run_conf=conf)
    tasks = {}
    for ti in run.get_task_instances():
        value = ti.xcom_pull(ti.task_id, map_indexes=ti.map_index)
        tasks.setdefault(ti.task_id, []).append([str(ti.state), value])
    print("RESULT " + json.dumps({"state": str(run.state), "tasks": tasks}, default=str))
"""


def run_dags(env: dict[str, str], *runs: tuple[str, dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """`{"state": …, "tasks": {task: [[state, XCom], …]}}` of each run (DAG, params), and the log of them all."""
    ours = {key: value for key, value in os.environ.items() if key.startswith("DSDC_")}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(DAGS), json.dumps(runs)],
        env=env | ours,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    log = done.stdout + done.stderr
    results = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert len(results) == len(runs), log[-4000:]
    return [json.loads(result) for result in results], log


def states(result: dict[str, Any]) -> dict[str, set[str]]:
    return {task: {state for state, _ in instances} for task, instances in result["tasks"].items()}


@pytest.mark.timeout(2400)
def test_a_day_of_the_platform(migrated: dict[str, str], database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents arrive, two bad files among them; they are processed; nothing is left; the services are down."""
    for name in ("DSDC_MLFLOW_URI", "DSDC_AUTH_URL", "DSDC_STREAMLIT_PREDICT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (database.path("to_ingest") / "empty.pdf").touch()
    (database.path("to_ingest") / "text.pdf").write_text("no PDF at all")
    env = migrated | openlineage_events.lineage_environment(database)
    env["AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT"] = "300"  # an event that takes longer than it may is left out
    (arrival, first, second, adapted, check), log = run_dags(
        env,
        ("simulate_arrivals", {"count": 2, "seed": 5, "seconds_between": 0}),
        ("ingest_and_process", {"workers": 2}),
        ("ingest_and_process", {}),
        ("adapt_clip", {"epochs": 1}),
        ("check_platform", {}),
    )
    assert arrival["state"] == "success", log[-4000:]
    assert arrival["tasks"]["arrive"][0][1] == {"form": 1, "letter": 1}

    assert first["state"] == "success", log[-4000:]
    ((_, ingested),) = first["tasks"]["ingest"]
    assert (ingested["new"], ingested["labelled"], ingested["rejected"]) == (2, 2, 2)
    ((_, report),) = first["tasks"]["report"]
    assert report["stages"]["render"]["done"] == 2
    assert report["stages"]["embed-image"]["done"] >= 2
    assert not any(report["open"].values())
    assert len(first["tasks"]["render"]) == 2, "two workers a stage"
    assert states(first)["announce"] == {"success"}, "one of each class is enough for neighbours"
    assert len(list(database.path("rejected").glob("*.reason.json"))) == 2
    assert not [path for path in database.path("to_ingest").rglob("*") if path.is_file()]

    assert second["state"] == "success"
    assert states(second)["render"] == {"skipped"}
    assert states(second)["report"] == {"success"}

    assert adapted["state"] == "failed"
    assert "different pages with text; adapting a CLIP takes at least 50" in log

    assert check["state"] == "failed"
    found = states(check)
    for name in ("database", "disk_space", "stuck_stages"):
        assert found[name] == {"success"}, log[-4000:]
    assert found["predict"] == {"skipped"}, "without a model it has nothing to be ready with"
    for name in ("mlflow", "auth"):
        assert found[name] == {"failed"}
        assert f"The service {name} at http://127.0.0.1:9" in log

    monkeypatch.setenv("DSDC_PROCESSORS_CLEAN", "2")
    (dry, cleaned), log = run_dags(
        env, ("reprocess", {"dry_run": True}), ("reprocess", {"stage": "clean", "dry_run": False})
    )
    _reprocesses(dry, cleaned, log)
    _tells(database)


def _reprocesses(dry: dict[str, Any], cleaned: dict[str, Any], log: str) -> None:
    assert dry["state"] == "success", log[-4000:]
    ((_, work),) = dry["tasks"]["forecast"]
    pages = work["clean"]["pending"]
    assert pages >= 2
    assert (work["text"]["pending"], work["embed-text"]["follow"]) == (0, pages)
    assert states(dry)["clean"] == {"skipped"}
    assert cleaned["state"] == "success", log[-4000:]
    found = states(cleaned)
    assert {name for name, state in found.items() if state == {"skipped"}} == {
        *("unpack", "render", "text", "embed_images", "embed_texts")
    }
    ((_, report),) = cleaned["tasks"]["report"]
    assert (report["stages"]["clean"]["done"], report["open"]) == (pages, {"clean": 0})


def _tells(config: Settings) -> None:
    """Who would like to know what read and wrote what finds it in the events, line by line."""
    events = openlineage_events.events_of(config)
    openlineage_events.check(config, events)
    kinds = openlineage_events.kinds(events)
    assert kinds["simulate_arrivals.arrive"] == ["START", "COMPLETE"]
    assert kinds["ingest_and_process.ingest"] == ["START", "COMPLETE"] * 2
    assert sorted(kinds["ingest_and_process.render"]) == ["COMPLETE"] * 2 + ["START"] * 2, "two workers"
    assert kinds["adapt_clip.adapt"] == ["START", "FAIL"]
    assert kinds["reprocess.clean"] == ["START", "COMPLETE"]

    def flow(job: str) -> tuple[set[str], set[str]]:
        return openlineage_events.flow(events, job)

    raw, processed = str(config.path("raw")), str(config.path("processed"))
    assert flow("simulate_arrivals.arrive") == (set(), {str(config.path("to_ingest"))})
    assert flow("ingest_and_process.render") == ({"original_documents", raw}, {"processed_images", processed})
    assert flow("ingest_and_process.clean") == flow("reprocess.clean") == ({"raw_texts"}, {"processed_texts"})
    assert flow("ingest_and_process.embed_texts") == ({"processed_texts"}, {"embeddings"})
