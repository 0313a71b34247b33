"""RapidOCR in this process: PP-OCRv6 (small) finds lines and reads them, by ONNX Runtime; its package has the models.

It reads letterheads, faded print and small type that Tesseract misses on archive scans; the numbers are in
`dsdc.processors.ocr.engines`. Its alphabet is Latin (with all accents), Greek, Chinese and Japanese.
Source: https://github.com/RapidAI/RapidOCR (Apache-2.0), models of PaddleOCR (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import math
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dsdc.errors import MissingSystemPackage
from dsdc.processors.contract import Word
from dsdc.processors.ocr import orientation, reading_order
from dsdc.processors.ocr.engine import too_slow
from dsdc.processors.ocr.tsv import Recognised
from dsdc.settings import Ocr

_CODES = (
    "afr aze_latn bos cat ceb ces chi_sim chi_tra cym dan deu ell eng epo est eus fao fil fin fra frk fry gla gle glg"
    " hat hrv hun ind isl ita jav jpn lat lav lit ltz mlt mri msa nld nor oci pol por que ron slk slv spa sqi srp_latn"
    " sun swa swe tur uzb_latn yor"
)
#: Tesseract's codes of the languages whose letters the model knows.
LANGUAGES = frozenset(_CODES.split())

#: Lines read with less confidence are dirt and ornaments as often as letters; the package's own default.
MIN_CONFIDENCE = 0.5
#: The detector's view of a page: more pixels cost time and find no more lines of 8 pt.
MAX_SIDE = 2000
#: A line this many times as high as wide runs up or down the page.
_TALL = 1.5
#: Lines whose direction is asked for, the longest, at both ends: how many times as long as high these are is the
#: classifier's own shape, and it squeezes what is longer.
_ASKED = 24
_END = 4
#: Mean log-odds for "upside down" under which lines are upright without reading any (1 upright page in 60 lies above),
#: and how many are read both ways otherwise.
_CLEAR = -1.0
_SAMPLE = 5

_PARAMS = {
    "Global.log_level": "error",
    "Global.use_cls": False,
    "Global.text_score": MIN_CONFIDENCE,
    "Global.max_side_len": MAX_SIDE,
    "Global.return_word_box": True,
    # Pages are read in parallel, each by one thread. One line at a time is a quarter faster than six of unlike width.
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Rec.rec_batch_num": 1,
}

Quad = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Line:
    """A line that was found: `crop` is its picture, upright if the page is; `quad` `[4, 2]` its corners on the page."""

    crop: Pixels
    quad: Quad
    upside_down: bool = False

    @property
    def tall(self) -> bool:
        return _side(self.quad, 0, 3) >= _TALL * _side(self.quad, 0, 1)

    @property
    def reading(self) -> Quad:
        """Corners from where the picture's own top left is: a tall line's picture is turned by 90 degrees, or 270."""
        return np.roll(self.quad, -self.tall - 2 * self.upside_down, axis=0)


class RapidOcrEngine:
    """One engine object a thread at work, kept for the next page: a few are loaded at most."""

    name = "rapidocr"
    #: Small scans are read as they are.
    enlarges = False
    #: It turns pages upright itself, from how its lines lie.
    turns = True

    def __init__(self, config: Ocr) -> None:
        self._config = config
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @cached_property
    def params(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "engine_version": version("rapidocr"),
            "onnxruntime": version("onnxruntime"),
            "models": {path.name: _sha256(path) for path in _models()},
            "min_confidence": MIN_CONFIDENCE,
            "max_side": MAX_SIDE,
        }

    def recognise(self, image: Image.Image, dpi: int, scale: float, timeout_s: float | None = None) -> Recognised:  # noqa: ARG002
        """As `Engine.recognise`; the resolution does not matter to it."""
        deadline = time.monotonic() + (timeout_s or self._config.timeout_s)
        ocr = self._borrow()
        try:
            lines, turn = _find(ocr, image), 0
            if self._config.orientation and (turn := _lies(ocr, lines)):
                lines = _find(ocr, orientation.turned(image, turn))
            words = [_read(ocr, line, scale, self._config, deadline) for line in _upright(ocr, lines)]
        finally:
            self._idle.put(ocr)
        return _page(words, turn, (round(image.width / scale), round(image.height / scale)))

    def _borrow(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _load()(params=_PARAMS)


def _load() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise MissingSystemPackage(
            f"RapidOCR does not load: {error}.", hint="Run ./scripts/install.sh, or set ocr.engine to tesseract."
        ) from error
    return RapidOCR


def _models() -> list[Path]:
    import rapidocr

    return sorted((Path(rapidocr.__file__).parent / "models").glob("*.onnx"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _find(ocr: Any, image: Image.Image) -> list[_Line]:
    """The lines of a page, in no order; corners in pixels of `image`."""
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    shown, record = ocr.preprocess_img(np.asarray(image.convert("RGB")))
    try:
        crops, found = ocr.detect_and_crop(shown, record)
    except RapidOCRError:  # the package's way to say that there are none
        return []
    quads = map_boxes_to_original(found.boxes, record, image.height, image.width).astype(np.float32)
    return [_Line(crop, quad) for crop, quad in zip(crops, quads, strict=True)]


def _lies(ocr: Any, lines: list[_Line]) -> int:
    """Degrees clockwise by which the page must be turned to stand upright: 0, 90, 180 or 270."""
    asked = sorted(lines, key=lambda line: -line.crop.shape[1])[:_ASKED]
    if not asked:
        return 0
    tall = sum(line.tall for line in asked) * 2 > len(asked)
    upside_down = _upside_down(ocr, [line.crop for line in asked if line.tall == tall])
    if tall:
        return 90 if upside_down else 270
    return 180 if upside_down else 0


def _upside_down(ocr: Any, crops: list[Pixels]) -> bool:
    """Whether lines of one direction stand on their heads: unless all their ends say no, a few are read both ways."""
    ends = [end for crop in crops for end in (crop[:, : _END * crop.shape[0]], crop[:, -_END * crop.shape[0] :])]
    _, told = ocr.cls_and_rotate(ends)
    odds = [_log_odds(sure if label == "180" else 1 - sure) for label, sure in told.cls_res]
    if float(np.mean(odds)) < _CLEAR:
        return False
    sample = crops[:_SAMPLE]
    return _confidence(ocr, [np.rot90(crop, 2) for crop in sample]) > _confidence(ocr, sample)


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 0.01), 0.99)  # no line decides for all
    return math.log(bounded / (1 - bounded))


def _confidence(ocr: Any, crops: list[Pixels]) -> float:
    from rapidocr.main import RapidOCRError

    try:
        return float(np.mean(ocr.recognize_txt(crops).scores))
    except RapidOCRError:
        return 0.0


def _upright(ocr: Any, lines: list[_Line]) -> list[_Line]:
    """The lines of an upright page, those that run up or down it as they are read."""
    tall = [line for line in lines if line.tall]
    if not tall:
        return lines
    if not _upside_down(ocr, [line.crop for line in tall]):
        return lines
    turned = [replace(line, crop=np.rot90(line.crop, 2), upside_down=True) for line in tall]
    return [line for line in lines if not line.tall] + turned


def _read(ocr: Any, line: _Line, scale: float, config: Ocr, deadline: float) -> list[Word]:
    """The words of a line, from left to right; none where it is not sure."""
    from rapidocr.main import RapidOCRError

    if time.monotonic() > deadline:
        raise too_slow(config)
    try:
        read = ocr.recognize_txt([line.crop])
    except RapidOCRError:
        return []
    text, told = read.txts[0], read.word_results[0]
    if read.scores[0] < MIN_CONFIDENCE or not text.strip():
        return []
    columns = [column for word in told.word_cols for column in word]
    return list(_words(text, columns, told.confs, told.line_txt_len, line.reading / scale))


def _words(text: str, columns: list[int], confidences: list[float], width: float, corners: Quad) -> Iterator[Word]:
    """Words of a line with their boxes.

    Args:
        text: the line.
        columns: of each visible character, in the recogniser's steps across the line.
        confidences: of each character, blanks included.
        width: of the line in those steps.
        corners: `[4, 2]`, of the line on the page.
    """
    starts = _starts(text, columns, width)
    position = seen = 0
    for part in text.split():
        position = text.index(part, position)
        first, last = starts[seen], starts[seen + len(part)]
        sure = float(np.mean(confidences[position : position + len(part)]))
        yield Word(part, *_box(corners, first, last), confidence=min(max(sure, 0.0), 1.0))
        position += len(part)
        seen += len(part)


def _starts(text: str, columns: list[int], width: float) -> npt.NDArray[np.float64]:
    """Where each visible character begins, as a share of the line, and where the last one ends."""
    visible = [index for index, ch in enumerate(text) if not ch.isspace()]
    if len(columns) == len(visible) and width > 0:
        centres = (np.array(columns) + 0.5) / width
    else:
        centres = (np.array(visible) + 0.5) / len(text)
    between = (centres[1:] + centres[:-1]) / 2
    # A character after a blank begins half a letter before its centre, and not in the middle of the blank.
    letter = float(np.median(np.diff(centres))) if len(centres) > 1 else 1.0
    begins = np.maximum(np.concatenate([[0.0], between]), centres - 0.75 * letter)
    return np.clip(np.concatenate([begins, [min(1.0, centres[-1] + 0.75 * letter)]]), 0.0, 1.0)


def _box(corners: Quad, first: float, last: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part of a line from share `first` to share `last` of its length."""
    top_left, top_right, bottom_right, bottom_left = corners
    edges = (top_left, top_right), (bottom_left, bottom_right)
    points = [start + (end - start) * share for start, end in edges for share in (first, last)]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    left, top = (max(round(float(value)), 0) for value in low)
    return left, top, max(round(float(high[0])) - left, 1), max(round(float(high[1])) - top, 1)


def _page(lines: list[list[Word]], turn: int, size: tuple[int, int]) -> Recognised:
    """The page as it is read; boxes on the page of `size` as it lies."""
    ordered, text = reading_order.arranged([line for line in lines if line])
    if turn:
        ordered = [orientation.turned_back(word, turn, size) for word in ordered]
    return Recognised(words=tuple(ordered), text=text, rotated=turn)


def _side(quad: Quad, first: int, second: int) -> float:
    return float(np.linalg.norm(quad[first] - quad[second]))
