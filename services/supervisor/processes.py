"""Finding every process of this installation, also after supervisord was killed, and ending them.

A process is ours when it carries our mark in its environment, belongs to supervisord's session, works in our
PostgreSQL's data folder, or descends from such a one. Several signs are needed: PostgreSQL and Airflow write their
titles over their environment, and an Airflow task may open a session of its own.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from dsdc.log import get_logger
from dsdc.settings import Settings
from services.postgres.account import fallback_folder
from services.supervisor.config import MARKER, platform_mark, run_folder

log = get_logger(__name__)


def session_file(config: Settings) -> Path:
    """Where the session of the supervisord that was started last is written down."""
    return run_folder(config) / "session.json"


def record_session(config: Settings, pid: int) -> None:
    """Remember supervisord's session, its start and this boot, so that a reused number is not mistaken for it."""
    process = psutil.Process(pid)
    content = {"session": os.getsid(pid), "started": process.create_time(), "boot": psutil.boot_time()}
    session_file(config).write_text(json.dumps(content))


def _session(config: Settings) -> int | None:
    """The recorded session's number, if it can still be that session."""
    try:
        content = json.loads(session_file(config).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if abs(content["boot"] - psutil.boot_time()) > 60:
        return None
    try:
        leader = psutil.Process(content["session"])
    except psutil.NoSuchProcess:
        return int(content["session"])  # the number is not given away while a member of the session lives
    # The leader is supervisord, or the short-lived parent it was born of.
    return int(content["session"]) if leader.create_time() <= content["started"] + 1 else None


def platform_processes(config: Settings) -> list[psutil.Process]:
    """Every process of this installation but this one and its ancestors, parents before children."""
    session = _session(config)
    mark = platform_mark(config)
    folders = {str(config.root / "data" / "postgres"), str(fallback_folder(config.root) / "postgres")}
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid not in spared and _is_ours(process, session, mark, folders):
            for member in (process, *_descendants(process)):
                found.setdefault(member.pid, member)
    return [process for pid, process in sorted(found.items()) if pid not in spared]


def _is_ours(process: psutil.Process, session: int | None, mark: str, folders: set[str]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if session is not None and os.getsid(process.pid) == session:
            return True
        return process.environ().get(MARKER) == mark or process.cwd() in folders
    except (psutil.Error, OSError):
        return False  # gone by now, or another user's


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def is_postgres(process: psutil.Process) -> bool:
    """Whether this is the database server or one of its children."""
    try:
        return process.name() == "postgres"
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int | None:
    """None where it has ended by now: nobody signals it then."""
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def end(processes: Iterable[psutil.Process], number: signal.Signals, timeout_s: float) -> list[psutil.Process]:
    """Signal the processes, wait, kill what is left; returns what even that did not end."""
    chosen = list(processes)
    for process in chosen:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(chosen, timeout=timeout_s)
    for process in alive:
        log.warning("platform.killed", pid=process.pid)
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return psutil.wait_procs(alive, timeout=5)[1]


def sweep(config: Settings) -> int:
    """End whatever of the platform still runs, the database last; returns how many processes that were."""
    ended = platform_processes(config)
    end([process for process in ended if not is_postgres(process)], signal.SIGTERM, 15)
    # The postmaster alone: it ends its children, and two signals to a child are a crash to it.
    servers = [process for process in platform_processes(config) if is_postgres(process)]
    masters = [process for process in servers if _parent(process) not in {other.pid for other in servers}]
    end(masters, signal.SIGINT, 60)
    end(platform_processes(config), signal.SIGKILL, 5)
    return len(ended)
