"""Whole runs of ingest and process in processes of their own, on a server of their own, and what they leave behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from dsdc.settings import Settings, settings
from services.postgres.embedded import EmbeddedServer
from tests.projects import ROOT, admin, forget_settings, make_project

DSDC = str(Path(sys.executable).with_name("dsdc"))

#: The full sizes take minutes; without this variable the same tests run small.
FULL = os.environ.get("DSDC_FAULTS") == "full"


class Site:
    """A project with a database of its own on a server; its commands run as processes."""

    def __init__(self, root: Path, url: URL, **options: str) -> None:
        self.root = root
        self.url = url.set(drivername="postgresql+psycopg2")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("DSDC_")} | {
            "DSDC_DIR": str(root),
            "DSDC_DATABASE_URL": self.url.render_as_string(hide_password=False),
            "DSDC_DATABASE_LEAST_PRIVILEGE": "false",
            "DSDC_INGEST_QUIET_S": "0",
            "DSDC_PARSING_PROCESSES": "2",
            "DSDC_LOGGING_FORMAT": "json",
            **options,
        }

    @contextmanager
    def here(self) -> Iterator[Settings]:
        """This process's settings are the site's."""
        before = dict(os.environ)
        os.environ.update({key: value for key, value in self.env.items() if key.startswith("DSDC_")})
        forget_settings()
        try:
            yield settings()
        finally:
            os.environ.clear()
            os.environ.update(before)
            forget_settings()

    def start(self, *command: str, prefix: Sequence[str] = (), **extra: str) -> subprocess.Popen[str]:
        """A `dsdc` command in a process group of its own; its log goes to a file of the site."""
        with (self.root / "logs" / f"{command[0]}.log").open("a") as log:
            return subprocess.Popen(
                [*prefix, DSDC, "-v", *command],
                env=self.env | extra,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def run(self, *command: str, **extra: str) -> int:
        return self.start(*command, **extra).wait(timeout=900)

    def query(self, statement: str) -> list[Any]:
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(statement)))
        finally:
            engine.dispose()

    def bring(self, files: Sequence[Path]) -> None:
        """Copy files into the inbox, whole at once."""
        inbox = self.root / "data" / "to_ingest"
        for file in files:
            draft = inbox / f".{file.name}"
            shutil.copy(file, draft)
            draft.replace(inbox / file.name)

    def log_tail(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted((self.root / "logs").glob("*.log")))

    def state(self) -> dict[str, Any]:
        """Everything that a run leaves behind, without what depends on time, order or numbering."""
        documents = self.query("SELECT id, state, page_count, original_name FROM original_documents ORDER BY id")
        pages = self.query("SELECT document_id, page, image_sha256 FROM processed_images ORDER BY 1, 2")
        texts = self.query(
            "SELECT t.document_id, t.page, t.raw_text, t.extraction, c.processed_text FROM raw_texts t"
            " LEFT JOIN processed_texts c ON c.raw_text_id = t.id ORDER BY 1, 2"
        )
        ends = self.query("SELECT stage, state, coalesce(category, ''), count(*) FROM stage_attempts GROUP BY 1, 2, 3")
        sightings = self.query("SELECT document_id, source, name, count(*) FROM sightings GROUP BY 1, 2, 3")
        rejected = self.query("SELECT sha256, category FROM rejected_documents ORDER BY 1")
        return {
            "documents": [tuple(row) for row in documents],
            "pages": [tuple(row) for row in pages],
            "texts": [tuple(row) for row in texts],
            "attempts": sorted(tuple(row) for row in ends),
            "sightings": sorted(tuple(row) for row in sightings),
            "rejected": [tuple(row) for row in rejected],
        }

    def vectors(self) -> dict[tuple[str, int, str], np.ndarray]:
        """(document, page, image or text) -> vector."""
        rows = self.query(
            "SELECT coalesce(i.document_id, t.document_id), coalesce(i.page, t.page),"
            " CASE WHEN i.id IS NULL THEN 'text' ELSE 'image' END, e.embedding::text FROM embeddings e"
            " LEFT JOIN processed_images i ON i.id = e.processed_image_id"
            " LEFT JOIN processed_texts c ON c.id = e.processed_text_id LEFT JOIN raw_texts t ON t.id = c.raw_text_id"
        )
        return {(row[0], row[1], row[2]): np.array(json.loads(row[3])) for row in rows}


def same_vectors(one: Site, other: Site) -> bool:
    """The same ones, to the last digits that the composition of a batch decides."""
    here, there = one.vectors(), other.vectors()
    return here.keys() == there.keys() and all(float(here[key] @ there[key]) > 0.9999 for key in here)


def make_site(folder: Path, server: URL, name: str, **options: str) -> Site:
    """A project whose database is set up; CLIP's weights are those of the checkout."""
    root = folder / name
    root.mkdir()
    make_project(root, ocr_engine="tesseract")
    (root / "models" / "clip").symlink_to(ROOT / "models" / "clip")
    site = Site(root, server.set(database=f"dsdc_{name}_{uuid.uuid4().hex[:8]}"), **options)
    assert site.run("db", "setup") == 0, site.log_tail()
    return site


def finish(site: Site, *, workers: int = 1, attempts: int = 30, **extra: str) -> int:
    """Ingest and process until both end well, as a scheduler would; returns the number of processes that it took."""
    started = 0
    for command in ("ingest", "process"):
        for _ in range(attempts):
            running = [site.start(command, **extra) for _ in range(workers if command == "process" else 1)]
            started += len(running)
            if {process.wait(timeout=900) for process in running} == {0}:
                break
        else:
            raise AssertionError(f"{command} never ended well:\n{site.log_tail()}")
    return started


class Restarts:
    """A thread that takes the database server down and up again at random moments."""

    def __init__(self, server: EmbeddedServer, seed: int, *, every_s: tuple[float, float] = (0.5, 5.0)) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._every = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._count = 0
        self._error: Exception | None = None

    def __enter__(self) -> Restarts:
        # A test server answers before a commit is on disk; one that is to lose its power may not.
        admin(self._server.url(), f'ALTER ROLE "{self._server.owner}" SET synchronous_commit = on')
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def count(self) -> int:
        """How often so far; raises what has put an end to it."""
        if self._error is not None:
            raise self._error
        return self._count

    def _go(self) -> None:
        try:
            self._restart()
        except Exception as error:  # noqa: BLE001 - a thread's errors are nobody's: whoever counts gets it
            self._error = error

    def _restart(self) -> None:
        while not self._over.wait(self._random.uniform(*self._every)):
            if self._random.random() < 0.5:
                self._crash()
            self._server.stop()
            self._over.wait(self._random.uniform(0, 1.0))
            self._server.start()
            self._count += 1

    def _crash(self) -> None:
        """As after a power cut: no goodbye to anybody, recovery at the next start."""
        pid = self._server.pid
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            time.sleep(0.1)
