"""`python -m services.airflow.launch COMPONENT` becomes that Airflow component; `-- ARGS` any other airflow command.

Passwords and keys reach it through the environment alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dsdc.errors import DsdcError
from dsdc.settings import Settings, settings
from services.airflow.environment import airflow_environment
from services.supervisor.launch import Command

# Logs of tasks are files that the API server reads itself, so nobody needs to serve them on further ports.
_COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def airflow_command(config: Settings, arguments: list[str]) -> Command:
    """The command for a component's name, or for any airflow arguments after `--`."""
    chosen = tuple(arguments[1:]) if arguments[:1] == ["--"] else _COMPONENTS[arguments[0]]
    return Command((str(Path(sys.executable).with_name("airflow")), *chosen), airflow_environment(config))


def main(arguments: list[str]) -> int:
    """Become Airflow; returns only when that is impossible."""
    if not arguments or (arguments[0] not in _COMPONENTS and arguments[0] != "--"):
        sys.stderr.write(f"usage: python -m services.airflow.launch {{{' | '.join(_COMPONENTS)} | -- ARGS}}\n")
        return 2
    try:
        airflow_command(settings(), arguments).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
