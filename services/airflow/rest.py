"""A small client of Airflow's REST API: trigger a DAG, follow its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from dsdc.errors import DsdcError, PurposeFailed
from dsdc.settings import Settings, secrets
from services.airflow.environment import ADMIN

ENDED = {"success", "failed"}


@dataclass(frozen=True)
class DagRun:
    """One run; `state` is queued, running, success or failed, `tasks` counts task instances by state."""

    dag: str
    run_id: str
    state: str
    tasks: Mapping[str, int]


class AirflowApi:
    """Signed in as the administrator.

    Raises (every method):
        DsdcError: Airflow does not answer, or refuses.
    """

    def __init__(self, config: Settings, *, timeout_s: float = 30.0) -> None:
        self._http = httpx.Client(base_url=config.airflow.url, timeout=timeout_s, trust_env=False)
        body = {"username": ADMIN, "password": secrets().value("airflow_admin")}
        token = self._call("POST", "/auth/token", json=body)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise DsdcError(
                f"Airflow does not answer at {self._http.base_url} ({type(error).__name__}).",
                hint="Start it with ./scripts/start.sh, or read logs/airflow-api-server.log.",
            ) from error
        if response.is_error:
            raise DsdcError(f"Airflow answered {response.status_code} to {method} {path}: {response.text[:300]}")
        return dict(response.json())

    def wait_for_dag(self, dag: str, *, timeout_s: float = 120.0) -> None:
        """Until the DAG processor has read the file."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if any(found["dag_id"] == dag for found in self._call("GET", "/api/v2/dags?limit=100")["dags"]):
                return
            time.sleep(1)
        raise DsdcError(f"Airflow does not know the DAG {dag}.", hint="Read logs/airflow-dag-processor.log.")

    def trigger(self, dag: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run, unpausing the DAG; returns its run id."""
        self._call("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": False})
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self._call("POST", f"/api/v2/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag: str, run_id: str) -> DagRun:
        """Where a run stands."""
        state = self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"]
        tasks: dict[str, int] = {}
        for task in self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances")["task_instances"]:
            tasks[task["state"] or "waiting"] = tasks.get(task["state"] or "waiting", 0) + 1
        return DagRun(dag, run_id, state, tasks)

    def follow(
        self, dag: str, run_id: str, tell: Callable[[DagRun], None] | None = None, *, timeout_s: float = 3600.0
    ) -> DagRun:
        """Wait for the end of a run.

        Raises:
            PurposeFailed: it failed, or did not end in time.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.run(dag, run_id)
            if tell is not None:
                tell(found)
            if found.state == "failed":
                raise PurposeFailed(f"The run {run_id} of {dag} failed.", hint="Its log is in the Airflow UI.")
            if found.state in ENDED:
                return found
            time.sleep(1)
        raise PurposeFailed(f"The run {run_id} of {dag} has not ended after {timeout_s:.0f} s.")
