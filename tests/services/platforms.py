"""A platform of real processes for tests: PostgreSQL with its roles, `auth`, and `predict` over a stand-in answerer."""

from __future__ import annotations

import os
import secrets as random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy.engine import URL
from typer.testing import CliRunner

from dsdc import settings as settings_module
from dsdc.cli import users as users_cli
from dsdc.client import Client
from dsdc.db.repositories.models import Models, NewModel, Snapshots
from dsdc.db.repositories.processors import Processors
from dsdc.db.repositories.users import ROLES
from dsdc.db.session import clock, transaction
from dsdc.db.setup import setup_database
from services.supervisor.ports import free_port
from tests.projects import ROOT, admin, forget_settings, make_project

MODEL = "dsdc-head"


@dataclass
class Platform:
    """Where it runs, and a password for every role: the user of a role is called `the-<role>`."""

    root: Path
    env: dict[str, str]
    auth: str
    predict: str
    passwords: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _clients: dict[str, Client] = field(default_factory=dict)

    @contextmanager
    def here(self) -> Iterator[None]:
        """This test process as if it belonged to the platform: for the store and the command line."""
        before = {k: v for k, v in os.environ.items() if k.startswith("DSDC_")}
        for key in before:
            del os.environ[key]
        os.environ |= self.env
        forget_settings()
        try:
            yield
        finally:
            for key in [k for k in os.environ if k.startswith("DSDC_")]:
                del os.environ[key]
            os.environ |= before
            forget_settings()

    def start(self, module: str, log: str, url: str, **env: str) -> subprocess.Popen[bytes]:
        """Start `python -m module` and wait until it is ready."""
        with (self.root / "logs" / log).open("ab") as out:
            started = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=os.environ | self.env | env, stdout=out, stderr=out
            )
        self.processes.append(started)
        wait_ready(url, started, self.root / "logs" / log)
        return started

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(120)

    def user(self, role: str, name: str | None = None) -> str:
        """Make an account with the command line, and return its name."""
        name = name or f"{role}-{uuid.uuid4().hex[:8]}"
        self.passwords[name] = random.token_urlsafe(18)
        with self.here():
            done = CliRunner().invoke(
                users_cli.app, ["add", name, "--role", role, "--password-stdin"], input=self.passwords[name] + "\n"
            )
        assert done.exit_code == 0, done.output
        return name

    @contextmanager
    def held(self) -> Iterator[str]:
        """A name; the documents of that name are not answered before the block ends."""
        name = f"held-{uuid.uuid4().hex}.png"
        try:
            yield name
        finally:
            (self.root / name).touch()

    def working(self) -> int:
        """How many documents the service is in the middle of."""
        (line,) = (line for line in self.metrics().splitlines() if line.startswith("dsdc_predict_working "))
        return int(float(line.split()[1]))

    def metrics(self) -> str:
        """What the prediction service tells of itself."""
        with self.here():
            token = settings_module.secrets().value("metrics_token")
        return httpx.get(f"{self.predict}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=30).text

    def connect(self) -> Client:
        return Client(self.auth, self.predict)

    def signed_in(self, name: str) -> Client:
        client = self.connect()
        client.sign_in(name, self.passwords[name])
        return client

    def of_role(self, role: str) -> Client:
        """The role's own user, signed in once."""
        if role not in self._clients:
            self._clients[role] = self.signed_in(f"the-{role}")
        return self._clients[role]

    def sign_out_all(self) -> None:
        """Forget the roles' own clients, whose tokens have been ended."""
        self._clients.clear()

    def token(self, role: str = "viewer") -> str:
        return _access_token(self.of_role(role))

    def key_token(self, role: str) -> str:
        """An access token of a service account of this role, for its API key."""
        if f"key of {role}" not in self._clients:
            admin, client = self.of_role("admin"), self.connect()
            account = admin.create_user(f"robot-{role}-{uuid.uuid4().hex[:8]}", None, role)
            client.sign_in_with_key(admin.create_key(account.id).key)
            self._clients[f"key of {role}"] = client
        return _access_token(self._clients[f"key of {role}"])

    def bearer(self, role: str = "viewer") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role)}"}


def _access_token(client: Client) -> str:
    """For requests that a test makes by itself; renewed as for the client's own, for the tests may outlast it."""
    return client._signed()["Authorization"].removeprefix("Bearer ")


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float = 300) -> None:
    """Until /readyz answers 200, or say what the process said."""
    end = time.monotonic() + timeout_s
    answer = "nothing"
    while time.monotonic() < end and process.poll() is None:
        try:
            response = httpx.get(f"{url}/readyz", timeout=5)
        except httpx.TransportError:
            pass
        else:
            if response.status_code == 200:
                return
            answer = response.text
        time.sleep(0.1)
    raise AssertionError(f"{url} is not ready ({answer}):\n{log.read_text()[-4000:]}")


def seed_champion() -> None:
    """A champion in the store, without a head behind it."""
    classes = ["letter", "invoice", "form"]
    with transaction("owner") as session:
        used = {
            stage: Processors(session).register(stage, "stand-in", "1", "a" * 64, {})
            for stage in ("render", "text", "clean", "embed")
        }
        snapshot = Snapshots(session).add(
            "b" * 64,
            taxonomy="rvl-cdip",
            classes=classes,
            processors=used,
            params={},
            taken=clock(session),
            members=[],
        )
        model = Models(session).add(
            NewModel(
                name=MODEL,
                version=1,
                mlflow_run_id="run",
                head_sha256="c" * 64,
                recipe_sha256="d" * 64,
                snapshot_id=snapshot,
                clip_processor_id=used["embed"],
                clip_weights_sha256="e" * 64,
                classes=classes,
                metrics={},
                calibration={},
                code_commit="f" * 40,
                airflow_run=None,
            )
        )
        Models(session).set_alias(MODEL, "champion", model, author="test", reason="test")


@contextmanager
def running_platform(postgres: URL, folder: Path, **env: str) -> Iterator[Platform]:
    """A platform whose accounts are one of each role."""
    name = f"dsdc_svc_{uuid.uuid4().hex[:8]}"
    auth, predict = free_port(), free_port()
    root = make_project(folder)
    settings = {
        "DSDC_DIR": str(root),
        "DSDC_DATABASE_URL": postgres.set(database=name).render_as_string(hide_password=False),
        "DSDC_AUTH_PORT": str(auth),
        "DSDC_PREDICT_PORT": str(predict),
        "DSDC_PREDICT_MAX_UPLOAD_MB": "1",
        "DSDC_PREDICT_QUEUE": "2",
        "DSDC_PREDICT_BATCH_MAX_FILES": "20",
        "DSDC_PREDICT_BATCH_MAX_MB": "3",
        "DSDC_PREDICT_BATCH_POLL_S": "0.2",
        "DSDC_LOGGING_LEVEL": "debug",
        "DSDC_LOGGING_FORMAT": "json",
    }
    platform = Platform(root, settings | env, f"http://127.0.0.1:{auth}", f"http://127.0.0.1:{predict}")
    try:
        with platform.here():
            setup_database(settings_module.settings())
            seed_champion()
        platform.start("services.auth", "auth.log", platform.auth)
        platform.start("tests.services.stand_in_predict", "predict.log", platform.predict)
        for role in ROLES:
            platform.user(role, f"the-{role}")
        yield platform
    finally:
        platform.stop()
        for suffix in ("", "_airflow", "_mlflow"):
            admin(postgres, f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)')
        for role in ("pipeline", "serve", "auth", "exporter", "airflow", "mlflow"):
            admin(postgres, f'DROP ROLE IF EXISTS "{name}_{role}"')
