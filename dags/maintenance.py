"""### Maintenance

**What.** Forgets documents that are older than `retention.days`, if that is set (`dsdc forget --expired`), and then
compares the store with the database (`dsdc fsck`).

**When.** Every night, and by hand: with *repair*, what is safe to mend is mended; no document is thrown away by that.

**Needs.** PostgreSQL and the store. Retention is off until `retention.days` is set; documents that a person has
labelled, or that came with their label, are kept unless `retention.labelled` says otherwise.

**Afterwards.** A store that does not agree with its database makes the task red; its log names each finding. What was
forgotten is in the audit log, and in this run's XCom by number.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, chain, dag, task


@dag(
    schedule="30 3 * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    tags=["dsdc", "operations"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "pool": "cpu",
        "retries": 1,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=8),
    },
    params={
        "repair": Param(False, type="boolean", title="Repair", description="Mend what is safe to mend."),
        "hashes": Param(
            True,
            type="boolean",
            title="Read every file",
            description="Compare hashes too, and not only whether files are there.",
        ),
    },
)
def maintenance() -> None:
    @task
    def retention(run_id: str) -> dict[str, int]:
        """Documents older than `retention.days` are forgotten; skipped where it is not set."""
        from airflow.sdk.exceptions import AirflowSkipException

        from dsdc.pipeline.maintenance import forget_expired
        from dsdc.settings import settings

        if settings().retention.days is None:
            raise AirflowSkipException("retention.days is not set: documents are kept for ever.")
        return forget_expired(author=f"airflow:{run_id}")

    @task(trigger_rule="none_failed")
    def fsck(params: dict[str, Any]) -> dict[str, int]:
        """The store holds what the database says, and the other way round."""
        from dsdc.pipeline.maintenance import check_store

        return check_store(repair=params["repair"], hashes=params["hashes"])

    chain(retention(), fsck())


maintenance()
