"""Named places where this process can be made to die, fail or wait, to prove that nothing is lost there.

    DSDC_FAILPOINTS="ingest.stored=kill@2;storage.drafted=nospace" dsdc ingest

Each entry is `name=action`, with `@n` only at the n-th time the place is reached. Actions: `kill` (SIGKILL to this
process), `exit` (at once, without cleaning up), `pause` (SIGSTOP: it stands still until SIGCONT), `raise` (a
`FailpointReached`), `nospace` (an OSError as of a full disk), `sleep:SECONDS`. Without the variable, reaching a place
costs one comparison.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dsdc.errors import SettingsError

VARIABLE = "DSDC_FAILPOINTS"
EXIT_STATUS = 86  # of the action `exit`: no other end of a process looks like it

#: Every place there is, in the order in which a document passes them.
NAMES = (
    "ingest.opened",  # a file of the inbox is open, nothing is read
    "storage.drafted",  # all bytes are in a draft, synced
    "storage.before_rename",  # the draft was found good
    "storage.renamed",  # the bytes have their name; the folder is not synced yet
    "ingest.stored",  # the bytes of a file are durable in the store
    "ingest.before_commit",  # the rows of a batch are written, not committed
    "ingest.committed",
    "ingest.before_unlink",  # of a batch's first file
    "ingest.unlinked",  # after each file of a batch
    "ingest.manifest_kept",  # a labels file has its copy and is still in the inbox
    "quarantine.copied",  # a refused file has its durable copy, and no row
    "quarantine.recorded",  # its row is committed; the original is still there
    "quarantine.before_delete",  # a refused document is about to leave the store
    "quarantine.before_discard",  # a released file is about to leave quarantine
    "forget.marked",  # a document is marked as forgotten, nothing of it is gone
    "forget.bytes_gone",  # its bytes are gone, its rows are not
    "forget.before_commit",  # its rows are deleted, not committed
    "worker.claimed",
    "worker.computed",  # results of a batch are there, none is recorded
    "worker.before_commit",  # their rows are written, not committed
    "worker.recorded",
    "batch.claimed",  # the prediction service has a document of a batch in its hands
    "batch.answered",  # its answer is committed, the document's end is not
    "batch.ended",  # its end is committed; its uploaded bytes are still there
    "once.made",  # what a request with an idempotency key asked for is there; the key does not say so yet
)


class FailpointReached(RuntimeError):
    """A failpoint with the action `raise` was reached."""


@dataclass
class _Trap:
    action: Callable[[], None]
    only: int | None
    times: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def spring(self) -> None:
        time_now = next(self.times)
        if self.only is None or time_now == self.only:
            self.action()


_traps: dict[str, _Trap] | None = None  # None: the variable has not been read yet


def reach(name: str) -> None:
    """Do what is asked for at this place; nothing, as a rule.

    Raises:
        SettingsError: DSDC_FAILPOINTS cannot be read.
    """
    if _traps is None:
        arm(os.environ.get(VARIABLE, ""))
    if not _traps:
        return
    if name not in NAMES:
        raise AssertionError(f"{name} is not in failpoints.NAMES")
    if (trap := _traps.get(name)) is not None:
        trap.spring()


def arm(specification: str) -> None:
    """Set the traps of this process, in place of those there were; an empty text sets none.

    Raises:
        SettingsError: an unknown name or action.
    """
    global _traps  # noqa: PLW0603
    _traps = dict(_parse(entry.strip()) for entry in specification.split(";") if entry.strip())


def _parse(entry: str) -> tuple[str, _Trap]:
    name, _, rest = entry.partition("=")
    action, _, only = rest.partition("@")
    if name not in NAMES:
        raise SettingsError(f"{VARIABLE}: there is no place {name!r}.", hint=f"Places: {', '.join(NAMES)}.")
    if only and not only.isdecimal():
        raise SettingsError(f"{VARIABLE}: {entry!r} has no number after @.")
    return name, _Trap(_action(name, action), int(only) if only else None)


def _action(name: str, text: str) -> Callable[[], None]:
    kind, _, value = text.partition(":")
    actions: dict[str, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(EXIT_STATUS),
        "pause": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "raise": lambda: _raise(FailpointReached(name)),
        "nospace": lambda: _raise(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    }
    try:
        return _sleep(float(value)) if kind == "sleep" else actions[text]
    except (KeyError, ValueError):
        raise SettingsError(
            f"{VARIABLE}: {text!r} is no action.", hint="Actions: kill, exit, pause, raise, nospace, sleep:SECONDS."
        ) from None


def _raise(error: Exception) -> None:
    raise error


def _sleep(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)
