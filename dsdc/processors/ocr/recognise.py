"""One page image to text: straightened where it leans, enlarged where it is small, turned where it reads badly.

40 FUNSD forms as they are, turned, and leaning, without and with both (CER with words matched by boxes, words found as
a bag, seconds of processor time a page, tesserocr 5.5.4):

================  ===============  ===============  ===============
page              CER              words found      s
================  ===============  ===============  ===============
as it is          0.241 -> 0.241   0.726 -> 0.726   0.30 -> 0.31
turned 90         0.247 -> 0.236   0.722 -> 0.732   0.32 -> 0.61
turned 180        1.014 -> 0.241   0.024 -> 0.726   0.33 -> 0.68
turned 270        1.012 -> 0.236   0.024 -> 0.732   0.34 -> 0.70
leaning 3         0.271 -> 0.252   0.663 -> 0.713   0.31 -> 0.38
leaning 7         0.741 -> 0.261   0.182 -> 0.713   0.21 -> 0.41
leaning 12        0.994 -> 0.276   0.003 -> 0.710   0.13 -> 0.44
180, leaning 5    1.016 -> 0.249   0.018 -> 0.714   0.35 -> 0.80
================  ===============  ===============  ===============

Upright forms cost 2 % more; upright archive pages 4 %, for some read badly either way. Of 96 archive pages 13 were
turned, all but one of them on their side, and 4 straightened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from dsdc.errors import DocumentError
from dsdc.processors.contract import PageText
from dsdc.processors.ocr import orientation, scale, skew
from dsdc.processors.ocr.engine import Engine
from dsdc.processors.ocr.tsv import Recognised
from dsdc.processors.render.codec import decode, stored_dpi
from dsdc.settings import Ocr

_MARGIN_INCHES = 0.1  # of paper left around a sample


def recognition_params(config: Ocr, engine: Engine) -> dict[str, Any]:
    """What decides the text besides the engine; JSON values."""
    enlarged = {"enlarge_below_dpi": scale.ENLARGE_BELOW_DPI, "enlargement": scale.ENLARGEMENT}
    turned = engine.turns or _orientation_params()
    return {
        **(enlarged if engine.enlarges else {}),
        "orientation": turned if config.orientation else None,
        "deskew": _deskew_params() if config.deskew else None,
        "pillow": PIL.__version__,
    }


def _orientation_params() -> dict[str, Any]:
    return {
        "sure": orientation.SURE,
        "surer": orientation.SURER,
        "more": orientation.MORE,
        "as_many": orientation.AS_MANY,
        "sample": list(orientation.SAMPLE),
    }


def _deskew_params() -> dict[str, Any]:
    return {
        "from": skew.STRAIGHTEN_FROM,
        "to": skew.MAX_DEGREES,
        "sharpness": [skew.MIN_SHARPNESS, skew.CLEAR],
        "edges": list(skew.EDGES),
    }


def recognise(image_path: Path, engine: Engine, config: Ocr) -> PageText:
    """Text of a stored page image, and words with boxes in its pixels.

    `notes` holds `dpi` and `enlarged` of what was read; `skew` (degrees) and `rotated` (90, 180, 270) where the page
    had to be turned clockwise to be read; `stripped` where characters were dropped; `orientation` where it stayed open
    which way up the page lies, and why: its text is then the one read as it lies.

    Raises:
        FileNotFoundError: the image is gone.
        DocumentError: not a whole image, not read in time, or refused by the engine.
    """
    deadline = time.monotonic() + config.timeout_s
    image = decode(image_path.read_bytes())
    grey = image.convert("L")
    degrees = skew.lean(grey) if config.deskew else 0.0
    page = _Shown(*scale.prepare(grey, stored_dpi(image), degrees, enlarge=engine.enlarges))
    found = engine.recognise(page.grey, page.dpi, page.times)
    notes: dict[str, Any] = {"dpi": page.dpi, "enlarged": page.times}
    if found.rotated:
        notes["rotated"] = found.rotated
    elif config.orientation and not engine.turns:
        found, told = _right_way_up(page, found, engine, config.page_segmentation, deadline)
        notes |= told
    if degrees:
        notes["skew"] = degrees
        found = replace(found, words=tuple(skew.leaning_again(word, degrees, grey.size) for word in found.words))
    if found.stripped:
        notes["stripped"] = found.stripped
    return PageText(found.text, "ocr", found.confidence, found.words, notes)


@dataclass(frozen=True)
class _Shown:
    """A page as the engine sees it: straight, and `times` its size."""

    grey: Image.Image
    dpi: int
    times: int

    @property
    def size(self) -> tuple[int, int]:
        """Before it was enlarged."""
        return self.grey.width // self.times, self.grey.height // self.times

    def cut(self, box: orientation.Box) -> Image.Image:
        """The part around a box of the page before it was enlarged, with a margin."""
        margin = round(self.dpi * _MARGIN_INCHES)
        left, top, right, bottom = (side * self.times for side in box)
        return self.grey.crop(
            (
                max(left - margin, 0),
                max(top - margin, 0),
                min(right + margin, self.grey.width),
                min(bottom + margin, self.grey.height),
            )
        )


def _right_way_up(
    page: _Shown, found: Recognised, engine: Engine, page_segmentation: int, deadline: float
) -> tuple[Recognised, dict[str, Any]]:
    """The better of `found` and the page read turned, and notes; what is not done by `deadline` is left."""
    turn = orientation.possible_turn(found.words, page_segmentation)
    if not turn:
        return found, {}
    try:
        if not _sample_gains(page, found, turn, engine, deadline):
            return found, {}
        again = engine.recognise(orientation.turned(page.grey, turn), page.dpi, page.times, _left(deadline))
    except DocumentError as error:
        return found, {"orientation": error.message}
    if not orientation.reads_better(again.words, found.words):
        return found, {}
    words = tuple(orientation.turned_back(word, turn, page.size) for word in again.words)
    return replace(again, words=words), {"rotated": turn}


def _sample_gains(page: _Shown, found: Recognised, turn: int, engine: Engine, deadline: float) -> bool:
    """Whether it is worth reading the whole page turned."""
    if orientation.needs_no_sample(found.words):
        return True
    for as_it_lies, box in orientation.samples(found.words):
        part = orientation.turned(page.cut(box), turn)
        words = engine.recognise(part, page.dpi, page.times, _left(deadline)).words
        if words:
            return orientation.gains(words, as_it_lies)
    return False


def _left(deadline: float) -> float:
    """Seconds; never 0, which engines take for no limit."""
    return max(deadline - time.monotonic(), 0.001)
