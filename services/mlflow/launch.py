"""`python -m services.mlflow.launch` becomes the MLflow server; the database's password reaches it by environment."""

from __future__ import annotations

import sys
from pathlib import Path

from dsdc.errors import DsdcError
from dsdc.settings import Settings, settings
from services.supervisor.launch import Command


def mlflow_command(config: Settings) -> Command:
    """The server: runs and models in PostgreSQL, files in data/mlflow, no job execution, no telemetry."""
    artifacts = config.root / "data" / "mlflow"
    port = config.mlflow.port
    # A Host header that is not in this list is answered 403: it guards a server on loopback against DNS rebinding.
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", config.mlflow.host)]
    arguments = (
        str(Path(sys.executable).with_name("mlflow")),
        "server",
        f"--host={config.mlflow.host}",
        f"--port={port}",
        "--workers=1",
        f"--artifacts-destination={artifacts}",
        "--default-artifact-root=mlflow-artifacts:/",
        f"--allowed-hosts={','.join(dict.fromkeys(hosts))}",
    )
    return Command(arguments, mlflow_environment(config))


def mlflow_environment(config: Settings) -> dict[str, str]:
    """Variables for the server's process; the first holds a password."""
    return {
        "MLFLOW_BACKEND_STORE_URI": config.database_url("mlflow").render_as_string(hide_password=False),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def main() -> int:
    """Become MLflow; returns only when that is impossible."""
    try:
        mlflow_command(settings()).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
