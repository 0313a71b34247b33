"""Child processes that parse: what they may, what becomes of hostile documents, and what is left when they die."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw
from reportlab.pdfgen import canvas

from dsdc.errors import BytesMissing, CorruptFile, ParserDied, StorageError, TookTooLong, TooLarge
from dsdc.processors.contract import DamagedPage, EncodedPage, PageSource, PageText
from dsdc.processors.ocr import PageReader
from dsdc.processors.render import PageRenderer
from dsdc.processors.sandbox import Parsers, SandboxedReader, SandboxedRenderer, protocol
from dsdc.settings import Ocr, Parsing, Render
from tests.processes import parsers_of

PDF = "application/pdf"


@pytest.fixture
def parsers() -> Iterator[Callable[..., Parsers]]:
    made: list[Parsers] = []

    def make(**limits: int) -> Parsers:
        made.append(Parsers(Parsing(**limits), Render(dpi=72), Ocr()))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def pdf(path: Path, pages: int = 3) -> Path:
    drawing = canvas.Canvas(str(path), invariant=True)
    for number in range(1, pages + 1):
        drawing.setFont("Helvetica", 30)
        drawing.drawString(100, 500, f"Page number {number} of this document")
        drawing.showPage()
    drawing.save()
    return path


def exponential_pdf(path: Path) -> Path:
    """Page 1 and 3 are harmless; page 2 draws a form that draws another twice, thirty levels deep."""
    depth = 30
    forms = {
        10 + n: b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F %d 0 R>>>>/Length 10>>"
        b"stream\n/F Do /F Do\nendstream" % (11 + n)
        for n in range(depth)
    }
    forms[10 + depth] = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Length 11>>stream\n0 0 9 9 re f\nendstream"
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R]/Count 3/MediaBox[0 0 200 200]>>",
        3: b"<</Type/Page/Parent 2 0 R>>",
        4: b"<</Type/Page/Parent 2 0 R/Contents 6 0 R/Resources<</XObject<</F 10 0 R>>>>>>",
        5: b"<</Type/Page/Parent 2 0 R>>",
        6: b"<</Length 5>>stream\n/F Do\nendstream",
    } | forms
    out, offsets = b"%PDF-1.7\n", {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    path.write_bytes(out + b"trailer\n<</Size 99/Root 1 0 R>>\n%%EOF\n")
    return path


def renderer(pool: Parsers) -> SandboxedRenderer:
    return SandboxedRenderer(Render(dpi=72), pool)


def test_a_child_gives_the_same_bytes_and_is_used_again(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    source, pool = pdf(tmp_path / "a.pdf"), parsers()
    here, there = PageRenderer(Render(dpi=72)), renderer(pool)
    assert list(there.pages(source, PDF)) == list(here.pages(source, PDF))
    first = parsers_of()
    assert [page.page for page in there.pages(source, PDF, first=3)] == [3]
    assert there.page_count(source, PDF) == 3
    assert [child.pid for child in parsers_of()] == [child.pid for child in first]
    assert (there.name, there.version, there.params_hash) == (here.name, here.version, here.params_hash)


def test_errors_come_across_with_their_kind_and_their_hint(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing of the kind")
    with pytest.raises(CorruptFile) as here:
        PageRenderer(Render()).page_count(tmp_path / "bad.pdf", PDF)
    with pytest.raises(CorruptFile) as there:
        renderer(parsers()).page_count(tmp_path / "bad.pdf", PDF)
    assert (there.value.message, there.value.hint) == (here.value.message, here.value.hint)


def test_a_page_that_takes_for_ever_is_damaged_and_the_others_are_had(
    parsers: Callable[..., Parsers], tmp_path: Path
) -> None:
    source = exponential_pdf(tmp_path / "deep.pdf")
    started = time.monotonic()
    pages = list(renderer(parsers(page_cpu_s=2)).pages(source, PDF))
    assert time.monotonic() - started < 60
    assert [page.page for page in pages] == [1, 2, 3]
    assert [isinstance(page, DamagedPage) for page in pages] == [False, True, False]
    assert isinstance(pages[1], DamagedPage)
    assert isinstance(pages[1].error, TookTooLong)


def test_one_that_says_nothing_is_ended_by_the_clock(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    source = exponential_pdf(tmp_path / "deep.pdf")
    for wall_s in (2, 10, 30):  # a child has no longer to start than to read, and a machine may be slow
        pool, pages = parsers(page_wall_s=wall_s), []
        with suppress(TookTooLong):
            pages = list(renderer(pool).pages(source, PDF))
        if [isinstance(page, DamagedPage) for page in pages] == [False, True, False]:
            break
        pool.close()
    assert [isinstance(page, DamagedPage) for page in pages] == [False, True, False]
    assert isinstance(pages[1], DamagedPage)
    assert f"nothing came within {wall_s} s" in pages[1].error.message
    assert len(parsers_of()) == 1


def test_what_needs_more_memory_than_allowed_is_refused_and_costs_this_process_nothing(
    parsers: Callable[..., Parsers], tmp_path: Path
) -> None:
    side = 9000
    Image.fromarray(np.zeros((side, side, 4), dtype=np.uint8)).save(tmp_path / "big.png", compress_level=1)
    before = psutil.Process().memory_info().rss
    (page,) = renderer(parsers(memory_mb=700)).pages(tmp_path / "big.png", "image/png")
    assert isinstance(page, DamagedPage)
    assert isinstance(page.error, TooLarge)
    assert "parsing.memory_mb" in page.error.message
    assert psutil.Process().memory_info().rss - before < 50 << 20


def test_a_child_that_is_killed_costs_one_request(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    source, pool = pdf(tmp_path / "a.pdf", pages=40), parsers(processes=1)
    pages = renderer(pool).pages(source, PDF)
    assert next(pages).page == 1
    os.kill(parsers_of()[0].pid, signal.SIGKILL)
    with pytest.raises(ParserDied, match="SIGKILL"):
        list(pages)
    assert len(list(renderer(pool).pages(source, PDF))) == 40


def test_one_that_is_killed_before_it_has_answered_costs_nothing(
    parsers: Callable[..., Parsers], tmp_path: Path
) -> None:
    source, pool = pdf(tmp_path / "a.pdf", pages=2), parsers(processes=1)
    assert renderer(pool).page_count(source, PDF) == 2
    (idle,) = parsers_of()
    idle.suspend()
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(renderer(pool).page_count, source, PDF)
        time.sleep(0.3)
        assert not asked.done()
        idle.kill()
        assert asked.result(timeout=60) == 2


def test_one_left_in_the_middle_of_a_document_does_not_answer_the_next_request(
    parsers: Callable[..., Parsers], tmp_path: Path
) -> None:
    pool = parsers(processes=1)
    pages = renderer(pool).pages(pdf(tmp_path / "long.pdf", pages=30), PDF)
    next(pages)
    pages.close()
    assert parsers_of() == []
    assert renderer(pool).page_count(pdf(tmp_path / "short.pdf", pages=2), PDF) == 2


def test_a_child_grows_old(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    source, pool = pdf(tmp_path / "a.pdf", pages=3), parsers(recycle_pages=3)
    list(renderer(pool).pages(source, PDF))
    assert parsers_of() == []


def test_warm_children_are_there_before_the_first_request_and_after_one_has_ended(
    parsers: Callable[..., Parsers], tmp_path: Path
) -> None:
    source, pool = pdf(tmp_path / "a.pdf", pages=2), parsers(processes=2, recycle_pages=1)
    pool.keep_warm()
    first = {child.pid for child in parsers_of()}
    assert len(first) == 2
    assert len(list(renderer(pool).pages(source, PDF))) == 2
    until = time.monotonic() + 60
    while len(second := {child.pid for child in parsers_of()}) < 2 or second == first:
        assert time.monotonic() < until, "one grew old, and another is to take its place"
        time.sleep(0.05)
    assert (len(second), len(second & first)) == (2, 1)
    pool.close()
    assert parsers_of() == []


def test_a_child_knows_no_secret_and_no_network(
    parsers: Callable[..., Parsers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSDC_SECRET_DATABASE_OWNER", "not for parsers")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "neither")
    renderer(parsers()).page_count(pdf(tmp_path / "a.pdf"), PDF)
    (child,) = parsers_of()
    known = Path(f"/proc/{child.pid}/environ").read_bytes()
    assert b"PATH=" in known
    assert b"SECRET" not in known
    assert Path(f"/proc/{child.pid}/limits").read_text().count("unlimited") < 30
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if probe.returncode == 0:
        assert Path(f"/proc/{child.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def test_children_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    source = exponential_pdf(tmp_path / "deep.pdf")
    script = f"""
