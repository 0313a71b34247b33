"""Which ports the platform needs, and who sits on one that is not free."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from dsdc.errors import PortTaken

# Below those that the kernel gives to outgoing connections by itself (Linux: from 32768 on, others: from 49152 on), any
# of which may be in use by the time that a server comes to listen.
_UNASSIGNED = range(20_000, 32_000)
_given: set[int] = set()


@dataclass(frozen=True)
class Port:
    """A TCP port on loopback; `setting` is its key in config.yaml, such as `airflow.port`."""

    number: int
    setting: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "DSDC_" + self.setting.replace(".", "_").upper()


def is_free(number: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def holder(number: int) -> str | None:
    """`name (pid n)` of the program that listens on the port, where this user may know it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == number
            and connection.pid
        ):
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def free_port() -> int:
    """A port that is free now, and another one at each call in this process."""
    while (number := secrets.choice(_UNASSIGNED)) in _given or not is_free(number):
        pass
    _given.add(number)
    return number


def require_free(ports: Iterable[Port]) -> None:
    """Check all ports and name every one that is taken.

    Raises:
        PortTaken: with the setting, and the program where it can be known.
    """
    taken = [port for port in ports if not is_free(port.number)]
    if not taken:
        return
    lines = [
        f"{port.number} ({port.setting}) by {holder(port.number) or 'a program of another user'}" for port in taken
    ]
    settings = ", ".join(f"{port.setting} ({port.variable})" for port in taken)
    raise PortTaken(
        f"Taken: port {'; port '.join(lines)}.",
        hint=f"Stop that program, or set another port in config.local.yaml: {settings}.",
    )
