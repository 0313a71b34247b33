"""### Simulate arrivals

**What.** Draws believable documents (PDFs, fax TIFFs, scans, photographs) and puts them into `data/to_ingest` one by
one, as a scanner or a mailbox would, so that the whole platform can be watched at work.

**When.** By hand only, with the form.

**Needs.** Room on the disk. Everything else is the work of `ingest_and_process`, which notices the arrivals.

The same seed draws the same files, byte for byte, and the platform recognises files it has seen; take another seed for
new documents. Labelled arrivals go to `to_ingest/<class>/`, where the folder's name is the label.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task


@dag(
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=24),
    tags=["dsdc", "demo"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(hours=23),
    },
    params={
        "count": Param(32, type="integer", minimum=1, maximum=10_000, title="Documents"),
        "seed": Param(1, type="integer", minimum=0, maximum=2**32 - 1, title="Seed"),
        "seconds_between": Param(
            1.0, type="number", minimum=0, maximum=3600, title="Seconds between two arrivals", description="0: at once."
        ),
        "labelled": Param(
            True, type="boolean", title="Labelled", description="Put each file into a folder with its class's name."
        ),
    },
)
def simulate_arrivals() -> None:
    @task
    def arrive(params: dict[str, Any]) -> dict[str, Any]:
        """Draw in a hidden folder beside the inbox, then rename file by file: no reader ever sees half a file."""
        from dsdc.pipeline.arrivals import simulate_arrivals as simulate

        return simulate(**params)

    arrive()


simulate_arrivals()