import psutil, threading
from pathlib import Path
from dsdc.processors.sandbox import Parsers, SandboxedRenderer
from dsdc.settings import Ocr, Parsing, Render
pages = SandboxedRenderer(Render(), Parsers(Parsing(), Render(), Ocr())).pages(Path({str(source)!r}), {PDF!r})
next(pages)
print(psutil.Process().children()[0].pid, flush=True)
next(pages)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.5)  # it is drawing the page that never ends
        assert child.is_running()
        parent.kill()
    child.wait(timeout=60)


def test_pages_are_read_in_parallel_and_given_in_order(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    source, pool = pdf(tmp_path / "a.pdf", pages=5), parsers(processes=2)
    sources = []
    for page in renderer(pool).pages(source, PDF):
        assert isinstance(page, EncodedPage)
        (tmp_path / f"{page.page}.png").write_bytes(page.data)
        sources.append(PageSource(source, PDF, page.page, tmp_path / f"{page.page}.png"))
    found = list(SandboxedReader(Ocr(), pool).read(sources))
    assert found == list(PageReader(Ocr()).read(sources))
    assert [text.text for text in found] == [f"Page number {n} of this document" for n in range(1, 6)]
    assert len(parsers_of()) == 2


def test_one_child_recognises_page_after_page(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    page = Image.new("L", (1700, 2200), 255)
    ImageDraw.Draw(page).text((200, 300), "Recognised and not read from a layer", font_size=48, fill=0)
    page.save(tmp_path / "scan.png")
    scan = PageSource(tmp_path / "scan.png", "image/png", 1, tmp_path / "scan.png")
    reader = SandboxedReader(Ocr(), parsers(processes=1))
    assert reader.read_page(scan).text == "Recognised and not read from a layer"
    first = [child.pid for child in parsers_of()]
    assert all(isinstance(found, PageText) for found in reader.read([scan] * 3))
    assert [child.pid for child in parsers_of()] == first


def test_a_page_whose_image_is_gone_is_the_only_one_to_fail(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    image = tmp_path / "there.png"
    Image.new("L", (200, 200), 255).save(image)
    sources = [PageSource(image, "image/png", 1, path) for path in (image, tmp_path / "gone.png", image)]
    first, second, third = SandboxedReader(Ocr(), parsers()).read(sources)
    assert isinstance(second, BytesMissing)
    assert first == third


def test_a_missing_file_is_the_stores_fault(parsers: Callable[..., Parsers], tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        list(renderer(parsers()).pages(tmp_path / "gone.png", "image/png"))


def test_what_is_no_answer_is_not_believed() -> None:
    for header in ({"error": "os.system", "message": "m", "hint": None}, {"error": "Any", "message": "m", "hint": ""}):
        assert type(protocol.revive(header)) is ParserDied
    out, into = os.pipe()
    with io.FileIO(out, closefd=True), io.FileIO(into, "w", closefd=True) as pipe:
        pipe.write(b"\xff" * 64)
        with pytest.raises(ParserDied):
            protocol.read(out, timeout_s=1)
