"""### Train the model

**What.** Freezes the labelled embeddings into a snapshot, trains the classifier head on it, calibrates it, logs the
run to MLflow, registers the version, and makes it `champion` where it may serve. While labels are few, documents are
compared with those that have one and with the names of the classes instead; with *trials*, settings are searched first.

**When.** When the asset `labelled-embeddings` is updated, which `ingest_and_process` does for labelled documents that
no model has learnt yet; a run that finds nothing new skips, so that a burst of arrivals trains once. And by hand, with
the form: what is left empty comes from the section `train` of config.yaml.

**Needs.** PostgreSQL, MLflow, the pool `gpu`; for a head, two classes with `train.min_per_class` labelled documents.

**Afterwards.** The prediction service notices the new champion by itself. Metrics are in this run's log and XCom, in
MLflow, and in the table `model_versions`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, Param, chain, dag, task

LABELLED = Asset("labelled-embeddings")


def _override(kind: str, title: str, **schema: Any) -> Param:
    """A field that may stay empty: the value of config.yaml is used then."""
    return Param(None, type=["null", kind], title=title, **schema)


@dag(
    schedule=[LABELLED],
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    tags=["dsdc", "training", "mlflow"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "pool": "gpu",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=6),
    },
    params={
        "method": Param(
            None,
            type=["null", "string"],
            enum=[None, "auto", "head", "neighbours", "zero-shot"],
            title="Method",
            description="auto goes by the number of labels a class.",
        ),
        "trials": Param(
            0, type="integer", minimum=0, maximum=1000, title="Settings to try first", description="0: no search."
        ),
        "epochs": _override("integer", "Epochs of each network", minimum=1, maximum=10_000),
        "learning_rate": _override("number", "Learning rate", exclusiveMinimum=0, maximum=1),
        "weight_decay": _override("number", "Weight decay", minimum=0, maximum=10),
        "batch": _override("integer", "Batch size", minimum=1, maximum=65_536),
        "hidden": _override("integer", "Width of the hidden layer", minimum=1, maximum=16_384),
        "dropout": _override("number", "Dropout", minimum=0, exclusiveMaximum=1),
        "seed": _override("integer", "Seed", minimum=0, maximum=2**32 - 1),
        "only_if_changed": Param(
            False,
            type="boolean",
            title="Only if labels changed",
            description="Skip when the newest model has learnt every labelled embedding, as asset-started runs do.",
        ),
    },
)
def train_model() -> None:
    @task(pool="default_pool", execution_timeout=timedelta(minutes=10))
    def new_labels(dag_run: Any, params: dict[str, Any]) -> dict[str, Any]:
        """What the newest model has not learnt; skips the run when it lacks nothing and nobody asked for it."""
        from airflow.sdk.exceptions import AirflowSkipException

        from dsdc.pipeline.purpose import labelled_change

        change = labelled_change()
        if not change and (dag_run.run_type == "asset_triggered" or params["only_if_changed"]):
            raise AirflowSkipException("The newest model has learnt every labelled embedding; there is nothing new.")
        return change

    @task(queue="gpu")
    def train(run_id: str, params: dict[str, Any]) -> dict[str, Any]:
        """Snapshot, head, MLflow, registry, champion."""
        from airflow.sdk.exceptions import AirflowFailException

        from dsdc.errors import NotEnoughLabels, SettingsError
        from dsdc.pipeline.training import train_model as train_on_snapshot

        own = ("only_if_changed", "trials")
        overrides = {key: value for key, value in params.items() if key not in own and value is not None}
        try:
            return train_on_snapshot(
                overrides=overrides, trials=params["trials"], author=f"airflow:{run_id}", airflow_run=run_id
            ).as_dict()
        except (NotEnoughLabels, SettingsError) as error:
            raise AirflowFailException(str(error)) from error  # another attempt would end the same way

    chain(new_labels(), train())


train_model()
