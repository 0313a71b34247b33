"""### Reprocess

**What.** Brings everything to the processor versions of the settings: what other versions made stays, and what these
have made already is not made again. Says first how much there is to do, and about how long it will take.

**When.** By hand, after a change of `processors`, `render`, `ocr` or `clip` in the settings; what would come of such a
change, `dsdc replay` says before. `ingest_and_process` would do the same work with the next arrivals.

**Needs.** PostgreSQL, the store of bytes, the CLIP weights, the pools `cpu` and `gpu`.

**Afterwards.** The model that serves was trained on what the old versions made, and the prediction service says so:
train again (`train_model`), or promote the model that the replay has trained.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, chain, dag, task

STAGES = ["unpack", "render", "text", "clean", "embed-image", "embed-text"]


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=7),
    tags=["dsdc", "ocr", "embeddings"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "pool": "cpu",
        "retries": 3,
        "retry_delay": timedelta(seconds=15),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=23),
    },
    params={
        "stage": Param(
            None,
            type=["null", "string"],
            enum=[None, *STAGES],
            title="Stage",
            description="Only this one. Empty: all, in their order.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Only say how much there is to do", description="In the XCom of forecast."
        ),
        "workers": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=32,
            title="Workers a stage",
            description="Tasks that share the work of each stage. Empty: `pipeline.workers` of config.yaml.",
        ),
    },
)
def reprocess() -> None:
    @task(pool="default_pool", execution_timeout=timedelta(minutes=30))
    def forecast(params: dict[str, Any]) -> dict[str, Any]:
        """What each stage has to do, and about how long that takes."""
        from dsdc.pipeline.assembly import assemble
        from dsdc.pipeline.forecast import forecast as foresee
        from dsdc.settings import settings

        found = foresee(assemble(settings()))
        return {name: work.as_dict() for name, work in found.items() if params["stage"] in (None, name)}

    @task(pool="default_pool", execution_timeout=timedelta(minutes=10))
    def plan(work: dict[str, Any], params: dict[str, Any]) -> list[int]:
        """Numbers of the workers to start in each stage; none for a dry run or without work, which skips the stages."""
        from dsdc.settings import settings

        open_work = any(todo["pending"] + todo["running"] + todo["follow"] for todo in work.values())
        if params["dry_run"] or not open_work:
            return []
        return list(range(1, 1 + (params["workers"] or settings().pipeline.workers)))

    @task(map_index_template="worker {{ worker }}")
    def process(worker: int, stage: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  (it names the task)
        """Claim and process what is pending in one stage until nothing is left."""
        from airflow.sdk.exceptions import AirflowSkipException

        from dsdc.pipeline.worker import run_stage

        if params["stage"] not in (None, stage):
            raise AirflowSkipException(f"Only the stage {params['stage']} was asked for.")
        return run_stage(stage).as_dict()

    @task(pool="default_pool", retries=0, trigger_rule="none_failed", execution_timeout=timedelta(minutes=30))
    def report(todo: dict[str, Any], stages: list[list[dict[str, Any]]], params: dict[str, Any]) -> dict[str, Any]:
        """Say what happened; red where work is left, or documents failed in such numbers that it cannot be theirs."""
        from dsdc.pipeline.purpose import check_stages

        if params["dry_run"]:
            return {"open": todo}
        return check_stages([outcome for workers in stages for outcome in workers or ()], list(todo))

    work = forecast()
    workers = plan(work)
    # After a stage that was left out, the next one still has its turn.
    unpack, render, text, clean = (
        process.override(task_id=name, trigger_rule="none_failed").partial(stage=name).expand(worker=workers)
        for name in ("unpack", "render", "text", "clean")
    )
    embed_images, embed_texts = (
        process.override(task_id=f"embed_{what}s", pool="gpu", queue="gpu", trigger_rule="none_failed")
        .partial(stage=f"embed-{what}")
        .expand(worker=workers)
        for what in ("image", "text")
    )
    chain(unpack, render, [text, embed_images])
    chain(text, clean, embed_texts)
    report(work, [unpack, render, text, clean, embed_images, embed_texts])


reprocess()
