"""All engines, real, against one contract."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dsdc.errors import DocumentError, MissingSystemPackage, SettingsError
from dsdc.processors.contract import PageSource, PageText
from dsdc.processors.ocr import PageReader
from dsdc.processors.ocr.engine import Engine
from dsdc.processors.ocr.engines import choose_engine
from dsdc.processors.ocr.rapid import RapidOcrEngine
from dsdc.processors.ocr.tessdata import find_tessdata
from dsdc.processors.ocr.tesseract import PytesseractEngine, TesserocrEngine
from dsdc.processors.render import decode
from dsdc.settings import Ocr

ENGINES: list[Callable[[Ocr], Engine]] = [
    lambda config: TesserocrEngine(config, find_tessdata("eng")),
    lambda config: PytesseractEngine(config, find_tessdata("eng")),
    RapidOcrEngine,
]


@pytest.fixture(params=ENGINES, ids=["tesserocr", "pytesseract", "rapidocr"])
def made(request: pytest.FixtureRequest) -> Callable[[Ocr], Engine]:
    """Makes an engine."""
    if request.param is ENGINES[0]:
        pytest.importorskip("tesserocr", reason="tesserocr is not installed here")
    return request.param


@pytest.fixture
def engine(made: Callable[[Ocr], Engine]) -> Engine:
    return made(Ocr())


def test_a_typed_page_is_read_with_lines_boxes_and_confidence(
    engine: Engine,
    lines: tuple[str, ...],
    scan_of: Callable[..., Image.Image],
    stored: Callable[..., PageSource],
    edit_distance: Callable[[str, str], int],
) -> None:
    image = scan_of(lines)
    (page,) = PageReader(Ocr(), engine).read([stored("page", image, 200)])
    assert isinstance(page, PageText)
    assert page.extraction == "ocr"
    read = [line for line in page.text.splitlines() if line]
    assert len(read) == len(lines)
    assert edit_distance("\n".join(read), "\n".join(lines)) <= 2
    assert page.confidence is not None
    assert 0.85 < page.confidence <= 1
    assert " ".join(word.text for word in page.words) == " ".join(page.text.split())
    dark = image.convert("L").point(lambda value: 255 if value < 128 else 0)
    for word in page.words:
        assert 0 <= word.confidence <= 1
        box = (word.left, word.top, word.left + word.width, word.top + word.height)
        assert dark.crop(box).getbbox() is not None, word
    assert min(word.left for word in page.words) == pytest.approx(dark.getbbox()[0], abs=4)


def test_paragraphs_are_kept_apart(
    engine: Engine, scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    lines = ["The first paragraph speaks of apples.", "", "", "", "The second paragraph speaks of oranges."]
    (page,) = PageReader(Ocr(), engine).read([stored("page", scan_of(lines), 200)])
    assert isinstance(page, PageText)
    assert page.text == "The first paragraph speaks of apples.\n\nThe second paragraph speaks of oranges."


def test_boxes_of_an_enlarged_page_are_in_the_pages_own_pixels(
    engine: Engine, lines: tuple[str, ...], scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    image = scan_of(lines, dpi=90)
    (page,) = PageReader(Ocr(), engine).read([stored("small", image)])
    assert isinstance(page, PageText)
    assert page.notes["enlarged"] == (2 if engine.enlarges else 1)
    assert "48213" in page.text
    assert max(word.left + word.width for word in page.words) <= image.width
    assert min(word.left for word in page.words) == pytest.approx(72 / 72 * 90, abs=4)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_blank_page_is_a_success_without_words(engine: Engine, stored: Callable[..., PageSource], mode: str) -> None:
    (page,) = PageReader(Ocr(), engine).read([stored("blank", Image.new(mode, (850, 1100), "white"))])
    assert page == PageText("", "ocr", None, (), page.notes)  # type: ignore[union-attr]


def test_a_page_takes_no_longer_than_it_may(
    made: Callable[[Ocr], Engine], scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    quarter = scan_of(["all work and no play makes a very long line of text for a page indeed"] * 40, dpi=300)
    dense = Image.new("L", (quarter.width * 2, quarter.height * 2), 255)  # 10 s of work and more
    for place in ((0, 0), (quarter.width, 0), (0, quarter.height), quarter.size):
        dense.paste(quarter, place)
    config = Ocr(timeout_s=2)
    reader = PageReader(config, engine=made(config))
    slow, quick = reader.read([stored("dense", dense, 300), stored("blank", Image.new("L", (400, 400), 255), 100)])
    assert isinstance(slow, DocumentError)
    assert "2 s" in str(slow)
    assert isinstance(quick, PageText)


def test_a_reading_may_be_given_less_time(engine: Engine, scan_of: Callable[..., Image.Image]) -> None:
    page = scan_of(["all work and no play makes a very long line of text for a page indeed"] * 40, dpi=300)
    with pytest.raises(DocumentError, match="not read within"):
        engine.recognise(page.convert("L"), 300, 1, timeout_s=0.1)


def test_what_was_read_before_does_not_change_a_page(
    engine: Engine, lines: tuple[str, ...], scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    page = stored("page", scan_of(lines, dpi=110), 110)
    other = stored("other", scan_of(["Quarterly budget 1997", "Tobacco 12,400", "Filters 3,310"], dpi=110), 110)
    first, _, again = PageReader(Ocr(), engine).read([page, other, page])
    assert first == again


def test_engines_and_languages_have_parameters_of_their_own() -> None:
    pytest.importorskip("tesserocr", reason="tesserocr is not installed here")
    readers = [PageReader(Ocr(), make(Ocr())) for make in ENGINES]
    assert len({reader.params_hash for reader in readers}) == 3
    assert {len(sha256) for sha256 in readers[2].params["models"].values()} == {64}
    for reader in readers[:2]:
        assert reader.params["engine_version"][0].isdigit()
        assert len(reader.params["tessdata"]["eng"]) == 64
    single = Ocr(engine="tesseract", page_segmentation=6)
    other = PageReader(single)
    assert other.params_hash != readers[0].params_hash


def test_the_engine_is_chosen_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tesserocr", reason="tesserocr is not installed here")
    assert choose_engine(Ocr(engine="tesseract")).name == "tesserocr"
    monkeypatch.setitem(sys.modules, "tesserocr", None)  # Python's own way to make an import fail
    assert choose_engine(Ocr(engine="tesseract")).name == "pytesseract"


def test_rapidocr_reads_the_languages_that_it_knows_and_tesseract_the_others() -> None:
    assert choose_engine(Ocr()).name == "rapidocr"
    assert choose_engine(Ocr(languages="eng+deu+jpn")).name == "rapidocr"
    with pytest.raises(MissingSystemPackage, match="tesseract-ocr-rus"):
        choose_engine(Ocr(languages="eng+rus"))
    with pytest.raises(SettingsError, match="does not know the letters of rus"):
        choose_engine(Ocr(engine="rapidocr", languages="eng+rus"))


def test_missing_language_data_names_the_package() -> None:
    reader = PageReader(Ocr(languages="eng+xyz_tra"))
    with pytest.raises(MissingSystemPackage, match="apt-get install tesseract-ocr tesseract-ocr-xyz-tra"):
        reader.params  # noqa: B018


def test_tessdata_prefix_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_tessdata("eng")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(MissingSystemPackage):
        find_tessdata("eng")
    (tmp_path / "tessdata").mkdir()
    shutil.copy(real / "eng.traineddata", tmp_path / "tessdata")
    assert find_tessdata("eng") == tmp_path / "tessdata"


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytesseract

    monkeypatch.setattr(pytesseract.pytesseract, "tesseract_cmd", "/nonexistent/tesseract")
    reader = PageReader(Ocr(), PytesseractEngine(Ocr(), find_tessdata("eng")))
    with pytest.raises(MissingSystemPackage, match="apt-get install tesseract-ocr"):
        reader.params  # noqa: B018


def test_pytesseracts_children_have_one_thread_and_this_process_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytesseract

    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    seen = tmp_path / "seen"
    wrapper = tmp_path / "tesseract"
    wrapper.write_text(f'#!/bin/sh\necho "$OMP_THREAD_LIMIT" > {seen}\nexec {shutil.which("tesseract")} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(pytesseract.pytesseract, "tesseract_cmd", str(wrapper))
    PytesseractEngine(Ocr(), find_tessdata("eng")).recognise(Image.new("L", (200, 100), 255), 200, 1)
    assert seen.read_text().strip() == "1"
    choose_engine(Ocr(engine="tesseract")).params  # noqa: B018  # loads the library
    assert "OMP_THREAD_LIMIT" not in os.environ


def test_recognition_leaves_python_free(lines: tuple[str, ...], scan_of: Callable[..., Image.Image]) -> None:
    """Pages are read in parallel only because the engine lets go of the interpreter."""
    pytest.importorskip("tesserocr", reason="tesserocr is not installed here")
    engine = TesserocrEngine(Ocr(), find_tessdata("eng"))
    page = scan_of(lines * 6, dpi=200).convert("L")
    grey = Image.new("L", (page.width, 3 * page.height), 255)  # seconds of work, in which any machine has time for both
    for number in range(3):
        grey.paste(page, (0, number * page.height))
    worker = threading.Thread(target=engine.recognise, args=(grey, 200, 1))
    began = last = time.perf_counter()
    longest = 0.0
    worker.start()
    while worker.is_alive():
        time.sleep(0.005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert longest < (last - began) / 2


def test_a_broken_stored_image_is_that_pages_error_alone(
    lines: tuple[str, ...], scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    good, bad = stored("good", scan_of(lines), 200), stored("bad", scan_of(lines), 200)
    bad.image.write_bytes(bad.image.read_bytes()[:2000])
    decode(good.image.read_bytes())
    first, second = PageReader(Ocr()).read([bad, good])
    assert isinstance(first, DocumentError)
    assert isinstance(second, PageText)
