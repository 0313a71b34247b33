"""Child processes that parse: started when needed, used again, replaced when they die or grow old."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import psutil

import dsdc
from dsdc.errors import ParserDied, ParserKilled, TookTooLong
from dsdc.processors.sandbox import protocol
from dsdc.processors.sandbox.limits import environment
from dsdc.settings import Ocr, Parsing, Render

#: Signals that come from outside: from somebody, or from a kernel that is out of memory. All others are the code's own.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


_HEAVY_BYTES = 1 << 30  # a child that reads has some 450 MB, most of it for what recognises lines


class Parsers:
    """At most `parsing.processes` children at work at once; safe to share between threads."""

    def __init__(self, parsing: Parsing, render: Render, ocr: Ocr) -> None:
        self._parsing = parsing
        limits = {"parsing": parsing.model_dump(), "render": render.model_dump(), "ocr": ocr.model_dump()}
        self._start: dict[str, Any] = limits | {"warm": False}
        self._free = threading.BoundedSemaphore(parsing.at_once)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._broken_off = False
        self._lock = threading.RLock()  # a signal's handler may come while its own thread has it
        weakref.finalize(self, _end_all, self._idle)

    @property
    def at_once(self) -> int:
        return self._parsing.at_once

    def ask(self, request: dict[str, Any], *, patience_s: float = 0) -> Iterator[protocol.Message]:
        """The answers to one request, as they come.

        A process that somebody kills before it has answered is no fault of the document: another is asked, once.

        Args:
            request: `kind`, and what that kind of work needs.
            patience_s: seconds that one answer may take beyond `parsing.page_wall_s`.

        Raises:
            DocumentError: as the parser found it; TookTooLong beyond the limits.
            ParserDied: the process ended, or its code failed; the same may go well the next time.
            StorageError: the file is not there, or no space is left.
        """
        answered = False
        for last in (False, True):
            try:
                with self._child() as child:
                    for answer in child.ask(request, self._parsing.page_wall_s + patience_s):
                        answered = True
                        yield answer
            except ParserKilled:
                if answered or last:
                    raise
            else:
                return

    def keep_warm(self) -> None:
        """Start all children now, engines loaded, and another for each that ends: no request waits for a start."""
        with self._lock:
            self._start["warm"] = True
            self._refill()

    def break_off(self) -> None:
        """Kill what is at work, for good: whoever waits for an answer, now or later, gets ParserDied.

        From any thread, or a signal's handler.
        """
        with self._lock:
            self._broken_off = True
            for child in self._busy:
                child.kill()

    def close(self) -> None:
        """End the idle children, and keep none warm from now on."""
        with self._lock:
            self._start["warm"] = False
        _end_all(self._idle)

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        with self._free:
            with self._lock:
                child = self._borrow()
                self._busy.add(child)
                if self._broken_off:
                    child.kill()
            try:
                yield child
            finally:
                with self._lock:
                    self._busy.discard(child)
                if child.fit and child.answered < self._parsing.recycle_pages and not child.heavy:
                    with self._lock:
                        self._idle.append(child)
                else:
                    child.end()
                self._refill()

    def _refill(self) -> None:
        """Warm ones in place of those that have ended; where none can be started now, the next request tries again."""
        with self._lock, suppress(OSError):
            if not self._start["warm"] or self._broken_off:
                return
            for child in [child for child in self._idle if not child.alive]:
                self._idle.remove(child)
                child.end()
            while len(self._idle) + len(self._busy) < self.at_once:
                self._idle.insert(0, _Child(self._start))  # those that are ready already come first

    def _borrow(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            child.end()
        return _Child(self._start)


def _end_all(idle: list[_Child]) -> None:
    while idle:
        idle.pop().end()


class _Child:
    """One process. `fit` between requests; one that was left in the middle of an answer is not."""

    def __init__(self, start: dict[str, Any]) -> None:
        package = Path(dsdc.__file__).resolve().parent.parent
        # Of its own, so that what a child leaves behind that is killed goes with it.
        self._folder = tempfile.TemporaryDirectory(prefix="dsdc-parser-", ignore_cleanup_errors=True)
        # A session of its own: signals meant for the worker's group leave it to finish its page.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dsdc.processors.sandbox.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
            env=environment() | {"PYTHONPATH": str(package), "TMPDIR": self._folder.name},
            start_new_session=True,
        )
        self._pipes = cast("tuple[IO[bytes], IO[bytes]]", (self._process.stdin, self._process.stdout))
        self._requests, self._answers = (pipe.fileno() for pipe in self._pipes)
        self.answered = 0
        self.fit = True
        protocol.write(self._requests, start)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def heavy(self) -> bool:
        """Whether a document made it so big that it should not wait idly for the next one."""
        try:
            return bool(psutil.Process(self._process.pid).memory_info().rss > _HEAVY_BYTES)
        except psutil.Error:
            return True

    def ask(self, request: dict[str, Any], patience_s: float) -> Iterator[protocol.Message]:
        self.fit = False
        try:
            protocol.write(self._requests, request)
            while True:
                header, data = protocol.read(self._answers, timeout_s=patience_s)
                self.answered += 1
                if header.get("end"):
                    self.fit = True
                    return
                if "error" in header and "damaged" not in header:
                    self.fit = header["error"] not in ("ParserDied", "TooLarge")
                    raise protocol.revive(header)
                yield header, data
        except TookTooLong:
            raise _too_long(f"nothing came within {patience_s:g} s") from None
        except (EOFError, BrokenPipeError):
            raise self._verdict() from None

    def _verdict(self) -> TookTooLong | ParserDied:
        """Why a process ended: by its limit of processor time, or otherwise."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return _too_long("parsing.page_cpu_s was used up")
        kind = ParserKilled if -code in _FROM_OUTSIDE else ParserDied
        ending = signal.Signals(-code).name if code < 0 else f"status {code}"
        return kind(f"The process that read the document ended ({ending}).")

    def kill(self) -> None:
        """With whatever it started."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, and close the pipes."""
        self.kill()
        self._process.wait()
        for pipe in self._pipes:
            with suppress(BrokenPipeError):
                pipe.close()
        self._folder.cleanup()


def _too_long(detail: str) -> TookTooLong:
    return TookTooLong(
        f"A page took too long to read ({detail}).",
        hint="Print the document to a new, simpler PDF, or raise parsing.page_cpu_s in config.local.yaml.",
    )
