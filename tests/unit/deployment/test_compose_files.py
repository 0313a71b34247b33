"""The compose files hold together: valid by the Compose Specification, every name defined, every dependency met."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.compose_model import (
    JOBS,
    OVERRIDES,
    SERVICES,
    TOP,
    compose_files,
    included,
    own_services,
    read,
    services,
)


@cache
def specification() -> dict[str, Any]:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((schemas / "compose-spec.json").read_text())


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which podman-compose finds a podman: it asks for its version, and `config` for no more."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "podman").write_text("#!/bin/sh\necho podman version 5.0.0\n")
    (folder / "podman").chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DSDC_", "COMPOSE_"))}
    return kept | {"PATH": f"{folder}:{os.environ['PATH']}"}


def merged(environment: dict[str, str], *overrides: Path) -> dict[str, Any]:
    """What an engine makes of the files."""
    chosen = [argument for path in (TOP, *overrides) for argument in ("-f", str(path))]
    command = [str(Path(sys.executable).with_name("podman-compose")), *chosen, "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("path", compose_files(), ids=lambda path: str(path.relative_to(SERVICES)))
def test_each_file_is_valid_by_the_specification(path: Path) -> None:
    jsonschema.validate(read(path), specification())


def test_a_wrong_file_is_found() -> None:
    wrong = read(TOP) | {"services": {"x": {"image": "x:1", "read-only": True}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, specification())


def test_every_component_has_its_file_and_every_file_is_included() -> None:
    found = set(SERVICES.glob("*/compose.yaml"))
    assert found == set(included())
    names = [name for path in included() for name in read(path)["services"]]
    assert len(names) == len(set(names))


def test_an_engine_reads_them_all(engine: dict[str, str]) -> None:
    whole = merged(engine)
    assert whole["name"] == "dsdc"
    # Profiles that nobody asked for are left out.
    assert set(whole["services"]) == set(services()) - {"adminer"}


def test_the_overrides_change_what_they_are_for_and_no_more(engine: dict[str, str]) -> None:
    whole = merged(engine, *OVERRIDES)
    for name in ("airflow-worker-gpu", "predict"):
        resources = whole["services"][name]["deploy"]["resources"]
        assert resources["reservations"]["devices"][0]["capabilities"] == ["gpu"]
        assert "memory" in resources["limits"]
    assert len(whole["services"]["gateway"]["ports"]) == 2
    assert whole["services"]["gateway"]["read_only"] is True
    assert whole["configs"]["gateway_server"]["file"].endswith("server.tls.conf")


def test_shared_blocks_are_the_same_everywhere() -> None:
    blocks: dict[str, list[Any]] = {}
    for path in included():
        for key, block in read(path).items():
            if key.startswith("x-"):
                blocks.setdefault(key, []).append(block)
    assert len(blocks["x-hardened"]) == len(included())
    for key, found in blocks.items():
        assert all(block == found[0] for block in found), f"{key} differs between files"


@pytest.mark.parametrize("kind", ["secrets", "configs", "networks", "volumes"])
def test_what_is_used_is_defined_and_what_is_defined_is_used(kind: str) -> None:
    used = set()
    for service in services().values():
        for entry in service.get(kind, []):
            name = entry["source"] if isinstance(entry, dict) else entry.split(":")[0]
            if not name.startswith((".", "/")):
                used.add(name)
    assert used == set(read(TOP)[kind])


def test_paths_on_the_host_exist_or_are_made_before_the_start() -> None:
    made = ("../logs/run/", "../data/")
    paths = [entry["file"] for kind in ("secrets", "configs") for entry in read(TOP)[kind].values()]
    for service in services().values():
        paths += [volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith(".")]
    for path in paths:
        assert path.startswith(made) or (SERVICES / path).exists(), path


def test_everything_waits_for_a_condition_that_can_come_true() -> None:
    everything = services()
    for name, service in everything.items():
        for other, need in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert need["condition"] == expected, f"{name} -> {other}"
            assert other in JOBS or "healthcheck" in everything[other]


def test_no_service_waits_for_itself() -> None:
    needs = {name: set(service.get("depends_on", {})) for name, service in services().items()}
    left = dict(needs)
    while left:
        ready = [name for name, others in left.items() if not others & set(left)]
        assert ready, f"a circle among {sorted(left)}"
        for name in ready:
            del left[name]


def test_own_services_wait_for_the_setup() -> None:
    everything = services()

    def reaches(name: str) -> bool:
        needs = everything[name].get("depends_on", {})
        return "setup" in needs or any(reaches(other) for other in needs)

    assert [name for name in own_services() if name not in JOBS and not reaches(name)] == []


def test_the_first_job_knows_every_volume() -> None:
    job = services()["volumes"]
    given = {argument.removeprefix("/volumes/") for argument in job["command"] if argument.startswith("/volumes/")}
    assert given == set(read(TOP)["volumes"])
    assert {volume.split(":")[0] for volume in job["volumes"]} == given


def test_modules_that_commands_name_exist() -> None:
    for name, service in own_services().items():
        for argument in service.get("command", []):
            if re.fullmatch(r"services(\.\w+)+", argument):
                target = SERVICES.parent / argument.replace(".", "/")
                assert target.with_suffix(".py").is_file() or (target / "__main__.py").is_file(), f"{name}: {argument}"
            elif argument.endswith(".py"):
                assert (SERVICES.parent / argument).is_file(), f"{name}: {argument}"


def test_both_queues_have_a_worker() -> None:
    commands = [service.get("command", []) for service in services().values()]
    assert {command[-1] for command in commands if "worker" in command} == {"cpu", "gpu"}
