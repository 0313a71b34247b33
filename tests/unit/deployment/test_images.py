"""The Dockerfiles: several stages, no root at the end, pinned bases, nothing copied that should stay outside."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose_model import services
from tests.projects import ROOT

DOCKERFILES = sorted((ROOT / "services").rglob("*Dockerfile*"))
each = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
    return [(name, rest.strip()) for name, rest in re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE)]


def test_there_is_one_and_compose_builds_it() -> None:
    built = {name: service["build"] for name, service in services().items() if "build" in service}
    assert list(built) == ["setup"]  # one builds; all others use its image
    assert [ROOT / built["setup"]["dockerfile"]] == DOCKERFILES


@each
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_it_is_multi_stage_and_ends_without_root(path: Path) -> None:
    found = instructions(path)
    stages = [rest for name, rest in found if name == "FROM"]
    assert len(stages) >= 2
    arguments = dict(rest.split("=", 1) for name, rest in found if name == "ARG" and "=" in rest)
    users = [rest for name, rest in found if name == "USER"]
    number = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], users[-1])
    assert number == "10001:10001"
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    assert any(name == "USER" for name, _ in found[last:])


@each
def test_its_base_is_pinned(path: Path) -> None:
    found = instructions(path)
    stages = {rest.split(" AS ")[1] for name, rest in found if name == "FROM"}
    arguments = dict(rest.split("=", 1) for name, rest in found if name == "ARG" and "=" in rest)
    for name, rest in found:
        if name == "FROM" and (base := rest.split(" AS ")[0]) not in stages:
            image = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base)
            assert re.search(r":\d+\.\d+\.\d+", image), image


@each
def test_it_copies_what_exists_and_nothing_that_is_ignored(path: Path) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [rest for name, rest in instructions(path) if name == "COPY" and "--from=" not in rest]
    sources = {source for rest in copies for source in rest.split()[:-1]}
    assert sources == allowed
    for source in sources:
        assert (ROOT / source).exists(), source


def test_the_build_sees_no_secret_and_no_data() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert not {"!.secrets", "!data", "!logs", "!models", "!.keys", "!.git", "!config.local.yaml"} & set(lines)
