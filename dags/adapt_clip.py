"""### Adapt CLIP

**What.** Trains the output of the image tower of the CLIP in use on the archive's own pages, each with its text and
without any label: images learn to find their texts. The result is a new model under `models/clip`, with the record
`adaptation.json` beside its weights. It is kept only if it is better on pages of documents that were held out.

**When.** By hand, when the archive has grown by some thousands of pages or by another kind of documents. What is left
empty in the form has the defaults that `dsdc clip adapt --help` describes.

**Needs.** PostgreSQL, the store of bytes, the CLIP weights, at least 50 different pages with text, the pool `gpu`.

**Afterwards.** Nothing is switched. The log and the XCom `setting` hold the lines for config.local.yaml; with these,
`ingest_and_process` embeds the archive once more, beside the embeddings that there are, and `train_model` learns from
the new ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task


def _override(kind: str, title: str, **schema: Any) -> Param:
    """A field that may stay empty: the default is used then."""
    return Param(None, type=["null", kind], title=title, **schema)


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=23),
    tags=["dsdc", "training", "embeddings"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "pool": "gpu",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=11),
    },
    params={
        "epochs": _override("integer", "Epochs at most", minimum=1, maximum=10_000),
        "patience": _override("integer", "Epochs without progress before it stops", minimum=1, maximum=10_000),
        "learning_rate": _override("number", "Learning rate", exclusiveMinimum=0, maximum=1),
        "weight_decay": _override("number", "Weight decay", minimum=0, maximum=10),
        "dropout": _override("number", "Dropout", minimum=0, exclusiveMaximum=1),
        "batch": _override("integer", "Pairs in a batch", minimum=2, maximum=65_536),
        "blocks": _override(
            "integer",
            "Blocks of the image tower that learn too",
            description="0 or empty: its output layer alone. More want a GPU and tens of thousands of pages.",
            minimum=0,
            maximum=1000,
        ),
        "max_pairs": _override("integer", "Pages at most", minimum=50, maximum=10_000_000),
        "seed": _override("integer", "Seed", minimum=0, maximum=2**32 - 1),
        "force": Param(
            False,
            type="boolean",
            title="Keep it in any case",
            description="Also write a model that is no better on the pages held out, for a comparison.",
        ),
    },
)
def adapt_clip() -> None:
    @task(queue="gpu")
    def adapt(run_id: str, params: dict[str, Any]) -> dict[str, Any]:
        """Pairs from the store, training, measures on held-out documents, the new model's folder."""
        from airflow.sdk.exceptions import AirflowFailException

        from dsdc.errors import ModelError, PurposeFailed, SettingsError
        from dsdc.pipeline.adaptation import adapt_clip as adapt_to_archive

        overrides = {key: value for key, value in params.items() if key != "force" and value is not None}
        try:
            report = adapt_to_archive(overrides=overrides, force=params["force"], author=f"airflow:{run_id}")
        except (ModelError, PurposeFailed, SettingsError) as error:
            raise AirflowFailException(str(error)) from error  # another attempt would end the same way
        return report.as_dict()

    adapt()


adapt_clip()
