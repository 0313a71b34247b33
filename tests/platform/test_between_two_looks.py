"""What ends, goes or is made by somebody else between one look and the next stops nobody."""

from __future__ import annotations

import pwd
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from dsdc.settings import Settings, settings
from dsdc.web.keys import KeyFolder
from services.postgres import account
from services.supervisor import processes


def test_a_database_process_that_ends_while_the_platform_is_stopped(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections' processes go when those who had them do, which is when the platform looks for the first one."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as server:
        listed = psutil.Process(server.pid)
        signalled: list[tuple[list[int], signal.Signals]] = []

        def is_postgres(process: psutil.Process) -> bool:
            server.kill()  # between what it is and whose child it is
            server.wait()
            return True

        def end(chosen: list[psutil.Process], number: signal.Signals, _: float) -> None:
            signalled.append(([process.pid for process in chosen], number))

        def found(_: Settings) -> list[psutil.Process]:
            return [listed]

        monkeypatch.setattr(processes, "platform_processes", found)
        monkeypatch.setattr(processes, "is_postgres", is_postgres)
        monkeypatch.setattr(processes, "end", end)
        assert processes.sweep(settings()) == 1
    assert [number for _, number in signalled] == [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]


def test_a_key_that_is_retired_while_the_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.add()
    read, newest = KeyFolder._read, []

    def meanwhile(self: KeyFolder, path: Path):  # type: ignore[no-untyped-def]
        if not newest:
            newest.append("")
            newest[0] = folder.rotate(keep=timedelta(0), revoke=True)[0].kid
        return read(self, path)

    monkeypatch.setattr(KeyFolder, "_read", meanwhile)
    assert [key.kid for key in folder.pairs()] == newest


def test_the_servers_account_is_made_once_by_many_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that never had it: useradd takes a while, and would make a second one over the first."""
    made: list[str] = []
    mine = pwd.getpwnam("root")

    def known(_: str) -> pwd.struct_passwd:
        if not made:
            raise KeyError
        return mine

    def create() -> None:
        threading.Event().wait(0.1)
        made.append(account.SYSTEM_USER)

    monkeypatch.setattr(account.pwd, "getpwnam", known)
    monkeypatch.setattr(account, "_create_user", create)
    starts = [threading.Thread(target=account._created_once) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert made == [account.SYSTEM_USER]
