"""The shell scripts: sound by shellcheck, and clear when they refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.sh"))
PARTS = sorted((REPOSITORY / "scripts" / "lib").glob("*.sh"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts in a project where nothing is installed."""
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "scripts", root / "scripts")
    for name in ("config.yaml", ".secrets.template", "pyproject.toml", ".dsdc_project_root"):
        shutil.copy(REPOSITORY / name, root / name)
    return root


def run(root: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(root / "scripts" / script), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(root)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("shellcheck is not installed; ./scripts/install.sh --test installs it")
    done = subprocess.run([program, *map(str, SCRIPTS + PARTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_executable_explains_itself_and_stops_at_errors(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# Usage: ./scripts/")
    assert '. "$(dirname "$0")/lib/common.sh"' in text
    done = run(REPOSITORY, script.name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: ./scripts/{script.name}")


@pytest.mark.parametrize("name", ["prepare.sh", "install.sh", "start.sh", "stop.sh", "hard_reset.sh"])
def test_an_unknown_argument_is_refused(checkout: Path, name: str) -> None:
    done = run(checkout, name, "--nonsense")
    assert done.returncode == 1
    assert "--nonsense" in done.stderr
    assert f"./scripts/{name} --help" in done.stderr


def test_stopping_where_nothing_is_installed_is_no_error(checkout: Path) -> None:
    done = run(checkout, "stop.sh")
    assert done.returncode == 0
    assert "nothing runs" in done.stderr


def controlled(checkout: Path) -> None:
    """An environment whose Python writes down what it is asked for, instead of doing it."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\nif [ "$1" = -m ]; then echo "$@" data: $(ls data) >>{checkout}/asked; fi\n')
    python.chmod(0o755)


def test_stopping_needs_no_secrets(checkout: Path) -> None:
    controlled(checkout)
    assert not (checkout / ".secrets").exists()
    assert run(checkout, "stop.sh").returncode == 0
    assert (checkout / "asked").read_text().startswith("-m dsdc.cli.platform down")


def test_hard_reset_stops_the_platform_before_it_deletes(checkout: Path) -> None:
    controlled(checkout)
    (checkout / "data" / "postgres").mkdir(parents=True)
    (checkout / "data" / "postgres" / "PG_VERSION").write_text("18\n")
    assert not (checkout / ".secrets").exists()
    assert run(checkout, "hard_reset.sh", "--yes").returncode == 0
    assert (checkout / "asked").read_text().startswith("-m dsdc.cli.platform down data: postgres")
    assert not (checkout / "data" / "postgres").exists()


def test_a_broken_environment_is_no_hindrance_unless_the_platform_runs(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/bash\nexit 1\n")
    python.chmod(0o755)
    (checkout / "logs" / "run").mkdir(parents=True)
    pid = checkout / "logs" / "run" / "supervisord.pid"
    pid.write_text(f"{os.getpid()}\n")  # left over: somebody else has this number now
    assert run(checkout, "stop.sh").returncode == 0
    with subprocess.Popen(["/bin/bash", "-c", "exec -a supervisord sleep 60"]) as running:
        pid.write_text(f"{running.pid}\n")
        while b"supervisord" not in Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[0]:
            time.sleep(0.01)
        done = run(checkout, "hard_reset.sh", "--yes")
        running.kill()
    assert done.returncode == 1
    assert "./scripts/install.sh" in done.stderr
    assert pid.exists()


def test_hard_reset_deletes_nothing_when_nobody_can_answer(checkout: Path) -> None:
    kept = checkout / "data" / "raw" / "document"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    done = run(checkout, "hard_reset.sh")
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert kept.exists()


def test_hard_reset_deletes_data_and_secrets_but_no_tracked_file(checkout: Path) -> None:
    gone = [
        checkout / name for name in ("data/raw/ab/c", "data/postgres/base/1", "models/head", "logs/run/x", ".secrets")
    ]
    kept = [checkout / name for name in ("data/raw/.gitkeep", "models/README.md", "config.yaml", ".secrets.template")]
    for file in gone + kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    done = run(checkout, "hard_reset.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert not [file for file in gone if file.exists()]
    assert not [file for file in kept if not file.exists()]
    assert not (checkout / "data" / "postgres").exists()


def test_a_wrong_python_is_named_with_a_way_out(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "sed", "cat", "sha256sum", "cut"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = run(checkout, "install.sh", PATH=str(tools))
    assert done.returncode == 1
    assert "Python 3.11 is needed" in done.stderr
    assert "./scripts/prepare.sh" in done.stderr


@pytest.mark.parametrize(
    ("variables", "pip", "uv", "asked"),
    [
        ({}, "", 0, ["uv torch"]),
        ({}, "", 1, ["uv torch", "pip torch"]),
        ({}, "global.index-url='http://own.example'", 0, ["pip torch"]),
        ({}, ":env:.find-links='/wheels'", 0, ["pip torch"]),
        ({"UV_DEFAULT_INDEX": "http://own.example"}, "", 0, ["pip torch"]),
    ],
)
def test_without_a_gpu_the_small_torch_is_tried_first_unless_pip_is_told_where_to_look(
    checkout: Path, variables: dict[str, str], pip: str, uv: int, asked: list[str]
) -> None:
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    (checkout / "logs").mkdir()
    tools = checkout / ".venv" / "bin"
    tools.mkdir(parents=True)
    note = f'case "$*" in *torch==*) echo NAME torch >>{checkout}/asked;; *\'config list\') echo "{pip}";; esac'
    (tools / "python").write_text(f"#!/bin/bash\n{note.replace('NAME', 'pip')}\n")
    ended = f'case "$*" in *torch==*) exit {uv};; esac'
    (tools / "uv").write_text(f"#!/bin/bash\n{note.replace('NAME', 'uv')}\n{ended}\n")
    (tools / "dsdc").write_text("#!/bin/bash\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    done = run(checkout, "install.sh", DSDC_PYTHON=sys.executable, **variables)
    assert done.returncode == 0, done.stderr
    assert (checkout / "asked").read_text().splitlines() == asked


def test_without_root_the_one_line_to_run_is_printed(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "sed", "apt-get", "apt-cache", "id", "cat", "env", "grep"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    if not (tools / "apt-get").exists():
        pytest.skip("this system has no apt-get")
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder != Path("/tmp") and folder.owner() == "root":  # noqa: S108
            folder.chmod(0o755)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        ["/bin/bash", str(checkout / "scripts" / "prepare.sh")],
        **nobody,  # type: ignore[call-overload]
        env={"PATH": str(tools)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "only root can install them" in done.stderr
    assert "apt-get install -y --no-install-recommends tesseract-ocr poppler-utils prometheus" in done.stderr


def test_secrets_are_completed_and_closed(checkout: Path) -> None:
    venv = checkout / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(sys.executable)
    (checkout / "dsdc").symlink_to(REPOSITORY / "dsdc")
    (checkout / ".secrets").write_text("DSDC_SECRET_DATABASE_OWNER=kYx3vS9pQ2mN7bR4tW8zLc5d\n")
    script = f'. "{checkout}/scripts/lib/common.sh"; ensure_secrets; ensure_secrets'
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    # The link to the interpreter leaves its packages behind, so it is told where they are.
    body = script.replace("ensure_secrets;", f'export PYTHONPATH="{environment["PYTHONPATH"]}"; ensure_secrets;', 1)
    done = subprocess.run(["/bin/bash", "-c", body], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Generating") == 1
    lines = (checkout / ".secrets").read_text().splitlines()
    assert "DSDC_SECRET_DATABASE_OWNER=kYx3vS9pQ2mN7bR4tW8zLc5d" in lines
    assert len(lines) == (REPOSITORY / ".secrets.template").read_text().count("DSDC_SECRET_")
    assert (checkout / ".secrets").stat().st_mode & 0o777 == 0o600
