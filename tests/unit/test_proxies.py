"""Behind a proxy that cannot be reached, services of this machine are reached all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import requests

from dsdc.pipeline.status import check_service
from dsdc.proxies import past_proxies
from dsdc.settings import settings
from services.airflow.rest import AirflowApi
from services.supervisor.ports import free_port
from tests.projects import forget_settings


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"access_token": "x"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server on loopback; the environment names a proxy that is not there."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_service_is_up(port: int) -> None:
    assert check_service(f"http://127.0.0.1:{port}/healthz") == "up"


def test_airflow_lets_us_in(port: int, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_AIRFLOW_PORT", str(port))
    forget_settings()
    AirflowApi(settings())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_libraries_that_ask_the_environment_go_past_the_proxy(
    port: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{host}:{port}/", timeout=5)
    for name, value in past_proxies(os.environ).items():
        monkeypatch.setenv(name, value)
    assert requests.get(f"http://{host}:{port}/", timeout=5).ok
    assert httpx.get(f"http://{host}:{port}/").is_success


def test_hosts_that_were_named_before_stay() -> None:
    made = past_proxies({"no_proxy": "db.example, 127.0.0.1", "NO_PROXY": ".example"})
    assert made["no_proxy"] == made["NO_PROXY"] == "db.example,127.0.0.1,.example,localhost,::1"
    assert past_proxies(made) == made
