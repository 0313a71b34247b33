"""The prediction service in this process, over models that are trained in seconds; and MLflow behind a gate."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from dsdc.pipeline import answer, evaluation, training
from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from dsdc.web.tokens import TokenVerifier
from services.predict import keeper
from services.predict import main as predict_main
from services.supervisor.ports import free_port
from tests.fake_processors import NothingInside, SameCleaner, WidthReader
from tests.pipeline.test_training import ShadeEmbedder
from tests.projects import forget_settings
from tests.tokens import KEY, SIGNER, WHO

WATCH_S = 0.2  # the service looks after its model this often


def use_shades(patch: pytest.MonkeyPatch, mlflow_uri: str) -> Settings:
    """A platform whose embedder sees shades: three shades are three classes, learnt at once."""
    patch.setenv("DSDC_MLFLOW_URI", mlflow_uri)
    patch.setenv("DSDC_TRAIN_EPOCHS", "15")
    forget_settings()
    config = settings()

    def assemble(_: Settings, storage: object = None) -> Assembly:
        renderer = PageRenderer(config.render)
        processors = ProcessorSet(NothingInside(), renderer, WidthReader(), SameCleaner(), ShadeEmbedder())
        return bind(config, processors, register(processors), open_storage(config))

    for module in (training, evaluation, answer):
        patch.setattr(module, "assemble", assemble)
    return config


class _OurKey:
    """Trusts the tests' key, as if `auth` had published it."""

    def __init__(self, verifier: TokenVerifier, _url: str) -> None:
        self._verifier = verifier

    async def refresh(self) -> None:
        self._verifier.trust([KEY.public])

    async def close(self) -> None:
        return


class Service:
    """The application of `predict`; its caller may do everything."""

    def __init__(self, http: TestClient) -> None:
        self.http = http
        token, _ = SIGNER.sign(**(WHO | {"role": "admin"}), kind="access")  # type: ignore[arg-type]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def waits_for(self) -> dict[str, str]:
        """What /readyz says is missing, by check; empty when it is ready."""
        said = self.http.get("/readyz")
        assert said.status_code == (503 if "waiting_for" in said.json() else 200)
        return said.json().get("waiting_for", {})

    def until(self, ready: bool, within_s: float = 180) -> str:
        """Wait until the model is loaded, or cannot be; why not."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            reason = self.waits_for().get("model", "")
            if (not reason) == ready and reason != "the model is being loaded":
                return reason
            time.sleep(0.05)
        raise AssertionError(f"waiting for {ready}: {reason!r}")

    def version(self) -> int:
        return int(self.http.get("/v1/model").raise_for_status().json()["version"])

    def ask(self, page: bytes) -> dict[str, Any]:
        files = {"file": ("page.png", page, "image/png")}
        answer: dict[str, Any] = self.http.post("/v1/predict", files=files).raise_for_status().json()
        return answer

    def reload(self) -> httpx.Response:
        return self.http.post("/v1/model/reload")


@contextmanager
def service(patch: pytest.MonkeyPatch, watch_s: float = WATCH_S) -> Iterator[Service]:
    patch.setattr(keeper, "WATCH_S", watch_s)
    patch.setattr(predict_main, "RemoteTrust", _OurKey)
    with TestClient(predict_main.create_app(settings())) as http:
        yield Service(http)


class Gate:
    """A TCP relay to a server, which can be shut: then nothing listens, and what is open is cut off."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.port = free_port()
        self._open: list[socket.socket] = []
        self._door: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        if self._door is None:
            self._door = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._welcome, args=(self._door,), daemon=True).start()

    def shut(self) -> None:
        door, self._door = self._door, None
        for each in [*([door] if door else []), *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _welcome(self, door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._behind))
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_relay, args=(source, target), daemon=True).start()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def mlflow_behind_a_gate(folder: Path, starts_within_s: float = 180) -> Iterator[Gate]:
    """A real MLflow server, and the gate to it, open."""
    port = free_port()
    gate = Gate(port)
    with (folder / "mlflow.log").open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--allowed-hosts", f"127.0.0.1:{port},127.0.0.1:{gate.port}", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'store.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        end = time.monotonic() + starts_within_s
        while not _is_well(port):
            assert process.poll() is None and time.monotonic() < end, (folder / "mlflow.log").read_text()[-3000:]
            time.sleep(0.2)
        gate.open()
        yield gate
    finally:
        gate.shut()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def _is_well(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success
    except httpx.TransportError:
        return False
