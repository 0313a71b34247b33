"""A batch through a prediction service that is killed (SIGKILL) in the middle and started again.

On a project and a database that exist for this only: a small model is trained on documents made here, other documents
are handed in as one batch, and the service is killed when half of them are answered. Then every document is counted:
its end, and its rows among the predictions.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from sqlalchemy import create_engine, text

from benchmarks.memory import empty_project
from dsdc.cli.console import bars, pairs, print_json
from dsdc.client import Client, ServiceUnreachable
from dsdc.errors import PurposeFailed
from dsdc.samples import generate
from dsdc.settings import Settings, settings
from services.postgres.embedded import temporary_server
from services.supervisor.ports import free_port

_DSDC = str(Path(sys.executable).with_name("dsdc"))
_TRAINED_ON, _CLASSES = 16, ("invoice", "letter")  # it need not be right, only real
_USER = "bench"
_READY_S = 120.0

_COUNTS = """
    SELECT count(*) AS documents, count(*) FILTER (WHERE i.state = 'done') AS done,
        count(*) FILTER (WHERE n.answers = 1) AS answered_once, count(*) FILTER (WHERE n.answers > 1) AS answered_twice,
        sum(i.crashes) AS crashes, count(*) FILTER (WHERE i.uploaded) AS uploads_left
    FROM prediction_batch_items i CROSS JOIN LATERAL (
        SELECT count(*) AS answers FROM predictions p WHERE p.document_sha256 = i.sha256
    ) n
"""


@dataclass(frozen=True)
class Result:
    """`answered_once`: documents with exactly one prediction; `crashes`: documents that the killed service had."""

    documents: int
    done: int
    answered_once: int
    answered_twice: int
    crashes: int
    uploads_left: int
    answered_before_the_kill: int
    seconds: float
    seconds_until_the_first_after: float


def run(
    documents: Annotated[int, typer.Option(min=4, help="Documents of the batch.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A batch whose service is killed in the middle: is every document answered once?"""
    with _platform() as platform:
        platform.train()
        result = platform.measure(documents)
    if as_json:
        print_json(asdict(result))
    else:
        pairs("A batch, its service killed in the middle", asdict(result))
    if not result.answered_once == result.done == documents:
        raise PurposeFailed("Not every document was answered once.")


@dataclass
class _Platform:
    """Database, accounts and services, for as long as they are needed."""

    config: Settings
    env: Mapping[str, str]
    password: str
    auth: str
    predict: str
    log: Path

    def train(self) -> None:
        generate(self.config.path("to_ingest"), count=_TRAINED_ON, seed=7, slugs=_CLASSES, workers=2)
        for command in (("ingest",), ("process",), ("train", "--epochs", "20")):
            self.command(*command)

    def command(self, *arguments: str, given: str = "") -> None:
        # MLflow keeps artifacts where it is started.
        options: dict[str, Any] = {"env": self.env, "cwd": self.config.root, "capture_output": True, "text": True}
        done = subprocess.run([_DSDC, *arguments], input=given, check=False, **options)
        if done.returncode:
            raise PurposeFailed(f"dsdc {' '.join(arguments)} failed: {done.stderr[-2000:]}")

    @contextmanager
    def serving(self, service: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", f"services.{service}"]
            process = subprocess.Popen(command, env=self.env, stdout=out, stderr=out)
        try:
            self._wait_ready(process, url)
            yield process
        finally:
            process.terminate()
            process.wait()

    def _wait_ready(self, process: subprocess.Popen[bytes], url: str) -> None:
        until = time.monotonic() + _READY_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise PurposeFailed(f"{url} is not ready: {self.log.read_text()[-2000:]}")

    def measure(self, count: int) -> Result:
        with tempfile.TemporaryDirectory() as folder, self.serving("auth", self.auth):
            samples = generate(Path(folder), count=count, seed=11, workers=2)
            paths = [Path(folder) / sample.file for sample in samples]
            with Client(self.auth, self.predict) as client, bars() as progress:
                client.sign_in(_USER, self.password)
                begun = time.monotonic()
                with self.serving("predict", self.predict) as service:
                    batch = client.submit_batch(paths).batch_id
                    before = self._follow(client, batch, count // 2, progress)
                    service.send_signal(signal.SIGKILL)
                    service.wait()
                killed = time.monotonic()
                with self.serving("predict", self.predict):
                    self._follow(client, batch, before + 1, progress)
                    first = time.monotonic() - killed
                    self._follow(client, batch, count, progress)
                    seconds = time.monotonic() - begun
                    time.sleep(1)  # the last upload goes a moment after the last answer
        counts = {key: int(value) for key, value in self._counts().items()}
        return Result(
            **counts,
            answered_before_the_kill=before,
            seconds=round(seconds, 1),
            seconds_until_the_first_after=round(first, 1),
        )

    @staticmethod
    def _follow(client: Client, batch: Any, wanted: int, progress: Any) -> int:
        """Until so many documents have their end; how many have."""
        while True:
            try:
                found = client.batch(batch)
            except ServiceUnreachable:
                time.sleep(0.5)
                continue
            ended = found.items - found.counts["pending"] - found.counts["running"]
            progress.step("answered", ended, found.items - ended)
            if ended >= wanted or found.is_over:
                return ended
            time.sleep(0.2)

    def _counts(self) -> dict[str, Any]:
        engine = create_engine(self.env["DSDC_DATABASE_URL"])
        try:
            with engine.connect() as connection:
                return dict(connection.execute(text(_COUNTS)).one()._mapping)
        finally:
            engine.dispose()


@contextmanager
def _platform() -> Iterator[_Platform]:
    with tempfile.TemporaryDirectory(prefix="dsdc-benchmark-") as folder, temporary_server() as server:
        root, auth, predict = empty_project(Path(folder)), free_port(), free_port()
        env = {key: value for key, value in os.environ.items() if not key.startswith("DSDC_")} | {
            "DSDC_DIR": str(root),
            "DSDC_DATABASE_URL": server.url("dsdc").render_as_string(hide_password=False),
            "DSDC_AUTH_PORT": str(auth),
            "DSDC_AUTH_URL": f"http://127.0.0.1:{auth}",
            "DSDC_PREDICT_PORT": str(predict),
            "DSDC_MLFLOW_URI": f"sqlite:///{folder}/mlflow.db",
            "DSDC_INGEST_QUIET_S": "0",
            "DSDC_PIPELINE_CLAIM_LEASE_S": "10",
            "DSDC_PATHS_MODELS": str(root / "models"),
            "DSDC_LOGGING_FORMAT": "json",
        }
        clip = settings().path("models") / "clip"
        if clip.is_dir():
            (root / "models").mkdir(exist_ok=True)
            (root / "models" / "clip").symlink_to(clip)
        config = settings().model_copy(update={"root": root})
        platform = _Platform(
            config,
            env,
            secrets.token_urlsafe(18),
            f"http://127.0.0.1:{auth}",
            f"http://127.0.0.1:{predict}",
            root / "logs" / "services.log",
        )
        platform.command("db", "setup")
        platform.command("users", "add", _USER, "--password-stdin", given=platform.password + "\n")
        yield platform
