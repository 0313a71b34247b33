"""### Ingest and process

**What.** Takes the files of `data/to_ingest` into the store, then unpacks what is attached to e-mails, renders the
pages of everything, reads the text (the PDF's own layer or OCR), cleans it, and embeds page images and texts with CLIP.

**When.** Within seconds of files arriving (the asset `inbox`, driven by a watcher in the triggerer); every quarter of
an hour for what is due again after a fault; and by hand. With nothing to do it skips the stages.

**Needs.** PostgreSQL, the store of bytes, the CLIP weights, the pools `cpu` and `gpu`.

**Green means** that everything taken in was processed, or set aside as `rejected` with a reason, document by document.
It is red while work is still pending, and when documents fail in such numbers that the fault cannot be theirs. What
could not be read lies in `data/rejected`; `dsdc status` counts it.

**Afterwards.** New labelled embeddings update the asset `labelled-embeddings`, on which `train_model` starts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, Param, chain, dag, task

from services.airflow.inbox import InboxTrigger

INBOX = Asset("inbox", watchers=[AssetWatcher(name="data/to_ingest", trigger=InboxTrigger(poll_s=5))])
LABELLED = Asset("labelled-embeddings")


@dag(
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("*/15 * * * *", timezone="UTC"), assets=[INBOX]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=24),
    tags=["dsdc", "ingest", "ocr", "embeddings"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "pool": "cpu",
        "retries": 3,
        "retry_delay": timedelta(seconds=15),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=6),
    },
    params={
        "workers": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=32,
            title="Workers a stage",
            description="Tasks that share the work of each stage. Empty: `pipeline.workers` of config.yaml.",
        ),
        "take_inbox": Param(
            True,
            type="boolean",
            title="Take the inbox",
            description="Off: only process what is in the store already.",
        ),
    },
)
def ingest_and_process() -> None:
    @task
    def ingest(run_id: str, params: dict[str, Any]) -> dict[str, Any]:
        """Move what lies in the inbox into the store; safe to repeat."""
        from dsdc.pipeline.ingest import ingest_inbox

        if not params["take_inbox"]:
            return {}
        return ingest_inbox(author=f"airflow:{run_id}").as_dict()

    @task(pool="default_pool", execution_timeout=timedelta(minutes=10))
    def plan(params: dict[str, Any]) -> list[int]:
        """Numbers of the workers to start in each stage; none when there is nothing to do, which skips the stages."""
        from dsdc.pipeline.purpose import open_work
        from dsdc.settings import settings

        if not any(open_work().values()):
            return []
        return list(range(1, 1 + (params["workers"] or settings().pipeline.workers)))

    @task(map_index_template="worker {{ worker }}")
    def process(worker: int, stage: str) -> dict[str, Any]:  # noqa: ARG001  (the number only names the mapped task)
        """Claim and process what is pending in one stage until nothing is left."""
        from dsdc.pipeline.worker import run_stage

        return run_stage(stage).as_dict()

    # Also after skipped stages: a file that could not be taken is a fault, and labels may come without documents.
    @task(pool="default_pool", retries=0, trigger_rule="none_failed", execution_timeout=timedelta(minutes=10))
    def report(taken: dict[str, Any], stages: list[list[dict[str, Any]]]) -> dict[str, Any]:
        """Say what happened; red unless the run met its purpose."""
        from dsdc.pipeline.purpose import check_purpose

        return check_purpose(taken, [outcome for workers in stages for outcome in workers or ()])

    @task(pool="default_pool", outlets=[LABELLED], execution_timeout=timedelta(minutes=10))
    def announce(*, outlet_events: Any) -> None:
        """Update the asset when there are labelled embeddings that no model has learnt; skipped otherwise."""
        from airflow.sdk.exceptions import AirflowSkipException

        from dsdc.pipeline.purpose import labelled_change

        change = labelled_change()
        if not change:
            raise AirflowSkipException("The newest model has learnt every labelled embedding.")
        outlet_events[LABELLED].extra = change

    taken, workers = ingest(), plan()
    unpack, render, text, clean = (
        process.override(task_id=stage).partial(stage=stage).expand(worker=workers)
        for stage in ("unpack", "render", "text", "clean")
    )
    embed_images, embed_texts = (
        process.override(task_id=f"embed_{what}s", pool="gpu", queue="gpu")
        .partial(stage=f"embed-{what}")
        .expand(worker=workers)
        for what in ("image", "text")
    )
    chain(taken, workers)
    chain(unpack, render, [text, embed_images])
    chain(text, clean, embed_texts)
    chain(report(taken, [unpack, render, text, clean, embed_images, embed_texts]), announce())


ingest_and_process()
