"""### Check the platform

**What.** Asks every part that the main job stands on whether it can do its work: the database and its schema, MLflow,
the auth service, the prediction service with its model, room on the disk, and stages whose work does not move.

**When.** Every quarter of an hour, and by hand.

**Needs.** Nothing besides Airflow: what is down is what this DAG is to find. One task a part, so that a red square
says which; its log says what is wrong and what to do. One more attempt after half a minute lets a restart pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task


@dag(
    schedule="*/15 * * * *",
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    tags=["dsdc", "operations"],
    doc_md=__doc__,
    default_args={
        "owner": "dsdc",
        "retries": 1,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=2),
        "execution_timeout": timedelta(minutes=2),
    },
    params={
        "free_gb": Param(
            2.0,
            type="number",
            minimum=0,
            maximum=100_000,
            title="Free disk space, GB",
            description="Less than this under the data folders is a fault.",
        ),
        "stuck_minutes": Param(
            60,
            type="integer",
            minimum=1,
            maximum=10_080,
            title="Stuck after, minutes",
            description="Work that has been due for longer without being done is a fault.",
        ),
    },
)
def check_platform() -> None:
    @task
    def database() -> str:
        """PostgreSQL answers and its schema is the newest."""
        from dsdc.pipeline.checks import check_database

        return check_database()

    @task
    def mlflow() -> str:
        """The tracking server answers."""
        from dsdc.pipeline.checks import require_service

        return require_service("mlflow")

    @task
    def auth() -> str:
        """The auth service answers."""
        from dsdc.pipeline.checks import require_service

        return require_service("auth")

    @task
    def predict() -> str:
        """The prediction service is ready, with a model; skipped while there is no model to be ready with."""
        from airflow.sdk.exceptions import AirflowSkipException

        from dsdc.pipeline.checks import require_service
        from dsdc.pipeline.status import champion
        from dsdc.settings import settings

        if champion(settings()) is None:
            raise AirflowSkipException("No model has been trained yet; train_model makes the first.")
        return require_service("predict")

    @task
    def disk_space(params: dict[str, Any]) -> dict[str, float]:
        """The data folders have room."""
        from dsdc.pipeline.checks import check_disk

        return check_disk(params["free_gb"])

    @task
    def stuck_stages(params: dict[str, Any]) -> dict[str, Any]:
        """No stage has had due work lying for long."""
        from dsdc.pipeline.checks import check_stuck

        return check_stuck(params["stuck_minutes"])

    for check in (database, mlflow, auth, predict, disk_space, stuck_stages):
        check()


check_platform()
