"""Is memory flat in pages? A very long PDF and a very long fax through the render stage, against short ones.

Each document is rendered by a worker process of its own (`dsdc process --stage render`), on a project and a database
that exist for this measurement only. Memory is the resident set, sampled: of the worker, and of the largest process
below it. Then each long document is rendered once more under another name, its worker is killed in the middle
(SIGKILL), and a second one goes on: which page it began with, and how many pages the dead one had drawn in vain.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A6
from reportlab.pdfgen.canvas import Canvas
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from dsdc.cli.console import Bars, bars, print_json, table
from dsdc.errors import PurposeFailed
from dsdc.settings import project_root, settings, write_secrets
from services.postgres.embedded import temporary_server

SHORT = 100
LEASE_S = 2
_SAMPLE_S = 0.02
_POLL_S = 0.1
_DSDC = str(Path(sys.executable).with_name("dsdc"))
_FRAME = (827, 1165)  # A6 at 200 dots an inch
_LINES = 24

# Pages are recorded in pieces; all of a piece have one time.
_SPEED = """
    SELECT count(*) FILTER (WHERE created > began) / extract(epoch FROM max(created) - min(began))
    FROM processed_images, (SELECT min(created) AS began FROM processed_images WHERE document_id = :document) AS first
    WHERE document_id = :document
"""
_PAGE_AFTER = "SELECT page FROM processed_images WHERE document_id = :document ORDER BY id OFFSET :before LIMIT 1"
_DOUBLES = "SELECT count(*) - count(DISTINCT page) FROM processed_images WHERE document_id = :document"


@dataclass
class Watch:
    """Peak resident memory of a process and of the largest one below it, in MB."""

    pid: int
    worker_mb: float = 0.0
    parser_mb: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _sample(self) -> None:
        with suppress(psutil.NoSuchProcess):
            worker = psutil.Process(self.pid)
            program = worker.cmdline()
            while not self._over.wait(_SAMPLE_S):
                self.worker_mb = max(self.worker_mb, _resident_mb(worker))
                for child in worker.children(recursive=True):
                    # A child that has not become its program yet still shares the worker's memory.
                    if _command(child) != program:
                        self.parser_mb = max(self.parser_mb, _resident_mb(child))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _resident_mb(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0


@dataclass(frozen=True)
class Whole:
    """One document rendered without interruption; `pages_a_second` from the first recorded page to the last."""

    document: str
    pages: int
    worker_mb: float
    parser_mb: float
    pages_a_second: float


@dataclass(frozen=True)
class Resumed:
    """One document whose worker was killed; `again`: pages that it had drawn and not recorded."""

    document: str
    pages: int
    recorded_before: int
    resumed_at: int
    again: int
    twice: int  # pages with more than one row, which is to be none
    worker_mb: float
    parser_mb: float


def run(
    pages: Annotated[int, typer.Option(min=200, help="Pages of the long PDF.")] = 10_000,
    frames: Annotated[int, typer.Option(min=200, help="Frames of the long TIFF.")] = 2_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Memory, speed and resumption of the render stage on very long documents."""
    makers: dict[str, tuple[Callable[[Path, int, str], None], int]] = {"PDF": (_pdf, pages), "TIFF": (_fax, frames)}
    whole: list[Whole] = []
    resumed: list[Resumed] = []
    with _bench() as bench, bars() as progress:
        for kind, (make, most) in makers.items():
            for count in (SHORT, most):
                whole.append(bench.whole(f"{count} {kind}", make, count, progress))
            resumed.append(bench.resumed(f"{most} {kind}, killed", make, most, progress))
    if as_json:
        print_json({"whole": [asdict(row) for row in whole], "resumed": [asdict(row) for row in resumed]})
    else:
        _print(whole, resumed)


def _print(whole: list[Whole], resumed: list[Resumed]) -> None:
    columns = ["document", "worker MB", "largest parser MB", "pages/s"]
    rows = [[w.document, *(f"{v:.0f}" for v in (w.worker_mb, w.parser_mb, w.pages_a_second))] for w in whole]
    table("Rendered whole", columns, rows)
    table(
        "Killed in the middle and gone on with",
        ["document", "recorded", "resumed at page", "drawn again", "rows twice", "worker MB", "largest parser MB"],
        [
            [r.document, r.recorded_before, r.resumed_at, r.again, r.twice, f"{r.worker_mb:.0f}", f"{r.parser_mb:.0f}"]
            for r in resumed
        ],
    )


