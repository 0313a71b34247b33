"""Failpoints do what they are told, where they are told, and nothing otherwise."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dsdc import failpoints
from dsdc.errors import SettingsError
from dsdc.failpoints import EXIT_STATUS, FailpointReached, arm, reach
from dsdc.settings import settings


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    arm("")


def test_nothing_happens_unless_it_is_asked_for() -> None:
    arm("")
    for name in failpoints.NAMES:
        reach(name)
    started = time.process_time()
    for _ in range(100_000):
        reach("ingest.stored")
    assert time.process_time() - started < 1  # each well under 10 microseconds


def test_each_place_has_its_own_action_and_count() -> None:
    arm("ingest.stored=raise@2; storage.drafted=nospace ;ingest.opened=sleep:0.05")
    reach("ingest.stored")
    with pytest.raises(FailpointReached, match=r"ingest\.stored"):
        reach("ingest.stored")
    reach("ingest.stored")
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            reach("storage.drafted")
        assert caught.value.errno == errno.ENOSPC
    started = time.monotonic()
    reach("ingest.opened")
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize(
    "specification",
    [
        "ingest.stord=kill",
        "ingest.stored",
        "ingest.stored=",
        "ingest.stored=stop",
        "ingest.stored=kill@x",
        "ingest.stored=sleep:x",
    ],
)
def test_what_cannot_be_read_is_refused(specification: str) -> None:
    with pytest.raises(SettingsError, match="DSDC_FAILPOINTS"):
        arm(specification)


def test_a_place_that_is_not_declared_is_an_error_while_any_is_armed() -> None:
    arm("ingest.stored=raise")
    with pytest.raises(AssertionError, match=r"no\.such"):
        reach("no.such")


@pytest.mark.parametrize(("action", "status"), [("kill", -9), ("exit", EXIT_STATUS), ("raise", 1)])
def test_a_process_reads_the_variable_by_itself(action: str, status: int) -> None:
    program = "from dsdc.failpoints import reach; reach('ingest.opened'); reach('ingest.stored')"
    environment = os.environ | {"DSDC_FAILPOINTS": f"ingest.stored={action}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True)
    assert done.returncode == status


def test_a_process_that_pauses_stands_there_until_it_is_woken() -> None:
    program = "from dsdc.failpoints import reach; reach('ingest.opened'); reach('ingest.opened')"
    environment = os.environ | {"DSDC_FAILPOINTS": "ingest.opened=pause@1"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 0


def test_the_settings_take_the_variable_for_none_of_theirs(project: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_FAILPOINTS", "ingest.stored=kill")
    assert settings().ingest.max_file_mb
