"""Real processes for what must be killed, and projects besides the test's own."""

from __future__ import annotations

import os
import signal
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from dsdc import failpoints
from dsdc.settings import Settings, settings
from tests.projects import admin, forget_settings, make_project

KILLED = -signal.SIGKILL


def start(work: Callable[[], object], armed: str = "") -> int:
    """Run `work` in a child process with DSDC_FAILPOINTS set to `armed`; its process id."""
    forget_settings()  # a connection must not have two owners
    pid = os.fork()
    if pid:
        return pid
    try:
        failpoints.arm(armed)
        work()
    except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(pid: int, timeout_s: float = 240.0) -> int:
    """How it ended: its exit status, or the negative number of the signal."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"process {pid} was not done after {timeout_s:.0f} s")


def start_paused(work: Callable[[], object], place: str) -> int:
    """`start`; it has come to the failpoint `place` for the first time and stands still there. `resume` lets it go."""
    pid = start(work, f"{place}=pause@1")
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]), f"it ended without coming to {place}"
    return pid


def resume(pid: int) -> int:
    """Let one that stands still go on, and `wait`."""
    os.kill(pid, signal.SIGCONT)
    return wait(pid)


def run(work: Callable[[], object], armed: str = "") -> int:
    """`start` and `wait`."""
    return wait(start(work, armed))


@contextmanager
def armed(specification: str) -> Iterator[None]:
    """Failpoints of this very process."""
    failpoints.arm(specification)
    try:
        yield
    finally:
        failpoints.arm("")


@contextmanager
def another_project(folder: Path, postgres: URL, template: str, **environment: str) -> Iterator[Settings]:
    """A project in `folder` with a database of its own; `settings()` reads it."""
    name = f"dsdc_test_{uuid.uuid4().hex[:12]}"
    admin(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    before = dict(os.environ)
    os.environ |= {
        "DSDC_DIR": str(make_project(folder, ocr_engine="tesseract")),
        "DSDC_DATABASE_URL": postgres.set(database=name).render_as_string(hide_password=False),
        "DSDC_DATABASE_LEAST_PRIVILEGE": "false",
        "DSDC_INGEST_QUIET_S": "0",
        **environment,
    }
    forget_settings()
    try:
        yield settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget_settings()
        admin(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