@dataclass(frozen=True)
class _Bench:
    """A project with an empty database, for as long as it is needed."""

    root: Path
    env: Mapping[str, str]
    engine: Engine

    def whole(self, name: str, make: Callable[[Path, int, str], None], count: int, progress: Bars) -> Whole:
        document = self._bring(name, make, count)
        worker = self._worker()
        watch = self._watched(worker, name, document, count, progress)
        return Whole(name, count, watch.worker_mb, watch.parser_mb, float(self._ask(_SPEED, document)))

    def _watched(self, worker: subprocess.Popen[Any], name: str, document: str, count: int, progress: Bars) -> Watch:
        """Wait for a worker that is to record all pages; gives what was seen of its memory."""
        watch = Watch(worker.pid)
        with watch.sampling():
            while worker.poll() is None:
                time.sleep(_POLL_S)
                progress.step(name, done := self._recorded(document), count - done)
        self._require(worker, document, count)
        return watch

    def resumed(self, name: str, make: Callable[[Path, int, str], None], count: int, progress: Bars) -> Resumed:
        document = self._bring(name, make, count)
        already = self._drawn()
        first = self._worker()
        while self._recorded(document) < count // 2:
            if first.poll() is not None:
                raise PurposeFailed(f"The worker ended before it was killed (status {first.returncode}).")
            time.sleep(_POLL_S)
        first.kill()
        first.wait()
        before, drawn = self._recorded(document), self._drawn() - already
        time.sleep(LEASE_S + 0.5)
        second = self._worker()
        watch = self._watched(second, name, document, count, progress)
        return Resumed(
            name,
            count,
            recorded_before=before,
            resumed_at=self._first_of_second(document, before),
            again=drawn - before,
            twice=int(self._ask(_DOUBLES, document)),
            worker_mb=watch.worker_mb,
            parser_mb=watch.parser_mb,
        )

    def _bring(self, name: str, make: Callable[[Path, int, str], None], count: int) -> str:
        """Make a document, take it into the store; its id."""
        make(self.root / "data" / "to_ingest" / name, count, name)
        subprocess.run([_DSDC, "ingest"], env=self.env, check=True, capture_output=True)
        return str(self._ask("SELECT document_id FROM sightings WHERE name = :document", name))

    def _worker(self) -> subprocess.Popen[bytes]:
        command = [_DSDC, "process", "--stage", "render"]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _require(self, worker: subprocess.Popen[bytes], document: str, count: int) -> None:
        found = self._recorded(document)
        if worker.returncode or found != count:
            raise PurposeFailed(f"The worker ended with status {worker.returncode}, and {found} of {count} pages.")

    def _recorded(self, document: str) -> int:
        return int(self._ask("SELECT count(*) FROM processed_images WHERE document_id = :document", document))

    def _drawn(self) -> int:
        """Page images in the store, recorded or not; all pages differ."""
        return sum(1 for _ in (self.root / "data" / "processed").glob("??/??/*"))

    def _first_of_second(self, document: str, before: int) -> int:
        return int(self._ask(_PAGE_AFTER, document, before=before))

    def _ask(self, query: str, document: str, **parameters: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query), {"document": document, **parameters}).scalar()


@contextmanager
def _bench() -> Iterator[_Bench]:
    with tempfile.TemporaryDirectory(prefix="dsdc-benchmark-") as folder, temporary_server() as server:
        root = empty_project(Path(folder))
        url = server.url("dsdc").render_as_string(hide_password=False)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DSDC_")}
        env = kept | {
            "DSDC_DIR": str(root),
            "DSDC_DATABASE_URL": url,
            "DSDC_DATABASE_LEAST_PRIVILEGE": "false",
            "DSDC_INGEST_QUIET_S": "0",
            "DSDC_PIPELINE_CLAIM_LEASE_S": str(LEASE_S),
            "DSDC_PATHS_MODELS": str(settings().path("models")),
        }
        subprocess.run([_DSDC, "db", "setup"], env=env, check=True, capture_output=True)
        engine = create_engine(url)
        try:
            yield _Bench(root, env, engine)
        finally:
            engine.dispose()


def empty_project(root: Path) -> Path:
    """An empty project with this one's configuration."""
    here = project_root()
    for name in (".dsdc_project_root", "config.yaml", "config.local.yaml", ".secrets.template"):
        if (here / name).exists():
            shutil.copy(here / name, root / name)
    for name in ("to_ingest", "raw", "processed", "rejected"):
        (root / "data" / name).mkdir(parents=True)
    (root / "logs").mkdir()
    write_secrets(root)
    return root


def _pdf(path: Path, count: int, name: str) -> None:
    """A PDF of small pages of text, each with its number."""
    canvas = Canvas(str(path), pagesize=A6, pageCompression=1)
    for page in range(1, count + 1):
        canvas.setFont("Helvetica", 9)
        for line in range(_LINES):
            canvas.drawString(30, 380 - 14 * line, f"{name}: page {page}, line {line} of {_LINES}")
        canvas.showPage()
    canvas.save()


def _fax(path: Path, count: int, name: str) -> None:
    """A TIFF of G4 frames with the same text."""
    font = ImageFont.load_default(26)

    def frame(page: int) -> Image.Image:
        image = Image.new("1", _FRAME, 1)
        draw = ImageDraw.Draw(image)
        for line in range(_LINES):
            draw.text((80, 60 + 40 * line), f"{name}: page {page}, line {line} of {_LINES}", 0, font)
        return image

    frames = (frame(page) for page in range(2, count + 1))
    frame(1).save(path, "TIFF", save_all=True, append_images=frames, compression="group4", dpi=(200, 200))
