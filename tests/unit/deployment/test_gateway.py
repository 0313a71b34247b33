"""The gateway's own configuration in a real nginx, before services that say what reached them."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.base.prepare import htpasswd
from services.supervisor.ports import free_port
from tests.compose_model import SERVICES, read

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
GATEWAY = SERVICES / "gateway"
PASSWORD = "r7Tq2LxW9vB4mZ6kN1cY8dH3"
UPSTREAMS = ("auth", "predict", "streamlit", "airflow", "mlflow", "grafana", "flower", "adminer")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it got."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.dumps({"path": self.path, "port": self.server.server_port, "size": len(self.rfile.read(length))})
        self.send_response(200)
        for name in ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "Authorization", "Upgrade"):
            self.send_header(f"Got-{name}", self.headers.get(name, ""))
        if self.path == "/v1/batches":
            self.send_header("Location", "/v1/batches/7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET  # noqa: N815  (the name that http.server looks for)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, int]]:
    servers = {name: http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) for name in UPSTREAMS}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {name: server.server_port for name, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


def configured(folder: Path, port: int, server: str, addresses: str) -> Path:
    """The gateway's files with this machine's paths and ports in place of the container's."""
    replaced = {
        "/etc/dsdc/gateway/server.conf": str(folder / server),
        "/etc/dsdc/gateway": str(folder),
        "/run/secrets": str(folder),
        "127.0.0.1:8081": f"127.0.0.1:{free_port()}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "listen 8443": f"listen 127.0.0.1:{free_port()}",
        "/dev/stdout": str(folder / "access.log"),
        "pid /tmp": f"pid {folder}",
        "_path /tmp": f"_path {folder}",
    }
    for path in GATEWAY.glob("*.conf"):
        text = addresses if path.name == "upstreams.conf" and addresses else path.read_text()
        for old, new in replaced.items():
            text = text.replace(old, new)
        (folder / path.name).write_text(text)
    (folder / "gateway_users").write_text(htpasswd("admin", PASSWORD, b"saltsalt"))
    folder.chmod(0o755)  # as root nginx hands its workers to another user
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def gateway(upstreams: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    base = Path(tempfile.gettempdir())
    for parent in (parent for parent in folder.parents if parent != base and parent.is_relative_to(base)):
        parent.chmod(0o755)
    addresses = "\n".join(f"set ${name} http://127.0.0.1:{number};" for name, number in upstreams.items())
    file = configured(folder, port, "server.conf", addresses)
    process = subprocess.Popen([str(NGINX), "-g", "daemon off;", "-c", str(file)])
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        for _ in range(1200):
            try:
                client.get("/")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield client
    process.terminate()
    process.wait(timeout=60)


@pytest.mark.parametrize("server", ["server.conf", "server.tls.conf"])
def test_nginx_accepts_the_files_as_they_are(server: str, tmp_path: Path) -> None:
    file = configured(tmp_path, 18080, server, "")
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-keyout", tmp_path / "tls_key", "-out", tmp_path / "tls_certificate"]
    subprocess.run([*openssl, *subject], check=True, capture_output=True, timeout=30)
    done = subprocess.run([str(NGINX), "-t", "-c", str(file)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', ""), done.stderr


def test_upstreams_are_services_of_the_front_tier() -> None:
    text = (GATEWAY / "upstreams.conf").read_text()
    for line in (line for line in text.splitlines() if line.startswith("set")):
        host = line.split("//")[1].split(":")[0]
        found = [path for path in SERVICES.glob("*/compose.yaml") if host in read(path)["services"]]
        assert found, host
        assert "front-tier" in read(found[0])["services"][host]["networks"], host


@pytest.mark.parametrize(
    ("path", "upstream", "arrives"),
    [
        ("/", "streamlit", "/"),
        ("/_stcore/health", "streamlit", "/_stcore/health"),
        ("/api/v1/model?full=1", "predict", "/v1/model?full=1"),
        ("/auth/token", "auth", "/token"),
        ("/auth/.well-known/jwks.json", "auth", "/.well-known/jwks.json"),
        ("/airflow/api/v2/version", "airflow", "/airflow/api/v2/version"),
        ("/grafana/login", "grafana", "/grafana/login"),
        ("/flower/", "flower", "/flower/"),
    ],
)
def test_requests_go_where_they_belong(
    path: str, upstream: str, arrives: str, gateway: httpx.Client, upstreams: dict[str, int]
) -> None:
    answer = gateway.get(path).raise_for_status().json()
    assert (answer["path"], answer["port"]) == (arrives, upstreams[upstream])


@pytest.mark.parametrize(
    "path",
    [
        "/api/metrics",
        "/auth/metrics",
        "/auth/healthz",
        "/api/docs",
        "/api/openapi.json",
        "/api/%6detrics",
        "/api//metrics",
        "/auth/../api/metrics",
        "/auth/.well-known/ended.json",
        "/airflow/execution/",
        "/airflow/execution/task-instances/1/run",
    ],
)
def test_what_is_inside_stays_inside(path: str, gateway: httpx.Client) -> None:
    assert gateway.get(path).status_code == 404


@pytest.mark.parametrize("place", ["mlflow", "adminer"])
def test_what_has_no_accounts_is_behind_the_administrators_password(
    place: str, gateway: httpx.Client, upstreams: dict[str, int]
) -> None:
    assert gateway.get(f"/{place}/").status_code == 401
    assert gateway.get(f"/{place}/", auth=("admin", "wrong")).status_code == 401
    answer = gateway.get(f"/{place}/x?y=1", auth=("admin", PASSWORD)).raise_for_status()
    assert answer.json() == {"path": "/x?y=1", "port": upstreams[place], "size": 0}
    assert answer.headers["Got-Authorization"] == ""
    if place == "mlflow":
        assert answer.headers["Got-Host"] == "mlflow:5000"


def test_a_client_cannot_say_where_it_comes_from(gateway: httpx.Client) -> None:
    lies = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https", "Authorization": "Bearer x"}
    got = gateway.get("/api/v1/model", headers=lies).headers
    assert got["Got-X-Forwarded-For"] == "127.0.0.1"
    assert got["Got-X-Forwarded-Proto"] == "http"
    assert got["Got-Authorization"] == "Bearer x"


def test_web_sockets_pass(gateway: httpx.Client) -> None:
    wish = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert gateway.get("/_stcore/stream", headers=wish).headers["Got-Upgrade"] == "websocket"


def test_uploads_pass_to_predict_and_large_bodies_nowhere_else(gateway: httpx.Client) -> None:
    two_mb = b"x" * (2 << 20)
    assert gateway.post("/api/v1/predict", content=two_mb).json()["size"] == len(two_mb)
    assert gateway.post("/auth/users", content=two_mb).status_code == 413


def test_large_batches_pass_and_are_found_again_from_outside(gateway: httpx.Client) -> None:
    much = b"x" * (70 << 20)
    answer = gateway.post("/api/v1/batches", content=much)
    assert answer.json() == {"path": "/v1/batches", "port": answer.json()["port"], "size": len(much)}
    assert answer.headers["Location"] == "/api/v1/batches/7"
    assert gateway.post("/api/v1/predict", content=much).status_code == 413


def test_signing_in_again_and_again_is_slowed_down(gateway: httpx.Client) -> None:
    answers = [gateway.post("/auth/token").status_code for _ in range(20)]
    assert answers[0] == 200
    assert answers[-1] == 429
