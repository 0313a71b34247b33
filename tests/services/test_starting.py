"""Services that start too early, with bad secrets, or on a taken port: each says what it waits for, or what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from sqlalchemy.engine import make_url

from services.supervisor.ports import free_port
from tests.projects import ROOT, make_project
from tests.services.platforms import Platform


def start(platform: Platform, module: str, log: Path, **env: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=os.environ | platform.env | env, stdout=out, stderr=out
        )


def answer(url: str, process: subprocess.Popen[bytes]) -> httpx.Response:
    """The first answer of /readyz once the process listens."""
    end = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        try:
            return httpx.get(f"{url}/readyz", timeout=120)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("it does not listen")


def test_predict_waits_for_keys_and_says_so(platform: Platform) -> None:
    port = free_port()
    env = {"DSDC_PREDICT_PORT": str(port), "DSDC_AUTH_URL": f"http://127.0.0.1:{free_port()}"}
    process = start(platform, "tests.services.stand_in_predict", platform.root / "logs" / "keyless.log", **env)
    try:
        waiting = answer(f"http://127.0.0.1:{port}", process)
        assert waiting.status_code == 503
        assert "is auth running?" in waiting.json()["waiting_for"]["keys"]
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/v1/model", headers=platform.bearer()).status_code == 401
    finally:
        process.terminate()
        process.wait(120)


def test_without_a_database_auth_lives_and_is_not_ready(platform: Platform) -> None:
    port = free_port()
    url = make_url(platform.env["DSDC_DATABASE_URL"]).set(port=free_port())
    env = {"DSDC_AUTH_PORT": str(port), "DSDC_DATABASE_URL": url.render_as_string(hide_password=False)}
    process = start(platform, "services.auth", platform.root / "logs" / "baseless.log", **env)
    base = f"http://127.0.0.1:{port}"
    try:
        waiting = answer(base, process)
        assert waiting.status_code == 503
        assert waiting.json()["waiting_for"] == {"database": "The database does not answer."}
        assert httpx.get(f"{base}/healthz").status_code == 200
        refused = httpx.post(f"{base}/token", data={"username": "ada", "password": "x"}, timeout=120)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:dsdc:problem:database-unavailable"
        told = refused.text + waiting.text
        assert f":{url.port}" not in told
        assert f"port {url.port}" not in told
        assert str(url.database) not in told  # nothing of the DSN
    finally:
        process.terminate()
        process.wait(120)


def test_a_taken_port_is_named_with_its_setting(platform: Platform, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(platform, "services.auth", tmp_path / "log", DSDC_AUTH_PORT=str(port))
        assert process.wait(300) == 2
    assert f"Port {port}, which auth needs, is taken." in (tmp_path / "log").read_text()
    assert "DSDC_AUTH_PORT" in (tmp_path / "log").read_text()


def test_a_weak_secret_keeps_a_service_from_starting(platform: Platform, tmp_path: Path) -> None:
    root = make_project(tmp_path)
    weak = (root / ".secrets").read_text().splitlines()[:-1]
    (root / ".secrets").write_text("\n".join([*weak, "DSDC_SECRET_S3_SECRET=changeme-changeme-changeme"]))
    process = start(platform, "services.auth", tmp_path / "log", DSDC_DIR=str(root))
    assert process.wait(300) == 2
    log = (tmp_path / "log").read_text()
    assert "DSDC_SECRET_S3_SECRET" in log
    assert "changeme" not in log
