"""`dsdc platform …`: what the scripts need of Python to start, watch and stop the native platform.

Also runs as `python -m dsdc.cli.platform`, without loading the rest of the command.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import typer

from dsdc import log
from dsdc.cli import console
from dsdc.cli.console import err, out, print_json, table
from dsdc.errors import Conflict
from dsdc.settings import Settings, secrets, settings
from services.postgres.account import fallback_folder
from services.supervisor import control
from services.supervisor.config import run_folder
from services.supervisor.processes import platform_processes
from services.supervisor.programs import Program, programs

ADMIN = "admin"

app = typer.Typer(help="Start, watch and stop the platform's programs.", no_args_is_help=True)

Only = Annotated[str, typer.Option("--only", envvar="DSDC_SERVICES", help="Comma-separated programs; empty: all.")]
START_TIMEOUT_S = 600.0  # on two cores that others use too


def _tell(message: str) -> None:
    err.print(f"[dim]      [/]{message}", highlight=False)


@contextmanager
def _alone(config: Settings) -> Iterator[None]:
    """Two starts or stops at once would undo each other."""
    with (run_folder(config) / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("Another start or stop of this platform is under way; wait for it.") from None
        yield


@app.command()
def ports(only: Only = "") -> None:
    """Check that every port is free, or held by the platform itself."""
    control.check_ports(settings(), control.select(settings(), only))
    _tell("All ports are free")


@app.command()
def up(only: Only = "", timeout_s: float = START_TIMEOUT_S) -> None:
    """Start the programs in order and wait until each is well. Those that run already are left alone."""
    config = settings()
    with _alone(config):
        _up(config, control.select(config, only), timeout_s)
    urls()


def _up(config: Settings, chosen: tuple[Program, ...], timeout_s: float) -> None:
    from dsdc.db.setup import setup_database
    from services.airflow.bootstrap import bootstrap

    supervisor = control.Supervisor(config)
    names = [program.name for program in chosen]
    states = supervisor.states()
    # A program counts as STARTING for its first seconds, however well it is.
    if states and all(name in states and states[name].state in ("RUNNING", "STARTING") for name in names):
        _tell("The platform is running already")
    supervisor.clear_leftovers(_tell)
    control.check_ports(config, chosen)
    supervisor.launch(programs(config))
    if not supervisor.is_current():
        _tell("[yellow]Settings have changed since the platform was started: ./scripts/stop.sh, then start again[/]")
    first = [program for program in chosen if program.name == "postgres"]
    if first:
        supervisor.start(["postgres"])
        control.wait_healthy(config, first, _tell, 90)
    setup_database(config)
    _first_account()
    _tell("Database: roles, databases, schema and the account admin are in place")
    rest = [program for program in chosen if program.name != "postgres"]
    # MLflow's first start migrates its own database, which takes as long as Airflow's set-up: side by side.
    supervisor.start(program.name for program in rest if not program.name.startswith("airflow"))
    # The scheduler last: its first tasks call the API server and the services, and would fail while they come up.
    scheduler = [program for program in rest if program.name == "airflow-scheduler"]
    others = [program for program in rest if program not in scheduler]
    if any(program.name.startswith("airflow") for program in rest):
        made = bootstrap(config)
        _tell("Airflow: schema, administrator and pools are " + ("made" if made else "in place"))
        supervisor.start(program.name for program in others if program.name.startswith("airflow"))
    control.wait_healthy(config, others, _tell, timeout_s)
    supervisor.start(program.name for program in scheduler)
    control.wait_healthy(config, scheduler, _tell, timeout_s)


def _first_account() -> None:
    """Make the account `admin`, with the password of `.secrets`, unless there is one."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL
    from dsdc.web.passwords import hash_password

    if accounts.named(ADMIN) is None:
        password = hash_password(secrets().value("dsdc_admin"))
        accounts.create(ADMIN, password, "admin", actor="setup", origin=LOCAL)


@app.command()
def down() -> None:
    """Stop every program, the database last, and leave no process behind."""
    config = settings()
    with _alone(config):
        ran = control.Supervisor(config).shut_down(_tell)
    _tell("Stopped" if ran else "Nothing was running")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Each program's state and health; exit status 1 when one is not well."""
    config = settings()
    states = control.Supervisor(config).states()
    rows = []
    with httpx.Client(timeout=5, trust_env=False) as client:
        for program in programs(config):
            state = states.get(program.name)
            well = bool(state and state.pid) and control.is_well(program, client)
            rows.append([program.name, state.state if state else "STOPPED", program.port and program.port.number, well])
    if as_json:
        print_json([dict(zip(("program", "state", "port", "well"), row, strict=True)) for row in rows])
    else:
        table("Programs", ["program", "state", "port", "well"], rows)
    raise typer.Exit(0 if all(row[-1] for row in rows) else 1)


@app.command()
def urls() -> None:
    """Where everything is, and where the passwords are."""
    config = settings()
    running = {name for name, state in control.Supervisor(config).states().items() if state.state == "RUNNING"}
    rows = [
        [program.title, f"http://127.0.0.1:{program.port.number}", _sign_in(program.name)]
        for program in programs(config)
        if program.title and program.port and program.name in running
    ]
    table("DSDC is running", ["", "address", "sign in"], rows)
    out.print(
        f"Passwords: {config.root / '.secrets'} (readable by its owner alone). Logs: {config.path('logs')}",
        soft_wrap=True,
    )


def _sign_in(name: str) -> str:
    return {
        "airflow-api-server": "admin, DSDC_SECRET_AIRFLOW_ADMIN",
        "grafana": "admin, DSDC_SECRET_GRAFANA_ADMIN",
        "streamlit": "admin, DSDC_SECRET_DSDC_ADMIN",
        "predict": "/openapi.json; a token from the auth service",
    }.get(name, "")


@app.command()
def leftovers() -> None:
    """List every process of this platform, as JSON; exit status 1 when there is one."""
    found = [{"pid": process.pid, "name": process.name()} for process in platform_processes(settings())]
    out.print_json(json.dumps(found))
    raise typer.Exit(1 if found else 0)


@app.command("data-elsewhere")
def data_elsewhere() -> None:
    """Print the folder outside the project that holds the database, if there is one."""
    folder = fallback_folder(settings().root)
    if folder.exists():
        typer.echo(str(folder))


def main() -> None:
    """Run alone, with errors as one message."""
    log.configure("warning")
    console.run(app)


if __name__ == "__main__":
    main()
