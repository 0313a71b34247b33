"""`python -m services.airflow.cluster COMPONENT`: Airflow across containers, with Celery in place of LocalExecutor.

Everything else is `services.airflow.environment`, so that one platform has one Airflow configuration. Passwords reach
the process through its environment alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from dsdc.errors import DsdcError
from dsdc.settings import Settings, secrets, settings
from services.airflow.environment import ADMIN, airflow_environment, lineage_file
from services.supervisor.launch import Command

QUEUES = "cpu,gpu"

# Logs of tasks are files on a volume that the API server reads itself, so nobody serves them on further ports.
_COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--proxy-headers"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "worker": ("celery", "worker", "--skip-serve-logs", "--without-gossip"),
    "flower": ("celery", "flower", "--port", "5555"),
}


def broker_url(environment: Mapping[str, str]) -> str:
    """Where Redis is: `REDIS_ADDRESS`, with the password of `.secrets`."""
    return f"redis://:{quote(secrets().value('redis'), safe='')}@{environment.get('REDIS_ADDRESS', 'redis:6379')}"


def cluster_environment(config: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for an Airflow process of the compose deployment.

    Reads from `environment`: REDIS_ADDRESS; AIRFLOW_PUBLIC_URL, the address in people's browsers; STATSD_HOST.
    """
    broker = broker_url(environment)
    return airflow_environment(config) | {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "32",
        # Workers call the API server directly, under the path prefix that its public address has too.
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{config.airflow.url.removesuffix('/')}/execution/",
        "AIRFLOW__API__BASE_URL": environment.get("AIRFLOW_PUBLIC_URL", config.airflow.url),
        "AIRFLOW__CELERY__BROKER_URL": f"{broker}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"{broker}/1",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": environment.get("WORKER_CONCURRENCY", "2"),
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "cpu",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
        **_lineage(config),
        **_metrics(environment),
        **_flower(environment),
    }


def _lineage(config: Settings) -> dict[str, str]:
    """Only the folder of Airflow's logs can be written, and all containers have it."""
    if config.airflow.openlineage != "file":
        return {}
    return {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage_file(config.path("logs") / "airflow"))}


def _metrics(environment: Mapping[str, str]) -> dict[str, str]:
    host = environment.get("STATSD_HOST", "")
    if not host:
        return {}
    return {"AIRFLOW__METRICS__STATSD_ON": "True", "AIRFLOW__METRICS__STATSD_HOST": host} | {
        "AIRFLOW__METRICS__STATSD_PORT": "9125",
        "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
    }


def _flower(environment: Mapping[str, str]) -> dict[str, str]:
    if "FLOWER_URL_PREFIX" not in environment:
        return {}
    return {"FLOWER_BASIC_AUTH": f"{ADMIN}:{secrets().value('airflow_admin')}"}


def cluster_command(config: Settings, arguments: list[str], environment: Mapping[str, str]) -> Command:
    """The command for a component; `worker` may be followed by its queues, `cpu,gpu` where it is not."""
    component, *rest = arguments
    chosen = _COMPONENTS[component]
    if component == "worker":
        chosen = (*chosen, "--queues", rest[0] if rest else QUEUES)
    program = str(Path(sys.executable).with_name("airflow"))
    return Command((program, *chosen), cluster_environment(config, environment))


def main(arguments: list[str]) -> int:
    """Become the component; returns only when that is impossible."""
    if not arguments or arguments[0] not in _COMPONENTS:
        sys.stderr.write(f"usage: python -m services.airflow.cluster {{{' | '.join(_COMPONENTS)}}} [QUEUES]\n")
        return 2
    try:
        cluster_command(settings(), arguments, os.environ).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
