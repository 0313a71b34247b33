"""Every DAG: loads fast and light, is documented, careful about retries and time, and has the graph it should."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.dags.conftest import DAGS, ROOT, airflow_env

GRAPHS = {
    "ingest_and_process": {
        "ingest": {"plan", "report"},
        "plan": {"unpack", "render", "text", "clean", "embed_images", "embed_texts"},
        "unpack": {"render", "report"},
        "render": {"text", "embed_images", "report"},
        "text": {"clean", "report"},
        "clean": {"embed_texts", "report"},
        "embed_images": {"report"},
        "embed_texts": {"report"},
        "report": {"announce"},
        "announce": set(),
    },
    "reprocess": {
        "forecast": {"plan", "report"},
        "plan": {"unpack", "render", "text", "clean", "embed_images", "embed_texts"},
        "unpack": {"render", "report"},
        "render": {"text", "embed_images", "report"},
        "text": {"clean", "report"},
        "clean": {"embed_texts", "report"},
        "embed_images": {"report"},
        "embed_texts": {"report"},
        "report": set(),
    },
    "train_model": {"new_labels": {"train"}, "train": set()},
    "check_platform": {name: set() for name in ("database", "mlflow", "auth", "predict", "disk_space", "stuck_stages")},
    "simulate_arrivals": {"arrive": set()},
    "adapt_clip": {"adapt": set()},
    "maintenance": {"retention": {"fsck"}, "fsck": set()},
}


def test_the_dags_are_these_and_have_these_graphs(dags: dict[str, Any]) -> None:
    found = {name: {t.task_id: set(t.downstream_task_ids) for t in dag.tasks} for name, dag in dags.items()}
    assert found == GRAPHS


def test_parsing_imports_no_work(airflow_home: Any) -> None:
    """In a fresh process, as the dag processor does it: no dsdc, no torch, and within seconds of processor time."""
    code = (
        "import importlib.util, json, sys, time, pathlib\n"
        "import airflow.sdk\n"
        "started = time.process_time()\n"
        f"for path in sorted(pathlib.Path({str(DAGS)!r}).glob('*.py')):\n"
        "    spec = importlib.util.spec_from_file_location(path.stem, path)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "heavy = [m for m in sys.modules if m.split('.')[0] in {'dsdc', 'torch', 'mlflow', 'open_clip', 'PIL'}]\n"
        "print(json.dumps([heavy, time.process_time() - started]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=airflow_env(airflow_home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    heavy, seconds = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert seconds < 5


@pytest.mark.parametrize("name", GRAPHS)
def test_it_declares_how_it_runs(dags: dict[str, Any], name: str) -> None:
    dag = dags[name]
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout
    assert "dsdc" in dag.tags
    for heading in ("**What.**", "**When.**", "**Needs.**"):
        assert heading in dag.doc_md
    for task in dag.tasks:
        assert task.owner == "dsdc"
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=23)
        assert task.retry_exponential_backoff == 2.0
        assert task.retries >= 1 or task.task_id == "report", "a verdict is not repeated, everything else is"
        assert task.doc_md or task.python_callable.__doc__, f"{task.task_id} says nothing about itself"


def test_heavy_work_waits_in_pools(dags: dict[str, Any]) -> None:
    pools = {t.task_id: t.pool for t in dags["ingest_and_process"].tasks}
    assert pools == dict.fromkeys(("ingest", "unpack", "render", "text", "clean"), "cpu") | dict.fromkeys(
        ("embed_images", "embed_texts"), "gpu"
    ) | dict.fromkeys(("plan", "report", "announce"), "default_pool")
    assert {t.task_id: t.pool for t in dags["train_model"].tasks} == {"new_labels": "default_pool", "train": "gpu"}
    assert [t.pool for t in dags["adapt_clip"].tasks] == ["gpu"]
    assert {t.pool for t in dags["maintenance"].tasks} == {"cpu"}
    # It sleeps most of its time, which must not keep a slot from those who work.
    assert [t.pool for t in dags["simulate_arrivals"].tasks] == ["default_pool"]


def test_stages_are_mapped_and_joined_by_a_report_that_skipping_does_not_skip(dags: dict[str, Any]) -> None:
    dag = dags["ingest_and_process"]
    mapped = {t.task_id for t in dag.tasks if t.is_mapped}
    assert mapped == {"unpack", "render", "text", "clean", "embed_images", "embed_texts"}
    stages = {t.task_id: t.partial_kwargs["op_kwargs"]["stage"] for t in dag.tasks if t.is_mapped}
    from dsdc.pipeline.assembly import STAGES

    assert set(stages.values()) == set(STAGES)
    assert dag.get_task("report").trigger_rule == "none_failed"


def test_the_store_is_checked_whether_anything_was_forgotten_or_not(dags: dict[str, Any]) -> None:
    assert dags["maintenance"].get_task("fsck").trigger_rule == "none_failed"


def test_reprocessing_runs_the_same_stages_and_can_be_asked_for_each(dags: dict[str, Any]) -> None:
    from dsdc.pipeline.assembly import STAGES

    dag = dags["reprocess"]
    mapped = {task.task_id: task for task in dag.tasks if task.is_mapped}
    assert {task.partial_kwargs["op_kwargs"]["stage"] for task in mapped.values()} == set(STAGES)
    assert dag.params.get_param("stage").schema["enum"] == [None, *STAGES]
    assert {task.trigger_rule for task in mapped.values()} == {"none_failed"}, "a stage left out holds up no other"
    assert {task.pool for name, task in mapped.items() if name.startswith("embed")} == {"gpu"}


def test_every_task_says_what_it_reads_and_writes(dags: dict[str, Any]) -> None:
    from dsdc.db.tables import Base
    from services.airflow.lineage import FLOWS

    assert {name: set(tasks) for name, tasks in FLOWS.items()} == {name: set(tasks) for name, tasks in GRAPHS.items()}
    named = {name for tasks in FLOWS.values() for flow in tasks.values() for side in flow for name in side}
    tables = {name for name in named if not name.startswith("bytes:")}
    assert tables <= set(Base.metadata.tables)
    assert {type(task).__name__ for dag in dags.values() for task in dag.tasks if not task.is_mapped} == {
        "_PythonDecoratedOperator"
    }, "of another kind nobody would be told"


def test_the_asset_links_processing_to_training(dags: dict[str, Any]) -> None:
    outlets = [asset.name for asset in dags["ingest_and_process"].get_task("announce").outlets]
    starts = [asset.name for asset in dags["train_model"].timetable.asset_condition.objects]
    assert outlets == starts == ["labelled-embeddings"]


def test_arrivals_start_processing(dags: dict[str, Any]) -> None:
    timetable = dags["ingest_and_process"].timetable
    (inbox,) = timetable.asset_condition.objects
    path, arguments = inbox.watchers[0].trigger.serialize()
    assert path == "services.airflow.inbox.InboxTrigger"
    from services.airflow.inbox import InboxTrigger

    assert InboxTrigger(**arguments).serialize() == (path, arguments)


@pytest.mark.parametrize("name", GRAPHS)
def test_forms_are_valid_schemas_and_their_defaults_fit(dags: dict[str, Any], name: str) -> None:
    for key, param in dags[name].params.items():
        Draft202012Validator.check_schema(param.schema)
        dags[name].params.get_param(key).resolve()


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("simulate_arrivals", {"count": 0}),
        ("simulate_arrivals", {"count": "many"}),
        ("simulate_arrivals", {"seconds_between": -1}),
        ("train_model", {"epochs": 0}),
        ("train_model", {"dropout": 1}),
        ("train_model", {"learning_rate": 0}),
        ("ingest_and_process", {"workers": 33}),
        ("ingest_and_process", {"take_inbox": "perhaps"}),
        ("check_platform", {"stuck_minutes": 0}),
        ("reprocess", {"stage": "ocr"}),
        ("reprocess", {"dry_run": "perhaps"}),
        ("reprocess", {"workers": 0}),
        ("adapt_clip", {"batch": 1}),
        ("maintenance", {"repair": "perhaps"}),
        ("adapt_clip", {"blocks": -1}),
        ("adapt_clip", {"force": "perhaps"}),
    ],
)
def test_forms_refuse_nonsense(dags: dict[str, Any], name: str, conf: dict[str, Any]) -> None:
    from airflow.sdk.definitions.param import process_params
    from airflow.sdk.exceptions import ParamValidationError

    dag = dags[name]
    process_params(dag, dag.tasks[0], {}, suppress_exception=False)
    with pytest.raises(ParamValidationError):
        process_params(dag, dag.tasks[0], conf, suppress_exception=False)


def test_training_may_override_every_hyperparameter_the_form_names(dags: dict[str, Any]) -> None:
    from dsdc.settings import Train

    assert set(dags["train_model"].params) - {"only_if_changed", "trials"} <= set(Train.model_fields)


def test_adapting_may_override_every_parameter_the_form_names(dags: dict[str, Any]) -> None:
    from dsdc.ml.adapt.params import AdaptParams

    assert set(dags["adapt_clip"].params) - {"force"} == set(AdaptParams.model_fields) - {"held_out"}
