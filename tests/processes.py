"""What other processes do while a test looks: one that ends between two looks has ended, no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")


def asked(process: psutil.Process, what: Callable[[psutil.Process], T], otherwise: T) -> T:
    """What the process says, or `otherwise` where there is nobody any more to say it."""
    try:
        return what(process)
    except psutil.NoSuchProcess:
        return otherwise


def lives(pid: int) -> bool:
    """Asked without taking its exit status away from whoever has started it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def parsers_of(pid: int | None = None) -> list[psutil.Process]:
    """The parsing children of this process, or of another one."""
    children = psutil.Process(pid).children()
    return [child for child in children if "dsdc.processors.sandbox.child" in asked(child, lambda p: p.cmdline(), [])]
