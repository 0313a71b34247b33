"""Airflow's whole configuration, as environment variables made from settings and `.secrets`.

There is no airflow.cfg of ours: Airflow writes one with its defaults into AIRFLOW_HOME; these variables win over it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dsdc.settings import Settings, secrets

AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ADMIN = "admin"


def airflow_home(config: Settings) -> Path:
    """Where Airflow keeps what is not in its database."""
    return config.root / "data" / "airflow"


def airflow_environment(config: Settings) -> dict[str, str]:
    """Variables for any Airflow process of this platform, and for the tasks it runs."""
    options = {**_core(config), **_api(config), **_running(config), **_lineage(config)}
    variables = {f"AIRFLOW__{section.upper()}__{key.upper()}": value for (section, key), value in options.items()}
    return variables | {
        "AIRFLOW_HOME": str(airflow_home(config)),
        # A FileSensor without this connection fails; from here it needs no row in the database.
        "AIRFLOW_CONN_FS_DEFAULT": '{"conn_type": "fs", "extra": {"path": "/"}}',
        "PYTHONPATH": str(config.root),
        "DSDC_DIR": str(config.root),
        # Tasks call `dsdc` and `airflow` by name.
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "true",
    }


def _core(config: Settings) -> dict[tuple[str, str], str]:
    url = config.database_url("airflow")
    return {
        ("database", "sql_alchemy_conn"): url.render_as_string(hide_password=False),
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): "4",
        ("core", "auth_manager"): AUTH_MANAGER,
        ("core", "fernet_key"): secrets().value("airflow_fernet"),
        ("core", "dags_folder"): str(config.root / "dags"),
        ("core", "load_examples"): "False",
        # The DAGs are part of the platform, not somebody's experiment: a new one is on.
        ("core", "dags_are_paused_at_creation"): "False",
        ("core", "execution_api_server_url"): f"http://127.0.0.1:{config.airflow.port}/execution/",
        ("core", "default_timezone"): "utc",
        ("logging", "base_log_folder"): str(config.path("logs") / "airflow"),
    }


def _api(config: Settings) -> dict[tuple[str, str], str]:
    return {
        ("api", "host"): config.airflow.host,
        ("api", "port"): str(config.airflow.port),
        ("api", "base_url"): config.airflow.url,
        ("api", "workers"): "1",
        ("api", "secret_key"): secrets().value("airflow_session"),
        ("api", "instance_name"): "DSDC",
        ("api_auth", "jwt_secret"): secrets().value("airflow_jwt"),
        ("api_auth", "jwt_issuer"): "dsdc-airflow",
    }


def _lineage(config: Settings) -> dict[tuple[str, str], str]:
    """What the DAGs did with which data, as OpenLineage events (`services.airflow.lineage`)."""
    wanted = config.airflow.openlineage
    if wanted == "off":
        return {("openlineage", "disabled"): "True"}
    transport = lineage_file(config.path("logs")) if wanted == "file" else {"type": "http", "url": wanted}
    return {
        ("openlineage", "transport"): json.dumps(transport),
        ("openlineage", "namespace"): config.database.name,
        ("openlineage", "extractors"): "services.airflow.lineage.TaskLineage",
        # A task that holds a model in memory is not forked to tell of it.
        ("openlineage", "execute_in_thread"): "True",
    }


def lineage_file(logs: Path) -> dict[str, object]:
    """OpenLineage's transport into a file below `logs`."""
    file = logs / "openlineage" / "events.jsonl"
    return {"type": "services.airflow.lineage.EventFile", "log_file_path": str(file), "append": True}


def _running(_: Settings) -> dict[tuple[str, str], str]:
    return {
        # Changed DAG files are seen within half a minute.
        ("dag_processor", "refresh_interval"): "30",
        ("dag_processor", "min_file_process_interval"): "30",
        ("dag_processor", "parsing_processes"): "1",
        ("dag_processor", "dag_file_processor_timeout"): "120",
        ("dag_processor", "print_stats_interval"): "300",
        # Missed heartbeats before a component is called unhealthy: two small cores under load are late.
        ("dag_processor", "health_check_threshold"): "90",
        ("scheduler", "scheduler_health_check_threshold"): "90",
        # How soon the tasks of a scheduler that died are taken up again (default 300 s).
        ("scheduler", "orphaned_tasks_check_interval"): "60",
        ("triggerer", "triggerer_health_check_threshold"): "90",
        # A task that starts while everything else starts too must not fail for a slow first answer (default 5 s).
        ("workers", "execution_api_timeout"): "60",
    }
