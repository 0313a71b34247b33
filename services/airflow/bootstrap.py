"""Bring Airflow's own database to what the platform needs: schema, the user `admin`, pools.

Each airflow command spends seconds on its imports, so all of them run in one process, and a stamp says when there is
nothing left to do for this version, this database and this password.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from dsdc.errors import DatabaseError
from dsdc.log import get_logger
from dsdc.settings import Settings, secrets
from services.airflow.environment import ADMIN, airflow_environment, airflow_home

log = get_logger(__name__)

# Slots: one task at a time on the accelerator, and on two cores two that work hard.
POOLS = {"gpu": (1, "Embedding and training on the accelerator"), "cpu": (2, "Rendering, OCR and other heavy work")}
TIMEOUT_S = 600


def bootstrap(config: Settings) -> bool:
    """Do what is missing; False when the stamp says that nothing is.

    Raises:
        DatabaseError: Airflow's set-up failed; the message ends with its last lines.
    """
    stamp = _Stamp(config)
    if stamp.holds():
        return False
    home = airflow_home(config)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # airflow writes the keys it is given into no file, but its own configuration lands here
    (config.root / "dags").mkdir(exist_ok=True)
    log_file = config.path("logs") / "airflow-bootstrap.log"
    with log_file.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "services.airflow.bootstrap"],
            cwd=config.root,
            env=dict(os.environ) | airflow_environment(config),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-8:])
        raise DatabaseError(f"Airflow's database could not be set up:\n{tail}", hint=f"Read {log_file}.")
    stamp.write()
    return True


class _Stamp:
    """A file that names what was set up, and the database's own word that it is still there."""

    def __init__(self, config: Settings) -> None:
        self.file = airflow_home(config) / "bootstrap.stamp"
        self.url = config.database_url("airflow")
        parts = [
            version("apache-airflow"),
            version("apache-airflow-providers-fab"),
            self.url.render_as_string(hide_password=True),
            json.dumps(POOLS),
            secrets().value("airflow_admin"),
        ]
        self.content = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def holds(self) -> bool:
        return self.file.exists() and self.file.read_text() == f"{self.content} {_revision(self.url)}"

    def write(self) -> None:
        self.file.write_text(f"{self.content} {_revision(self.url)}")


def _revision(url: URL) -> str:
    """The migration that Airflow's database is at; empty when it has none or holds no user."""
    engine = create_engine(url, connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as connection:
            user = connection.execute(text("SELECT 1 FROM ab_user WHERE username = :name"), {"name": ADMIN}).first()
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return str(found) if user and found else ""
    except DBAPIError:
        return ""
    finally:
        engine.dispose()


def _airflow(*arguments: str) -> None:
    """One airflow command in this process: its arguments, a password among them, are in no process list."""
    from airflow.cli.cli_parser import get_parser

    parsed = get_parser().parse_args(list(arguments))
    with _command_line("airflow", *arguments):
        parsed.func(parsed)


@contextmanager
def _command_line(*arguments: str) -> Iterator[None]:
    """Airflow's audit log reads sys.argv (and masks passwords in it)."""
    before = sys.argv
    sys.argv = list(arguments)
    try:
        yield
    finally:
        sys.argv = before


def _user(password: str) -> None:
    """Make the administrator, or give the one there is this password."""
    _airflow(
        *("users", "create", "--username", ADMIN, "--password", password, "--role", "Admin"),
        *("--firstname", "DSDC", "--lastname", "Administrator", "--email", "admin@localhost.invalid"),
    )
    _airflow("users", "reset-password", "--username", ADMIN, "--password", password)


def main() -> int:
    """Run as a child of `bootstrap`, inside Airflow's environment."""
    _airflow("db", "migrate")
    _user(secrets().value("airflow_admin"))
    for name, (slots, description) in POOLS.items():
        _airflow("pools", "set", name, str(slots), description)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
