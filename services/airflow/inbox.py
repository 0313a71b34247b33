"""A trigger that tells Airflow when files have arrived in `data/to_ingest`.

Airflow's own file triggers either fire for one fixed name and delete it (the bytes would be gone before they are
stored), or cannot drive an asset. This one only looks; taking the files is the work of the run that it starts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

#: path inside the inbox -> (bytes, mtime in ns)
Listing = dict[str, tuple[int, int]]


class InboxTrigger(BaseEventTrigger):
    """Fires once for each batch of arrivals, when the folder has stood still from one look to the next.

    A copy that never pauses is reported every `patience_s`, so that an hour of copying starts runs by the minute and
    not one every few seconds. After a restart of the triggerer, files that are still there are reported once more:
    an extra run that finds nothing to do is harmless, a batch that nobody heard of is not.

    Args:
        poll_s: seconds between two looks; should not be less than `ingest.quiet_s`.
        patience_s: the longest wait for a folder that never stands still.
        folder: what to watch; empty for `paths.to_ingest` of the settings, read in the triggerer.
    """

    def __init__(self, poll_s: float = 5.0, patience_s: float = 60.0, folder: str = "") -> None:
        super().__init__()
        self.poll_s = poll_s
        self.patience_s = patience_s
        self.folder = folder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Import path and arguments, from which the triggerer makes it again."""
        arguments = {"poll_s": self.poll_s, "patience_s": self.patience_s, "folder": self.folder}
        return "services.airflow.inbox.InboxTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, compare, fire; for as long as the triggerer lives."""
        folder = Path(self.folder) if self.folder else await asyncio.to_thread(_inbox)
        arrivals = Arrivals(self.patience_s)
        while True:
            started = time.monotonic()
            found = arrivals.look(await asyncio.to_thread(listing, folder), started)
            if found:
                self.log.info("inbox.arrivals folder=%s files=%d", folder, found)
                yield TriggerEvent({"files": found})
            # A folder so full that listing it takes long is not listed all the time.
            await asyncio.sleep(max(self.poll_s, 10 * (time.monotonic() - started)))


class Arrivals:
    """Decides from one listing to the next whether a batch is complete."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._reported: Listing = {}
        self._last: Listing = {}
        self._waiting_since: float | None = None

    def look(self, now_there: Listing, now_s: float) -> int:
        """Number of new files if it is time to report them, else 0. `now_s` is any clock that does not go back."""
        fresh = {path for path, state in now_there.items() if self._reported.get(path) != state}
        still, self._last = now_there == self._last, now_there
        if not fresh:
            self._waiting_since = None
            return 0
        if self._waiting_since is None:
            self._waiting_since = now_s
        if not still and now_s - self._waiting_since < self._patience_s:
            return 0
        self._reported, self._waiting_since = now_there, None
        return len(fresh)


def listing(folder: Path) -> Listing:
    """The files under `folder` but hidden ones; empty when the folder is not there."""
    found: Listing = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118  (str paths: a tenth of the time of Path on large folders)
            if not name.startswith(".") and (state := _state(path)) is not None:
                found[os.path.relpath(path, folder)] = state
    return found


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:  # taken between the listing and now
        return None
    return status.st_size, status.st_mtime_ns


def _inbox() -> Path:
    from dsdc.settings import settings

    return settings().path("to_ingest")
