"""Pages on their side, on their head and askew, by the real engines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from dsdc.errors import CorruptFile, DocumentError
from dsdc.processors.contract import PageSource, PageText, Word
from dsdc.processors.ocr import orientation, skew
from dsdc.processors.ocr.engine import Engine
from dsdc.processors.ocr.engines import choose_engine
from dsdc.processors.ocr.recognise import recognise, recognition_params
from dsdc.processors.ocr.tessdata import find_tessdata
from dsdc.processors.ocr.tesseract import PytesseractEngine, TesserocrEngine
from dsdc.processors.ocr.tsv import Recognised
from dsdc.settings import Ocr

Turn = Callable[[Image.Image], Image.Image]
CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def quarter(degrees: int) -> Turn:
    return lambda image: image.transpose(CLOCKWISE[degrees])


def leaning(degrees: float) -> Turn:
    """Anticlockwise, as Pillow counts."""
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)


@dataclass
class Counting:
    """A real engine, and how many images it was given."""

    engine: Engine
    sizes: list[tuple[int, int]] = field(default_factory=list)
    breaks_after: int | None = None

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def enlarges(self) -> bool:
        return self.engine.enlarges

    @property
    def turns(self) -> bool:
        return self.engine.turns

    @property
    def params(self) -> dict[str, Any]:
        return self.engine.params

    def recognise(self, image: Image.Image, dpi: int, scale: float, timeout_s: float | None = None) -> Recognised:
        if self.breaks_after is not None and len(self.sizes) >= self.breaks_after:
            raise DocumentError("The page was not read within 1 s.")
        self.sizes.append(image.size)
        return self.engine.recognise(image, dpi, scale, timeout_s)


@pytest.fixture
def engine() -> Counting:
    return Counting(choose_engine(Ocr(engine="tesseract")))


@pytest.fixture
def letter(lines: tuple[str, ...], scan_of: Callable[..., Image.Image]) -> Image.Image:
    return scan_of(lines * 2, dpi=150).convert("L")


def place_after(turn: Turn, word: Word, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where Pillow itself takes the word's box (left, top, right, bottom)."""
    page = Image.new("L", size, 255)
    page.paste(0, (word.left, word.top, word.left + word.width, word.top + word.height))
    box = turn(page).point(lambda value: 255 if value < 128 else 0).getbbox()
    assert box is not None
    return box


