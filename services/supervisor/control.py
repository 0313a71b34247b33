"""Starting, watching and stopping the programs through supervisord."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx
import psutil
from supervisor.xmlrpc import SupervisorTransport

from dsdc.errors import SetupError
from dsdc.proxies import past_proxies
from dsdc.settings import Settings
from services.monitoring.configs import write_configs
from services.supervisor.config import MARKER, platform_mark, run_folder, socket_path, supervisor_config
from services.supervisor.ports import require_free
from services.supervisor.processes import record_session, session_file, sweep
from services.supervisor.programs import Program, programs

Tell = Callable[[str], None]
SUPERVISORD_TIMEOUT_S = 20.0
RUNNING = {"RUNNING", "STARTING"}
_ALREADY_STARTED, _NOT_RUNNING = 60, 70  # supervisor.xmlrpc.Faults


@dataclass(frozen=True)
class State:
    """A program as supervisord sees it: RUNNING, STARTING, STOPPED, BACKOFF, FATAL, …"""

    name: str
    state: str
    pid: int
    description: str


class Supervisor:
    """The platform's supervisord."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self.config_file = run_folder(config) / "supervisord.conf"

    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self.config)}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def alive(self) -> bool:
        """Whether supervisord answers."""
        try:
            return str(self._rpc().getState()["statename"]) == "RUNNING"
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False

    def states(self) -> dict[str, State]:
        """Every program by name; empty when supervisord does not run."""
        if not self.alive():
            return {}
        return {
            entry["name"]: State(entry["name"], entry["statename"], entry["pid"], entry["description"])
            for entry in self._rpc().getAllProcessInfo()
        }

    def clear_leftovers(self, tell: Tell) -> None:
        """End what a killed supervisord has left: it would hold the ports and the database."""
        if not self.alive() and (ended := sweep(self.config)):
            tell(f"Ended {ended} processes that an earlier run had left behind")

    def launch(self, chosen: Sequence[Program]) -> bool:
        """Start supervisord, with no program running; False when it runs already.

        Raises:
            SetupError: it did not start.
        """
        text = supervisor_config(self.config, chosen)
        if self.alive():
            return False
        self.config_file.write_text(text)
        write_configs(self.config)
        # The folders that programs write into exist before any of them runs.
        for name in ("airflow", "mlflow"):
            (self.config.root / "data" / name).mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ) | past_proxies(os.environ) | {MARKER: platform_mark(self.config)}
        command = [str(Path(sys.executable).with_name("supervisord")), "-c", str(self.config_file)]
        done = subprocess.run(
            command, cwd=self.config.root, env=environment, stdin=subprocess.DEVNULL, check=False, capture_output=True
        )
        if done.returncode or not _wait(self.alive, SUPERVISORD_TIMEOUT_S):
            raise SetupError(
                f"supervisord did not start: {done.stderr.decode(errors='replace').strip()[-400:]}",
                hint=f"Read {self.config.path('logs') / 'supervisord.log'}.",
            )
        record_session(self.config, int(self._rpc().getPID()))
        return True

    def is_current(self) -> bool:
        """Whether the running supervisord has the configuration that the settings call for now."""
        known = programs(self.config)
        return self.config_file.exists() and self.config_file.read_text() == supervisor_config(self.config, known)

    def start(self, names: Iterable[str]) -> None:
        """Start programs side by side; those that run already are left alone."""
        for name in names:
            try:
                self._rpc().startProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _ALREADY_STARTED:
                    raise SetupError(f"{name} cannot be started: {fault.faultString}.") from fault

    def stop(self, names: Iterable[str]) -> None:
        """Stop programs side by side, and wait for them."""
        wanted = set(names)
        for name in wanted:
            try:
                self._rpc().stopProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _NOT_RUNNING:
                    raise SetupError(f"{name} cannot be stopped: {fault.faultString}.") from fault
        _wait(lambda: not any(s.name in wanted and s.pid for s in self.states().values()), 60)

    def shut_down(self, tell: Tell) -> bool:
        """Stop everything, the database last, and leave no process behind; False when nothing ran."""
        ran = self.alive()
        if ran:
            names = [state.name for state in self.states().values() if state.pid]
            tell(f"Stopping {len(names)} programs")
            self.stop(name for name in names if name != "postgres")
            self.stop(name for name in names if name == "postgres")
            leader = psutil.Process(int(self._rpc().getPID()))
            self._rpc().shutdown()
            psutil.wait_procs([leader], timeout=30)
        left = sweep(self.config)
        if left:
            tell(f"Ended {left} processes that had been left behind")
        session_file(self.config).unlink(missing_ok=True)
        socket_path(self.config).unlink(missing_ok=True)
        return ran or left > 0


def _wait(ready: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def select(config: Settings, names: str = "") -> tuple[Program, ...]:
    """All programs, or those named in a comma-separated list.

    Raises:
        SetupError: a name is not known.
    """
    known = programs(config)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = set(wanted) - {program.name for program in known}
    if unknown:
        raise SetupError(
            f"No such program: {', '.join(sorted(unknown))}.",
            hint=f"There are {', '.join(program.name for program in known)}.",
        )
    return tuple(program for program in known if not wanted or program.name in wanted)


def check_ports(config: Settings, chosen: Sequence[Program]) -> None:
    """Every port of a program that does not run yet must be free.

    Raises:
        PortTaken: naming all that are not.
    """
    running = {state.name for state in Supervisor(config).states().values() if state.state in RUNNING}
    require_free(program.port for program in chosen if program.port and program.name not in running)


def is_well(program: Program, client: httpx.Client) -> bool:
    """Ask a program whether it is well; one without a health URL is well when its port is open."""
    if program.health is None:
        return program.port is None or _listens(program.port.number)
    try:
        answer = client.get(program.health.url)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(re.search(program.health.pattern, answer.text))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def wait_healthy(config: Settings, chosen: Sequence[Program], tell: Tell, timeout_s: float) -> None:
    """Wait until every program is well, telling about each as it comes.

    Raises:
        SetupError: one of them stopped for good, or time is up; ends with the last lines of its log.
    """
    supervisor = Supervisor(config)
    waiting = {program.name: program for program in chosen}
    started = time.monotonic()
    with httpx.Client(timeout=5, trust_env=False) as client:
        while waiting:
            for name in [name for name, program in waiting.items() if is_well(program, client)]:
                tell(f"{name} is well after {time.monotonic() - started:.0f} s")
                del waiting[name]
            lost = [s.name for s in supervisor.states().values() if s.state == "FATAL" and s.name in waiting]
            if lost or (waiting and time.monotonic() - started > timeout_s):
                raise SetupError(_obituary(config, lost or list(waiting), timed_out=not lost))
            time.sleep(0.5)


def _obituary(config: Settings, names: Sequence[str], *, timed_out: bool) -> str:
    parts = []
    for name in names:
        file = config.path("logs") / f"{name}.log"
        tail = file.read_text(errors="replace").splitlines()[-12:] if file.exists() else ["(no log)"]
        verb = "is still not well" if timed_out else "stops as soon as it starts"
        parts.append(f"{name} {verb}. The end of {file}:\n  " + "\n  ".join(tail))
    return "\n".join(parts)
