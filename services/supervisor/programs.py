"""The table of the platform's programs: what runs, in which order, on which ports, and how one asks whether it is well.

To add a program: one entry in `programs()`. The supervisor's configuration, the port check, the health check, the
Prometheus probes and `stop` all read this table.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from dsdc.settings import Settings
from services.supervisor.ports import Port

PYTHON = sys.executable


@dataclass(frozen=True)
class Health:
    """What says that a program is well: `url` answers 200, and its text matches `pattern` (a regular expression)."""

    url: str
    pattern: str = ""


@dataclass(frozen=True)
class Program:
    """One supervised process.

    `priority`: lower starts earlier and stops later. `metrics`: the path where it serves Prometheus metrics itself;
    programs without one are probed through the blackbox exporter. `stop_s`: seconds between the stop signal and KILL.
    """

    name: str
    command: tuple[str, ...]
    priority: int
    port: Port | None = None
    health: Health | None = None
    metrics: str = ""
    protected_metrics: bool = False
    stop_signal: str = "TERM"
    stop_s: int = 20
    title: str = ""


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    # -u: supervisor's log files show a line when it is written, not when a buffer is full.
    return (PYTHON, "-u", "-m", name, *arguments)


def programs(config: Settings) -> tuple[Program, ...]:
    """Every program this configuration calls for, in starting order."""
    chosen = (*_store(config), *_airflow(config), *_services(config), *_monitoring(config))
    return tuple(sorted(chosen, key=lambda program: program.priority))


def _store(config: Settings) -> tuple[Program, ...]:
    postgres = Program(
        "postgres",
        _module("services.postgres.embedded", "run"),
        priority=10,
        port=Port(config.database.port, "database.port"),
        stop_signal="INT",  # fast shutdown; TERM would wait for every client
        stop_s=60,
    )
    mlflow = Program(
        "mlflow",
        _module("services.mlflow.launch"),
        priority=20,
        port=Port(config.mlflow.port, "mlflow.port"),
        health=Health(f"http://127.0.0.1:{config.mlflow.port}/health"),
        title="MLflow",
    )
    return ((postgres,) if config.database.embedded else ()) + (mlflow,)


def _airflow(config: Settings) -> tuple[Program, ...]:
    url = f"http://127.0.0.1:{config.airflow.port}/api/v2/monitor/health"

    def healthy(component: str) -> Health:
        # Every component reports to the database; the API server shows all of them in one answer.
        return Health(url, rf'"{component}":\s*{{[^}}]*"status":\s*"healthy"')

    return (
        Program(
            "airflow-api-server",
            _module("services.airflow.launch", "api-server"),
            priority=30,
            port=Port(config.airflow.port, "airflow.port"),
            health=Health(url),
            title="Airflow",
        ),
        # A scheduler that stops waits for its running tasks, which are minutes long; they are retried instead.
        Program("airflow-scheduler", _module("services.airflow.launch", "scheduler"), 31, health=healthy("scheduler")),
        Program(
            "airflow-dag-processor",
            _module("services.airflow.launch", "dag-processor"),
            32,
            health=healthy("dag_processor"),
        ),
        Program("airflow-triggerer", _module("services.airflow.launch", "triggerer"), 33, health=healthy("triggerer")),
    )


def _services(config: Settings) -> tuple[Program, ...]:
    return (
        Program(
            "auth",
            _module("services.auth"),
            priority=40,
            port=Port(config.auth.port, "auth.port"),
            health=Health(f"http://127.0.0.1:{config.auth.port}/healthz"),
            metrics="/metrics",
            protected_metrics=True,
        ),
        Program(
            "predict",
            _module("services.predict"),
            priority=41,
            port=Port(config.predict.port, "predict.port"),
            health=Health(f"http://127.0.0.1:{config.predict.port}/healthz"),
            metrics="/metrics",
            protected_metrics=True,
            stop_s=40,  # drains the requests it has begun, for up to 30 s
            title="Prediction API",
        ),
        Program(
            "streamlit",
            _module("services.streamlit.launch"),
            priority=42,
            port=Port(config.streamlit.port, "streamlit.port"),
            health=Health(f"http://127.0.0.1:{config.streamlit.port}/_stcore/health"),
            title="Web page",
        ),
    )


def _monitoring(config: Settings) -> tuple[Program, ...]:
    ports = config.monitoring
    found = [
        Program(
            "pipeline-exporter",
            _module("services.monitoring.exporter"),
            priority=50,
            port=Port(ports.pipeline_port, "monitoring.pipeline_port"),
            health=Health(f"http://127.0.0.1:{ports.pipeline_port}/healthz"),
            metrics="/metrics",
            protected_metrics=True,
        ),
        _monitor(
            "blackbox-exporter", 51, Port(ports.blackbox_port, "monitoring.blackbox_port"), "/-/healthy", "/metrics"
        ),
        _monitor(
            "postgres-exporter",
            52,
            Port(ports.postgres_exporter_port, "monitoring.postgres_exporter_port"),
            "/metrics",
            "/metrics",
        ),
        _monitor(
            "alertmanager", 53, Port(ports.alertmanager_port, "monitoring.alertmanager_port"), "/-/ready", "/metrics"
        ),
        _monitor("prometheus", 54, Port(ports.prometheus_port, "monitoring.prometheus_port"), "/-/ready", "/metrics"),
    ]
    if shutil.which("grafana") or shutil.which("grafana-server"):
        port = Port(ports.grafana_port, "monitoring.grafana_port")
        found.append(_monitor("grafana", 55, port, "/api/health", "/metrics"))
    return tuple(found)


def _monitor(name: str, priority: int, port: Port, health: str, metrics: str) -> Program:
    titles = {"prometheus": "Prometheus", "alertmanager": "Alertmanager", "grafana": "Grafana"}
    return Program(
        name,
        _module("services.monitoring.launch", name),
        priority,
        port=port,
        health=Health(f"http://127.0.0.1:{port.number}{health}"),
        metrics=metrics,
        title=titles.get(name, ""),
    )