def assert_same_words(found: PageText, upright: PageText, turn: Turn, size: tuple[int, int], near: int) -> None:
    """As many words, the same but for a letter here and there, each where the turn has taken it."""
    same = [(a, b) for a, b in zip(found.words, upright.words, strict=True) if a.text == b.text]
    assert len(same) >= 0.95 * len(upright.words)
    off = []
    for word, before in same[::9]:
        box = (word.left, word.top, word.left + word.width, word.top + word.height)
        off.append(max(abs(a - b) for a, b in zip(box, place_after(turn, before, size), strict=True)))
    assert np.median(off) <= near, off
    assert max(off) <= 4 * near, off  # Tesseract's own box of a word may take in a neighbour's edge


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_page_is_read_and_its_boxes_lie_on_it_as_it_was_stored(
    degrees: int, letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    turn = quarter(degrees)
    upright = recognise(stored("upright", letter, 150).image, engine, Ocr())
    found = recognise(stored("turned", turn(letter), 150).image, engine, Ocr())
    assert found.notes["rotated"] == 360 - degrees
    assert found.text == upright.text
    assert_same_words(found, upright, turn, letter.size, near=0)


@pytest.mark.parametrize("kind", [TesserocrEngine, PytesseractEngine])
def test_either_engine_reads_a_small_page_upside_down(
    kind: type, lines: tuple[str, ...], scan_of: Callable[..., Image.Image], stored: Callable[..., PageSource]
) -> None:
    engine = kind(Ocr(), find_tessdata("eng"))
    small = scan_of(lines, dpi=91).convert("L")  # enlarged, and of an odd size
    upright = recognise(stored("upright", small).image, engine, Ocr())
    found = recognise(stored("turned", quarter(180)(small)).image, engine, Ocr())
    assert (found.notes["rotated"], found.notes["enlarged"]) == (180, 2)
    assert found.text == upright.text
    assert_same_words(found, upright, quarter(180), small.size, near=1)


@pytest.mark.parametrize("degrees", [3.0, -7.0, 12.0])
def test_a_leaning_page_is_straightened_and_its_boxes_lean_again(
    degrees: float, letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    turn = leaning(degrees)
    upright = recognise(stored("upright", letter, 150).image, engine, Ocr())
    found = recognise(stored("leaning", turn(letter), 150).image, engine, Ocr())
    assert found.notes["skew"] == pytest.approx(degrees, abs=0.2)
    assert "rotated" not in found.notes
    assert_same_words(found, upright, turn, letter.size, near=4)


@pytest.mark.parametrize(("degrees", "lean"), [(180, 6.0), (270, -4.0)])
def test_a_page_both_turned_and_leaning(
    degrees: int, lean: float, letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    upright = recognise(stored("upright", letter, 150).image, engine, Ocr())
    found = recognise(stored("both", leaning(lean)(quarter(degrees)(letter)), 150).image, engine, Ocr())
    assert found.notes["rotated"] == 360 - degrees
    assert found.notes["skew"] == pytest.approx(lean, abs=0.2)
    assert_same_words(found, upright, lambda i: leaning(lean)(quarter(degrees)(i)), letter.size, near=4)


def test_an_upright_page_is_read_once_as_it_is(
    letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    found = recognise(stored("upright", letter, 150).image, engine, Ocr())
    assert found.notes == {"dpi": 150, "enlarged": 1}
    assert engine.sizes == [letter.size]
    plain = engine.engine.recognise(letter, 150, 1)
    assert (found.text, found.words) == (plain.text, plain.words)


def test_a_page_that_leans_no_more_than_scanners_do_is_left_alone(
    letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    found = recognise(stored("nearly", leaning(0.8)(letter), 150).image, engine, Ocr())
    assert found.notes == {"dpi": 150, "enlarged": 1}
    assert "48213" in found.text


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_blank_page_is_read_once(mode: str, engine: Counting, stored: Callable[..., PageSource]) -> None:
    page = stored("blank", Image.new(mode, (1700, 2200), "white"), 200)
    recognise(page.image, engine, Ocr())  # loads the engine
    engine.sizes.clear()
    started = time.process_time()  # the engine works in this process
    found = recognise(page.image, engine, Ocr())
    assert time.process_time() - started < 2
    assert found == PageText("", "ocr", None, (), {"dpi": 200, "enlarged": 1})
    assert len(engine.sizes) == 1


def test_what_reads_badly_either_way_costs_a_sample_and_not_a_second_reading(
    letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    mirrored = ImageOps.mirror(letter)
    found = recognise(stored("mirrored", mirrored, 150).image, engine, Ocr())
    assert orientation.sureness(found.words) < orientation.SURE
    assert "rotated" not in found.notes
    page, sample = engine.sizes
    assert page == letter.size
    assert sample[0] * sample[1] < page[0] * page[1] / 8


def test_both_can_be_switched_off(letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]) -> None:
    head_down = stored("down", quarter(180)(letter), 150).image
    found = recognise(head_down, engine, Ocr(orientation=False))
    assert (found.notes, len(engine.sizes)) == ({"dpi": 150, "enlarged": 1}, 1)
    assert "Madam" not in found.text
    found = recognise(stored("askew", leaning(9)(letter), 150).image, engine, Ocr(deskew=False))
    assert "skew" not in found.notes
    default, off = (recognition_params(c, engine) for c in (Ocr(), Ocr(orientation=False, deskew=False)))
    assert (off["orientation"], off["deskew"]) == (None, None)
    assert default["orientation"]["sure"] == orientation.SURE
    assert default["deskew"]["from"] == skew.STRAIGHTEN_FROM


@pytest.mark.parametrize("readings", [1, 2])
def test_what_was_read_is_kept_when_time_runs_out(
    readings: int, letter: Image.Image, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    engine.breaks_after = readings
    found = recognise(stored("down", quarter(180)(letter), 150).image, engine, Ocr())
    assert found.words
    assert found.notes["orientation"] == "The page was not read within 1 s."
    assert "rotated" not in found.notes


def test_time_for_a_page_is_shared_by_its_readings(
    letter: Image.Image, engine: Counting, stored: Callable[..., PageSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []
    read = engine.engine.recognise
    monkeypatch.setattr(
        engine.engine, "recognise", lambda image, dpi, scale, s=None: given.append(s) or read(image, dpi, scale, s)
    )
    recognise(stored("down", quarter(180)(letter), 150).image, engine, Ocr(timeout_s=100))
    first, sample, whole = given
    assert first is None  # ocr.timeout_s, which is the engine's own
    assert sample is not None
    assert whole is not None
    assert 0 < whole < sample < 100


def test_a_missing_and_a_broken_image_are_errors(tmp_path: Path, engine: Counting) -> None:
    with pytest.raises(FileNotFoundError):
        recognise(tmp_path / "gone.png", engine, Ocr())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(CorruptFile):
        recognise(tmp_path / "broken.png", engine, Ocr())


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_quarter_turns_of_boxes_are_exact(degrees: int) -> None:
    size = (301, 200)
    turned_size = size if degrees == 180 else size[::-1]
    word = Word("word", 17, 31, 60, 12, 0.9)
    back = orientation.turned_back(word, degrees, size)
    seen = place_after(quarter(degrees), back, size)
    assert seen == (17, 31, 77, 43)
    assert (back.text, back.confidence) == ("word", 0.9)
    assert orientation.turned(Image.new("L", size), degrees).size == turned_size


@pytest.mark.parametrize("degrees", [-11.5, 4.0])
def test_a_straightened_page_keeps_its_corners(degrees: float) -> None:
    page = Image.new("L", (400, 300), 255)
    for x, y in ((0, 0), (392, 0), (0, 292), (392, 292)):
        page.paste(0, (x, y, x + 8, y + 8))
    straight = skew.straightened(page, degrees, 2)
    assert straight.size == tuple(2 * side for side in skew.straightened_size(page.size, degrees))
    ink = np.asarray(straight) < 128
    assert ink.sum() / 4 == pytest.approx(4 * 64, rel=0.1)
    ys, xs = np.nonzero(ink)
    mark = Word("x", int(xs.min()) // 2, int(ys[xs.argmin()]) // 2, 1, 1, 1.0)  # the leftmost corner
    place = skew.leaning_again(mark, degrees, page.size)
    assert place.left in range(0, 9)
    assert place.top in range(0, 9) or place.top in range(291, 301)


@pytest.mark.parametrize("kind", ["blank", "black", "noise", "photograph"])
def test_what_has_no_lines_is_not_straightened(kind: str) -> None:
    rng = np.random.default_rng(3)
    ramp = np.add.outer(np.linspace(0, 120, 1100), np.linspace(0, 120, 850))
    pixels = {
        "blank": np.full((1100, 850), 255.0),
        "black": np.zeros((1100, 850)),
        "noise": rng.uniform(0, 255, (1100, 850)),
        "photograph": ramp + 40 * np.sin(ramp / 9) + rng.normal(0, 6, ramp.shape),
    }[kind]
    assert skew.lean(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 2), (7, 7)])
def test_the_smallest_images_pass(size: tuple[int, int], engine: Counting, stored: Callable[..., PageSource]) -> None:
    assert recognise(stored("tiny", Image.new("L", size, 90)).image, engine, Ocr()).text == ""


@pytest.mark.corpus
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_real_form_reads_as_well_turned_as_upright(
    degrees: int, corpus: Path, engine: Counting, stored: Callable[..., PageSource]
) -> None:
    form = Image.open(corpus / "funsd" / "images" / "0000971160.png").convert("L")
    upright = recognise(stored("upright", form).image, engine, Ocr())
    found = recognise(stored("turned", quarter(degrees)(form)).image, engine, Ocr())
    assert found.notes["rotated"] == 360 - degrees
    assert upright.confidence is not None
    assert found.confidence == pytest.approx(upright.confidence, abs=0.02)
    shared = {word.text for word in upright.words} & {word.text for word in found.words}
    assert len(shared) > 0.9 * len({word.text for word in upright.words})
