"""Files through the inbox and the real stages, what became of each, and what it cost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import psutil
import pytest
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.pipeline.contract import StageReport
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet, configured
from dsdc.processors.sandbox import SandboxedRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.fake_processors import SmallEmbedder
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.processes import parsers_of
from tests.projects import forget_settings


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    `state` is `refused` for one that never became a document; `category` is that of the quarantine, or `partial`.
    """

    state: str
    category: str | None
    message: str | None
    media_type: str | None
    pages: tuple[int, ...]

    @property
    def brief(self) -> tuple[str, str | None, tuple[int, ...]]:
        return self.state, self.category, self.pages


class Passage:
    """A project whose documents go through the real engines, the embedder excepted."""

    def __init__(self, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
        self._engines = engines
        self._monkeypatch = monkeypatch
        self._arrived: list[str] = []
        self.configure(pipeline_backoff_s=0)

    def configure(self, **options: object) -> Settings:
        """Change settings: `parsing_page_cpu_s=2`."""
        for name, value in options.items():
            self._monkeypatch.setenv(f"DSDC_{name.upper()}", str(value))
        forget_settings()
        return settings()

    @property
    def assembly(self) -> Assembly:
        config = settings()
        processors = self._engines.of(config)
        return bind(config, processors, register(processors), open_storage(config))

    def bring(self, files: Mapping[str, bytes]) -> None:
        """Put files into the inbox and let them be taken."""
        for name, data in files.items():
            (settings().path("to_ingest") / name).write_bytes(data)
            self._arrived.append(sha256_of(data))
        ingest_inbox()

    def run(self, *stages: str) -> StageReport:
        """Work on these stages; the last one's report."""
        assembly = self.assembly
        return [run_stage(stage, assembly=assembly) for stage in stages][-1]

    def render(self, files: Mapping[str, bytes]) -> dict[str, Outcome]:
        """Bring files and render them; each one's outcome."""
        self.bring(files)
        self.run("render")
        return {name: self.outcome(data) for name, data in files.items()}

    def outcome(self, data: bytes) -> Outcome:
        sha256 = sha256_of(data)
        held = rows(
            f"SELECT category, message FROM rejected_documents WHERE sha256 = '{sha256}' AND released IS NULL"
            f" UNION ALL SELECT category, message FROM stage_attempts"
            f" WHERE input_id = '{sha256}' AND category = 'partial' AND stage = 'render'"
        )
        found = rows(f"SELECT state, media_type FROM original_documents WHERE id = '{sha256}'")
        state, media_type = found[0] if found else ("refused", None)
        category, message = held[0] if held else (None, None)
        pages = tuple(page for (page,) in rows(f"SELECT page FROM processed_images WHERE document_id = '{sha256}'"))
        return Outcome(state, category, message, media_type, tuple(sorted(pages)))

    def image(self, data: bytes, page: int = 1) -> bytes:
        """The stored picture of a page."""
        found = rows(
            f"SELECT image_file FROM processed_images WHERE document_id = '{sha256_of(data)}' AND page = {page}"
        )
        return open_storage(settings()).read(found[0][0])

    def check(self) -> None:
        """The invariant holds, fsck is content, and everything once more changes nothing."""
        with transaction() as session:
            open_work = text("SELECT count(*) FROM stage_attempts WHERE state IN ('pending', 'running')")
            assert session.execute(open_work).scalar() == 0
        report = self.run("render")
        assert (report.done, report.failed, report.retried) == (0, 0, 0)
        check_invariant(settings(), self._arrived)


class Engines:
    """Real processors, shared by the tests of a module: a child process takes half a second to start."""

    def __init__(self) -> None:
        self._made: dict[object, ProcessorSet] = {}

    def of(self, config: Settings) -> ProcessorSet:
        key = (config.render, config.parsing, config.ocr)
        if key not in self._made:
            self._made[key] = replace(configured(config), embedder=SmallEmbedder())
        return self._made[key]

    def close(self) -> None:
        for processors in self._made.values():
            assert isinstance(processors.renderer, SandboxedRenderer)
            processors.renderer._parsers.close()


class Watched:
    """Within, samples all processes below this one: `peak_mb` is the largest, and `names` are what ran.

    Servers that other tests of this process have left running do not count.
    """

    def __init__(self, every_s: float = 0.01) -> None:
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._started = time.monotonic()
        self._program: list[str] = []
        self._others: set[int] = set()
        self.peak_mb = 0
        self.own_growth_mb = 0
        self.seconds = 0.0
        self.names: set[str] = set()

    def __enter__(self) -> Watched:
        self._others = {process.pid for process in psutil.Process().children(recursive=True)}
        self._others -= {process.pid for process in parsers_of()}
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = time.monotonic() - self._started
        self._over.set()
        self._thread.join()

    def _go(self) -> None:
        me = psutil.Process(os.getpid())
        self._program = me.cmdline()
        before = me.memory_info().rss
        while not self._over.wait(self._every_s):
            self.own_growth_mb = max(self.own_growth_mb, (me.memory_info().rss - before) >> 20)
            for process in me.children(recursive=True):
                if process.pid not in self._others:
                    with suppress(psutil.Error):
                        self._note(process)

    def _note(self, process: psutil.Process) -> None:
        program = process.cmdline()
        # One that has not become its program yet still shares this process's memory; a dead one has no name.
        if program and program != self._program and "postgres" not in process.name():
            self.peak_mb = max(self.peak_mb, process.memory_info().rss >> 20)
            self.names.add(Path(process.exe()).name)


def render_here() -> None:
    """The render stage in this process, which a test may kill: `python -m tests.faults.passage`."""
    config = settings()
    processors = Engines().of(config)
    run_stage("render", assembly=bind(config, processors, register(processors), open_storage(config)))


if __name__ == "__main__":
    render_here()
