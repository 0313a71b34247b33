"""The deployment's promises: one way in, no root, nothing writable, nothing secret in a file, no moving tag."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

import pytest

from dsdc.settings import MIN_SECRET
from tests.compose_model import JOBS, OWN_IMAGE, TOP, compose_files, defaults, environment, own_services, read, services

EVERY = sorted(services().items())
#: Service -> what it may do differently, and why.
ROOT_USERS = {"volumes": "hands fresh volumes to the containers' user; no network, ends at once"}
CAPABILITIES = {"volumes": ["CHOWN"]}
every = pytest.mark.parametrize(("name", "service"), EVERY, ids=[name for name, _ in EVERY])


def test_the_gateway_alone_publishes_a_port_and_on_loopback() -> None:
    publishing = {name: service["ports"] for name, service in EVERY if "ports" in service}
    assert list(publishing) == ["gateway"]
    assert len(publishing["gateway"]) == 1
    assert publishing["gateway"][0].startswith("${DSDC_GATEWAY_BIND:-127.0.0.1}:")
    assert not [name for name, service in EVERY if service.get("network_mode") == "host"]


@every
def test_nobody_is_root(name: str, service: dict[str, Any]) -> None:
    expected = "0:0" if name in ROOT_USERS else "${DSDC_UID:-10001}:${DSDC_GID:-10001}"
    assert service["user"] == expected
    if name in ROOT_USERS:
        assert service["network_mode"] == "none"
        assert "secrets" not in service


@every
def test_containers_can_do_little(name: str, service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


@every
def test_containers_cannot_take_the_machine(name: str, service: dict[str, Any]) -> None:
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["init"] is True
    assert service["restart"] == ("no" if name in JOBS else "unless-stopped")
    for mount in service.get("tmpfs", []):
        assert re.search(r":size=\d+[mg]$", mount), f"{mount} may fill the memory"


@every
def test_whoever_stays_says_whether_it_is_well(name: str, service: dict[str, Any]) -> None:
    if name in JOBS:
        assert "healthcheck" not in service
        return
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@every
def test_images_are_pinned(name: str, service: dict[str, Any]) -> None:
    image = service["image"]
    tag = image.rpartition(":")[2]
    assert "/" not in tag
    # A whole version, not a line of them: three numbers, or MinIO's date.
    assert re.search(r"\d+\.\d+\.\d+|RELEASE\.\d{4}-\d\d-\d\dT", tag), image
    assert image != OWN_IMAGE or service["pull_policy"] == "never"


def test_stores_are_out_of_reach() -> None:
    inside = {"postgres", "redis", "minio", "prometheus", "alertmanager", "airflow-worker-cpu", "airflow-scheduler"}
    for name in inside:
        assert services()[name]["networks"] == ["back-tier"], name
    for name in ("gateway", "streamlit"):
        assert list(services()[name]["networks"]) == ["front-tier"], name


def test_clients_are_told_apart_by_the_gateways_word_alone() -> None:
    """Its address is fixed, no other container can get it, and it is all that those behind it believe."""
    front = read(TOP)["networks"]["front-tier"]["ipam"]["config"][0]
    subnet, others = (ipaddress.ip_network(defaults(front[key])) for key in ("subnet", "ip_range"))
    gateway = ipaddress.ip_address(defaults(services()["gateway"]["networks"]["front-tier"]["ipv4_address"]))
    assert gateway in subnet
    assert others.subnet_of(subnet)
    assert gateway not in others
    believed = {name: environment(service).get("DSDC_WEB_TRUSTED_PROXIES") for name, service in services().items()}
    assert {name for name, value in believed.items() if value} == {"auth", "predict", "streamlit"}
    for name in ("auth", "predict", "streamlit"):
        assert json.loads(str(believed[name])) == [f"{gateway}/32"]


def test_each_container_gets_the_secrets_of_its_own_role() -> None:
    holders: dict[str, set[str]] = {}
    for name, service in EVERY:
        for secret in service.get("secrets", []):
            holders.setdefault(secret, set()).add(name)
    assert holders["database_owner"] == {"postgres", "setup"}
    assert holders["database_auth"] == {"auth", "setup"}
    assert holders["database_serve"] == {"predict", "setup"}
    assert holders["database_exporter"] == {"postgres-exporter", "setup"}
    assert holders["database_mlflow"] == {"mlflow", "setup"}
    assert holders["gateway_users"] == {"gateway"}
    assert holders["proxy_token"] == {"auth", "predict", "streamlit"}
    assert services()["streamlit"]["secrets"] == ["proxy_token"]
    keys = {name for name, service in EVERY for volume in service.get("volumes", []) if volume.startswith("auth-keys:")}
    assert keys == {"auth", "volumes"}


def test_no_file_holds_a_secret() -> None:
    for path in compose_files():
        text = path.read_text()
        assert not re.search(r"://[^/\s:@]+:[^/\s@$]+@", text), f"{path}: a password in a URL"
    for name, service in EVERY:
        for key, value in environment(service).items():
            if re.search(r"PASS|SECRET|TOKEN|KEY", key):
                assert value.startswith("/run/secrets/"), f"{name}: {key}"
            # Random values have no words, dots or slashes in them.
            assert not re.fullmatch(rf"[\w=-]{{{MIN_SECRET},}}", value) or "_" in value, f"{name}: {key}"


def test_no_secret_is_on_a_command_line() -> None:
    for name, service in EVERY:
        command = " ".join(map(str, service.get("command", [])))
        assert not re.search(r"pass(word)?=|requirepass|secret=|token=", command, re.IGNORECASE), name


def test_the_exceptions_are_still_needed() -> None:
    assert set(ROOT_USERS) == set(CAPABILITIES) == {"volumes"} & set(own_services())
