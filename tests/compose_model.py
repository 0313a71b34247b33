"""The compose files as data; tests read it and change nothing."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.projects import ROOT

SERVICES = ROOT / "services"
TOP = SERVICES / "compose.yaml"
OVERRIDES = (SERVICES / "compose.gpu.yaml", SERVICES / "compose.tls.yaml")
OWN_IMAGE = "dsdc-platform:0.1.0"
#: Containers that do their work and end.
JOBS = {"volumes", "setup"}


@cache
def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def included() -> list[Path]:
    return [SERVICES / entry["path"] for entry in read(TOP)["include"]]


def compose_files() -> list[Path]:
    return [TOP, *included(), *OVERRIDES]


@cache
def services() -> dict[str, dict[str, Any]]:
    """Every service, after YAML's own merges."""
    return {name: service for path in included() for name, service in read(path)["services"].items()}


def own_services() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services().items() if service["image"] == OWN_IMAGE}


def defaults(value: str) -> str:
    """The value as compose sees it with no variable set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {key: defaults(str(value)) for key, value in service.get("environment", {}).items()}
