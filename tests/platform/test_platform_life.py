"""The platform under supervisor, with the programs that start fast: up, again, broken, down, and nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from dsdc.cli.platform import app
from dsdc.settings import secrets, settings
from services.supervisor.ports import free_port
from services.supervisor.processes import is_postgres, platform_processes
from services.supervisor.programs import programs
from tests.processes import asked
from tests.projects import ROOT, forget_settings, make_project

PROGRAMS = "postgres,pipeline-exporter,alertmanager"


class Platform:
    """A project of its own, driven as the scripts drive it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str) -> str:
        """A command that must succeed, in this process, where the imports are paid for; returns what it told."""
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{result.output}\n{result.exception}"
        return result.output

    def refuse(self, *arguments: str) -> str:
        """A command that must fail, as the scripts call it; returns its message."""
        done = subprocess.run(
            [sys.executable, "-m", "dsdc.cli.platform", *arguments],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 1
        return done.stderr

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.root / "logs" / "run" / "supervisord.pid").read_text()))


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    if shutil.which("prometheus-alertmanager") is None:
        pytest.skip("prometheus-alertmanager is not installed; ./scripts/prepare.sh installs it")
    root = Path(tempfile.mkdtemp(prefix="dsdc-platform-"))
    root.chmod(0o755)
    make_project(root)
    for name in ("dsdc", "services"):
        (root / name).symlink_to(ROOT / name)
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("DSDC_")]:
        patch.delenv(name)
    patch.setenv("DSDC_DIR", str(root))
    forget_settings()
    for program in programs(settings()):
        if program.port:
            patch.setenv(program.port.variable, str(free_port()))
    forget_settings()
    made = Platform(root)
    yield made
    if platform_processes(settings()):
        made.run("down")
    patch.undo()
    forget_settings()
    shutil.rmtree(root, ignore_errors=True)


def query(statement: str) -> object:
    engine = create_engine(settings().database_url("owner"))
    try:
        with engine.begin() as connection:
            answer = connection.execute(text(statement))
            return answer.scalar() if answer.returns_rows else None
    finally:
        engine.dispose()


def remembers() -> bool:
    try:
        return query("SELECT seven FROM remembered") == 7
    except OperationalError:  # not up again yet
        return False


def until(true: Callable[[], bool], timeout_s: float = 300) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.timeout(1800)
def test_the_life_of_a_platform(platform: Platform) -> None:
    """One story, because each step needs the one before and a start costs seconds."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", settings().monitoring.alertmanager_port))
    taken.listen()
    refused = platform.refuse("up", "--only", PROGRAMS)
    taken.close()
    assert "monitoring.alertmanager_port" in refused
    assert "Traceback" not in refused
    assert not platform_processes(settings())

    assert "Database: roles, databases, schema and the account admin are in place" in platform.run(
        "up", "--only", PROGRAMS
    )
    query("CREATE TABLE remembered AS SELECT 7 AS seven")
    # Whatever proxy a shell names, programs of the platform find each other: Airflow's tasks ask its API server.
    assert "127.0.0.1" in platform.supervisor().environ()["no_proxy"]

    # Its metrics are for bearers of the token.
    url = f"http://127.0.0.1:{settings().monitoring.pipeline_port}/metrics"
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert client.get(url).status_code == 401
        held = client.get(url, headers={"Authorization": f"Bearer {secrets().value('metrics_token')}"})
    assert "dsdc_database_up 1.0" in held.text
    assert 'dsdc_disk_free_bytes{folder="raw"}' in held.text

    assert "is running already" in platform.run("up", "--only", PROGRAMS)

    # A killed database comes back by itself, with its data.
    parent = platform.supervisor().pid
    server = next(
        p for p in platform_processes(settings()) if is_postgres(p) and asked(p, lambda p: p.ppid(), 0) == parent
    )
    server.kill()
    assert until(remembers)
    assert not server.is_running()

    # A killed supervisor leaves everything running; the next start clears that away and begins anew.
    platform.supervisor().kill()
    assert len(platform_processes(settings())) > 3
    assert "had left behind" in platform.run("up", "--only", PROGRAMS)
    assert query("SELECT seven FROM remembered") == 7

    # Stopping needs no secret.
    platform.supervisor().send_signal(signal.SIGKILL)
    kept = (platform.root / ".secrets").rename(platform.root / "kept")
    forget_settings()
    assert "Stopped" in platform.run("down")
    kept.rename(platform.root / ".secrets")
    forget_settings()
    assert not platform_processes(settings())
    assert "Nothing was running" in platform.run("down")

    logs = "".join(file.read_text(errors="replace") for file in (platform.root / "logs").glob("*.log"))
    assert not [key for key, value in secrets().values.items() if value.get_secret_value() in logs]
