"""Prometheus and the blackbox exporter of the compose deployment: valid, and about services that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compose_model import SERVICES, read, services

PROMETHEUS = SERVICES / "monitoring" / "prometheus.docker.yml"
BLACKBOX = SERVICES / "monitoring" / "blackbox.docker.yml"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_accepts_it(tmp_path: Path) -> None:
    token = tmp_path / "metrics_token"
    token.write_text("x")
    rules = SERVICES / "monitoring" / "rules.yml"
    text = PROMETHEUS.read_text().replace("/etc/prometheus/rules.yml", str(rules))
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/metrics_token", str(token)))
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("prometheus-blackbox-exporter") is None,
    reason="the blackbox exporter is not installed: apt-get install prometheus-blackbox-exporter",
)
def test_the_blackbox_exporter_accepts_its_modules() -> None:
    command = ["prometheus-blackbox-exporter", "--config.check", f"--config.file={BLACKBOX}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_target_is_a_service() -> None:
    local = {"127.0.0.1"}
    for job in read(PROMETHEUS)["scrape_configs"]:
        for entry in job["static_configs"]:
            for target in entry["targets"]:
                host = re.sub(r"^http://", "", target).split(":")[0]
                assert host in services() or host in local, target
            if job["job_name"] == "probe":
                assert entry["labels"]["module"] in read(BLACKBOX)["modules"]


def test_everything_that_stays_is_watched() -> None:
    jobs = read(PROMETHEUS)["scrape_configs"]
    watched = {entry["labels"]["service"] for job in jobs for entry in job["static_configs"]}
    # Redis and the workers are seen through Airflow's own metrics, PostgreSQL through its exporter.
    elsewhere = {"postgres", "redis", "airflow-worker-cpu", "airflow-worker-gpu", "statsd-exporter"}
    unwatched = {"volumes", "setup", "adminer", "flower", "gateway", "blackbox-exporter"}
    assert set(services()) - watched == elsewhere | unwatched
