"""Documents of many pages: interrupted in the middle, gone on with where they stopped; or refused as a whole."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.pipeline.stages.render import PIECE
from dsdc.pipeline.worker import run_stage
from dsdc.processors.contract import DamagedPage, EncodedPage
from dsdc.processors.sandbox import SandboxedRenderer
from dsdc.settings import settings
from dsdc.storage import open_storage
from tests.faults.documents import email, fax, numbered_pdf
from tests.faults.invariant import rows, sha256_of
from tests.faults.passage import Engines, Passage
from tests.processes import parsers_of
from tests.projects import ROOT

LEASE_S = 2
LONG: dict[str, tuple[Callable[[], bytes], int]] = {
    "pdf": (lambda: numbered_pdf(300), 300),
    "tiff": (lambda: fax(200, size=(96, 240)), 200),
}


class Noting(SandboxedRenderer):
    """Remembers which page it was asked to begin with."""

    asked: list[int]

    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
        self.asked.append(first)
        return super().pages(source, media_type, first=first)


def noting(engines: Engines) -> tuple[Assembly, list[int]]:
    config = settings()
    processors = engines.of(config)
    assert isinstance(processors.renderer, SandboxedRenderer)
    renderer = Noting(config.render, processors.renderer._parsers)
    renderer.asked = []
    processors = replace(processors, renderer=renderer)
    return bind(config, processors, register(processors), open_storage(config)), renderer.asked


def recorded() -> int:
    return rows("SELECT count(*) FROM processed_images")[0][0]


def killed_worker(after_pieces: int) -> None:
    """A worker process of its own, ended by SIGKILL when it has recorded so many pieces; its parsers end with it."""
    env = os.environ | {"DSDC_FAILPOINTS": f"worker.recorded=pause@{after_pieces}"}
    worker = subprocess.Popen([sys.executable, "-m", "tests.faults.passage"], cwd=ROOT, env=env)
    assert os.WIFSTOPPED(os.waitpid(worker.pid, os.WUNTRACED)[1])
    parsers = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert parsers
    assert psutil.wait_procs(parsers, timeout=60)[1] == []


@pytest.mark.parametrize("kind", LONG)
def test_a_long_document_is_gone_on_with_where_its_dead_worker_stopped(
    passage: Passage, engines: Engines, kind: str
) -> None:
    passage.configure(pipeline_claim_lease_s=LEASE_S)
    make, total = LONG[kind]
    data = make()
    passage.bring({"long": data})
    pieces = total // 3 // PIECE
    killed_worker(pieces)
    before = recorded()
    assert before == pieces * PIECE
    time.sleep(LEASE_S + 0.2)  # nobody else may touch it before
    assembly, asked = noting(engines)
    assert run_stage("render", assembly=assembly).done == 1
    assert asked == [before + 1]
    assert rows("SELECT page FROM processed_images ORDER BY page") == [(n,) for n in range(1, total + 1)]
    assert rows("SELECT state, attempts, crashes FROM stage_attempts WHERE stage = 'render'") == [("done", 2, 1)]
    assert rows("SELECT page_count FROM original_documents") == [(total,)]
    assert rows("SELECT count(DISTINCT image_sha256) FROM processed_images") == [(total,)]
    for page in (1, before, before + 1, total):
        image = Image.open(io.BytesIO(passage.image(data, page)))
        if kind == "tiff":
            assert int((~np.asarray(image)).any(axis=1).sum()) == page
    passage.check()


def test_a_parser_that_is_killed_in_the_middle_costs_an_attempt_and_no_page(passage: Passage, engines: Engines) -> None:
    passage.bring({"long.pdf": numbered_pdf(120)})

    class Killing(Noting):
        def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
            for page in super().pages(source, media_type, first=first):
                if page.page == 70 and first == 1:
                    for child in parsers_of():
                        child.kill()
                yield page

    config = settings()
    processors = engines.of(config)
    renderer = Killing(config.render, processors.renderer._parsers)  # type: ignore[attr-defined]
    renderer.asked = []
    processors = replace(processors, renderer=renderer)
    assembly = bind(config, processors, register(processors), open_storage(config))
    report = run_stage("render", assembly=assembly)
    assert (report.done, report.retried, report.failed) == (1, 1, 0)
    assert len(renderer.asked) == 2
    assert renderer.asked[1] % PIECE == 1
    assert rows("SELECT page FROM processed_images ORDER BY page") == [(n,) for n in range(1, 121)]
    passage.check()


def test_a_document_over_the_limit_is_refused_and_never_cut(passage: Passage) -> None:
    passage.configure(render_max_pages=20)
    files = {
        "fits.pdf": numbered_pdf(20),
        "over.pdf": numbered_pdf(21),
        "fits.tif": fax(20),
        "over.tif": fax(21),
        "over.eml": email(b"a line of a long letter\r\n" * 60 * 21),
    }
    found = passage.render(files)
    whole, refused = ("stored", None, tuple(range(1, 21))), ("rejected", "too_large", ())
    assert [one.brief for one in found.values()] == [whole, refused, whole, refused, refused]
    for name in ("over.pdf", "over.tif", "over.eml"):
        assert "render.max_pages" in (found[name].message or "")
        assert "Split it" in (found[name].message or "")
    assert "21 pages" in (found["over.pdf"].message or "")
    assert {sha for (sha,) in rows("SELECT DISTINCT document_id FROM processed_images")} == {
        sha256_of(files["fits.pdf"]),
        sha256_of(files["fits.tif"]),
    }
    passage.check()
