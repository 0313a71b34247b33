"""Each container's variables and secrets, and no others, are enough for what it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from dotenv import dotenv_values

from dsdc.settings import DatabaseRole, Settings, secrets, settings
from services.airflow.cluster import cluster_command
from services.airflow.environment import airflow_environment
from services.base.entrypoint import container_environment
from services.base.prepare import secret_files
from services.mlflow.container import container_command
from services.streamlit.launch import streamlit_command
from tests.compose_model import TOP, environment, own_services, read
from tests.projects import ROOT, forget_settings

OWN = sorted(set(own_services()) - {"volumes"})


@pytest.fixture
def values(project: Path) -> dict[str, str]:
    """File name -> secret, for a project without `.secrets`: what is in no file of the container is nowhere."""
    own = {key.removeprefix("DSDC_SECRET_"): value or "" for key, value in dotenv_values(project / ".secrets").items()}
    (project / ".secrets").unlink()
    own.setdefault("REDIS", "k2V9xJ4mT7qW1zB8nR5cY3hL6")
    return secret_files(own, b"saltsalt")


@pytest.fixture
def enter(values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Take on the environment that the entrypoint makes in the container of a service."""

    def become(name: str) -> tuple[Settings, dict[str, str]]:
        folder = tmp_path / "secrets"
        folder.mkdir()
        for secret in own_services()[name].get("secrets", []):
            (folder / secret).write_text(values[secret])
        made = container_environment(environment(own_services()[name]), folder)
        for key, value in made.items():
            monkeypatch.setenv(key, value)
        forget_settings()
        return settings(), made

    return become


def test_the_template_has_every_secret_that_compose_names() -> None:
    own = {key.removeprefix("DSDC_SECRET_").lower() for key in dotenv_values(ROOT / ".secrets.template")}
    assert set(read(TOP)["secrets"]) - own == {"redis_conf", "gateway_users"}  # made from two others


@pytest.mark.parametrize("name", OWN)
def test_the_settings_are_valid_and_name_other_containers(name: str, enter: Any) -> None:
    config, _ = enter(name)
    assert config.database_url("owner").host == "postgres"
    assert config.mlflow.uri == "http://mlflow:5000"
    assert config.storage.url == "s3://dsdc"


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith(("airflow", "flower"))])
def test_airflow_runs_with_celery(name: str, enter: Any) -> None:
    config, made = enter(name)
    command = cluster_command(config, own_services()[name]["command"][3:], made)
    variables = command.variables
    assert variables["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert variables["AIRFLOW__CELERY__BROKER_URL"].endswith("@redis:6379/0")
    assert variables["AIRFLOW__API__BASE_URL"] == "http://localhost:8080/airflow"
    internal = "http://airflow-api-server:8080/airflow/execution/"
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == internal
    assert not [argument for argument in command.arguments if secrets().value("redis") in argument]


def test_workers_serve_their_own_queue(enter: Any) -> None:
    config, made = enter("airflow-worker-gpu")
    arguments = cluster_command(config, own_services()["airflow-worker-gpu"]["command"][3:], made).arguments
    assert arguments[arguments.index("--queues") + 1] == "gpu"


def test_airflow_knows_every_option_that_is_added(enter: Any, tmp_path: Path) -> None:
    """A misspelt variable would change nothing, silently."""
    config, made = enter("airflow-worker-cpu")
    added = set(cluster_command(config, ["worker"], made).variables) - set(airflow_environment(config))
    added |= {"AIRFLOW__CORE__EXECUTOR", "AIRFLOW__API__BASE_URL", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"}
    # In a process of its own: importing Airflow makes its home folder.
    code = """import json
from airflow.configuration import conf
conf.load_providers_configuration()
print(json.dumps({name: list(section["options"]) for name, section in conf.configuration_description.items()}))"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | {"AIRFLOW_HOME": str(tmp_path / "airflow")},
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    known = json.loads(done.stdout.splitlines()[-1])
    assert len(added) > 8
    for variable in added:
        section, option = variable.removeprefix("AIRFLOW__").lower().split("__")
        assert option in known[section], variable


def test_mlflow_answers_to_its_name_alone(enter: Any) -> None:
    config, _ = enter("mlflow")
    command = container_command(config)
    assert "--host=0.0.0.0" in command.arguments
    assert not [argument for argument in command.arguments if argument == "--host=mlflow"]
    hosts = next(argument for argument in command.arguments if argument.startswith("--allowed-hosts="))
    assert "mlflow:5000" in hosts
    assert ",0." not in hosts


def test_the_page_believes_the_gateway_alone_and_is_believed(enter: Any) -> None:
    config, _ = enter("streamlit")
    command = streamlit_command(config)
    assert "--server.address=0.0.0.0" in command.arguments
    assert command.variables["FORWARDED_ALLOW_IPS"] == "172.31.253.10/32"
    assert list(secrets().values) == ["proxy_token"]


@pytest.mark.parametrize(
    ("name", "roles", "needed"),
    [
        ("setup", get_args(DatabaseRole), ("s3_access", "s3_secret", "dsdc_admin", "airflow_admin")),
        ("auth", ("auth",), ("metrics_token", "proxy_token")),
        ("predict", ("serve",), ("s3_access", "s3_secret", "metrics_token", "proxy_token")),
        ("airflow-worker-cpu", ("pipeline", "airflow"), ("s3_access", "s3_secret")),
        ("airflow-worker-gpu", ("pipeline", "airflow"), ("s3_access", "s3_secret")),
        ("pipeline-exporter", ("pipeline",), ("metrics_token",)),
    ],
)
def test_each_reaches_the_database_as_its_own_role(name: str, roles: Any, needed: Any, enter: Any) -> None:
    config, _ = enter(name)
    for role in roles:
        assert config.database_url(role).password == secrets().value(f"database_{role}")
    for secret in needed:
        assert secrets().value(secret)


def test_a_service_knows_no_other_role(enter: Any) -> None:
    config, _ = enter("predict")
    assert config.owner_url().password is None
    assert sorted(secrets().values) == ["database_serve", "metrics_token", "proxy_token", "s3_access", "s3_secret"]
