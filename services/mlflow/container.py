"""`python -m services.mlflow.container` becomes MLflow in a container: on every interface, for one Host header.

`mlflow.host` is the name by which the other containers know it, and that is what it allows in a Host header; it cannot
also be the address that it listens on, because a container has one on each of its networks.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from dsdc.errors import DsdcError
from dsdc.settings import Settings, settings
from services.mlflow.launch import mlflow_command
from services.supervisor.launch import Command

EVERYWHERE = "0.0.0.0"  # noqa: S104  (inside a container that publishes no port)


def container_command(config: Settings) -> Command:
    """MLflow's command with another address to listen on."""
    command = mlflow_command(config)
    own = f"--host={config.mlflow.host}"
    if own not in command.arguments:
        raise ValueError(f"MLflow's command has no {own}")
    arguments = (f"--host={EVERYWHERE}" if argument == own else argument for argument in command.arguments)
    return replace(command, arguments=tuple(arguments))


def main() -> int:
    """Become MLflow; returns only when that is impossible."""
    try:
        container_command(settings()).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
