"""The small programs inside the containers, and the one that prepares the host for them."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.base.entrypoint import container_environment, with_password
from services.base.health import is_well
from services.base.prepare import PrepareError, container_owner, htpasswd, prepare, read_secrets
from services.base.volumes import give
from tests.projects import ROOT, make_project

REDIS = "k2V9xJ4mT7qW1zB8nR5cY3hL6"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    root = make_project(tmp_path)
    if "DSDC_SECRET_REDIS" not in (root / ".secrets").read_text():
        with (root / ".secrets").open("a") as file:
            file.write(f"DSDC_SECRET_REDIS={REDIS}\n")
    prepare(root)
    return root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_secret_becomes_a_file_of_its_owner_alone(prepared: Path) -> None:
    folder = prepared / "logs" / "run" / "secrets"
    assert mode(folder) == 0o700
    owner = container_owner(os.getuid(), os.getgid())
    for path in folder.iterdir():
        assert mode(path) == 0o400
        assert (path.stat().st_uid, path.stat().st_gid) == owner
    found = read_secrets(prepared / ".secrets")
    assert (folder / "database_owner").read_text() == found["DATABASE_OWNER"]
    assert (folder / "redis_conf").read_text() == f"requirepass {found['REDIS']}\n"


def test_preparing_again_follows_a_changed_secret(prepared: Path) -> None:
    file = prepared / ".secrets"
    kept = [line for line in file.read_text().splitlines() if "GRAFANA_ADMIN" not in line]
    file.write_text("\n".join([*kept, f"DSDC_SECRET_GRAFANA_ADMIN={REDIS}"]))
    (prepared / "config.local.yaml").write_text("ocr: {languages: fra}\n")
    prepare(prepared)
    run = prepared / "logs" / "run"
    assert (run / "secrets" / "grafana_admin").read_text() == REDIS
    assert (run / "config.local.yaml").read_text() == "ocr: {languages: fra}\n"


def test_a_secret_that_is_gone_leaves_no_file(prepared: Path) -> None:
    file = prepared / ".secrets"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "METRICS" not in line))
    prepare(prepared)
    assert not (prepared / "logs" / "run" / "secrets" / "metrics_token").exists()


def test_a_missing_secret_is_named_and_no_value_is(tmp_path: Path) -> None:
    (tmp_path / ".secrets").write_text(f"DSDC_SECRET_S3_ACCESS={REDIS}\n")
    with pytest.raises(PrepareError, match=r"DSDC_SECRET_REDIS.*prepare\.sh") as caught:
        prepare(tmp_path)
    assert REDIS not in str(caught.value)
    with pytest.raises(PrepareError, match=r"no \.secrets"):
        read_secrets(tmp_path / "nowhere" / ".secrets")


def test_containers_never_run_as_root() -> None:
    assert container_owner(0, 0) == (10001, 10001)
    assert container_owner(1000, 985) == (1000, 985)


def test_the_gateway_password_is_the_administrators() -> None:
    user, _, rest = htpasswd("admin", REDIS, b"12345678").partition(":{SSHA}")
    raw = base64.b64decode(rest)
    assert user == "admin"
    assert raw == hashlib.sha1(REDIS.encode() + b"12345678").digest() + b"12345678"  # noqa: S324


def test_the_entrypoint_passes_secrets_to_the_command_alone(tmp_path: Path) -> None:
    (tmp_path / "database_owner").write_text("p/w:@1\n")
    url = "postgresql://dsdc_owner@postgres:5432/dsdc"
    made = container_environment({"DSDC_DATABASE_URL": url, "A": "1"}, tmp_path)
    assert made["DSDC_SECRET_DATABASE_OWNER"] == "p/w:@1"
    assert made["DSDC_DATABASE_URL"] == "postgresql://dsdc_owner:p%2Fw%3A%401@postgres:5432/dsdc"
    assert made["A"] == "1"
    (tmp_path / "database_owner").unlink()
    assert container_environment({"DSDC_DATABASE_URL": url}, tmp_path)["DSDC_DATABASE_URL"] == url


def test_a_url_with_a_password_or_without_a_user_is_left_alone() -> None:
    for url in ("postgresql://u:p@h/d", "postgresql://h:5432/d", ""):
        assert with_password(url, "x") == url


def test_the_entrypoint_becomes_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.base.entrypoint"]
    run = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run([*command, "sh", "-c", "umask; exit 7"], check=False, **run)
    assert (done.returncode, done.stdout.strip()) == (7, "0027")
    missing = subprocess.run([*command, "no-such-program"], check=False, **run)
    assert missing.returncode == 127
    assert missing.stderr == "no-such-program is not in this image.\n"


@pytest.fixture
def answering() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/well" else 503)
            self.end_headers()
            self.wfile.write(b'{"scheduler": {"status": "healthy"}}')

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_health_is_a_status_and_a_text(answering: str) -> None:
    assert is_well(f"{answering}/well")
    assert is_well(f"{answering}/well", r'"scheduler":\s*{[^}]*"status":\s*"healthy"')
    assert not is_well(f"{answering}/well", "triggerer")
    assert not is_well(f"{answering}/ill")
    assert not is_well("http://127.0.0.1:9/")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_volume_is_handed_over_once(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "kept").touch()
    assert give([folder], 10001, 10002) == [folder]
    assert (folder.stat().st_uid, folder.stat().st_gid, mode(folder)) == (10001, 10002, 0o700)
    assert (folder / "kept").stat().st_uid == 0
    assert give([folder], 10001, 10002) == []


def test_volumes_are_not_handed_to_root() -> None:
    command = [sys.executable, "-m", "services.base.volumes", "0", "0", "/volumes/models"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert "must not run as root" in done.stderr
