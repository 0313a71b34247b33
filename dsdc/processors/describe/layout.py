"""Where the words of a document stand and what kind they are: page geometry as the text stage found it.

Shares enter as square roots (Hellinger), so that what is rare still counts. On 1,600 scanned pages of 16 kinds these
numbers alone reach an accuracy of 0.59 with a linear model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dsdc.processors.contract import Word
from dsdc.processors.describe.contract import Described, ReadPage, VectorDescriber

Numbers = npt.NDArray[np.float64]

#: Edges of histograms; lengths in thousandths of the page's height (heights, gaps of lines) or width (gaps of words).
_HEIGHTS = (0, 5, 8, 10, 12, 14, 16, 18, 21, 25, 30, 40, 60, 100, 2000)
_CONFIDENCES = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.01)
_WORDS_A_LINE = (1, 2, 3, 4, 6, 8, 10, 13, 17, 25, 1000)
_LINE_GAPS = (0, 8, 11, 14, 17, 20, 24, 30, 40, 60, 100, 1000)
_WORD_GAPS = (-1000, 0, 4, 8, 12, 18, 25, 40, 70, 120, 250, 1000)
_MARGINS = tuple(edge / 10 for edge in range(11))
_SIGNS = (*"0123456789", ".", ",", ":", "-", "_", "/", "$%#", "()", "\"'", "|[]{}~^*<>=+\\", "?!&@")
_KINDS: Mapping[str, Callable[[str], bool]] = {
    "digits": lambda text: any(ch.isdigit() for ch in text),
    "capitals": lambda text: len(text) > 1 and text.isupper(),
    "capitalised": lambda text: text[:1].isupper() and not text.isupper(),
    "small": str.islower,
    "signs": lambda text: not any(ch.isalnum() for ch in text),
    "colon": lambda text: text.endswith(":"),
    "money": lambda text: "$" in text or re.fullmatch(r"[\d,]+\.\d\d", text) is not None,
    "year": lambda text: re.search(r"(19|20)\d\d", text) is not None,
}
#: (rows, columns) of the maps: all words, how doubtful they are, and each of the first four kinds.
_ALL, _DOUBT, _KIND = (16, 10), (8, 6), (8, 5)
_MAPPED = ("digits", "capitals", "capitalised", "small")
_MOST_WORDS = np.log1p(1000)


class WordLayout(VectorDescriber):
    """Counts, sizes, kinds, lines, gaps and maps of words, as the mean over a document's pages."""

    name: ClassVar[str] = "word-layout"
    version: ClassVar[str] = "1"
    modality: ClassVar[str] = "layout"

    @property
    def width(self) -> int:
        return len(_describe(ReadPage("", (), 1, 1)))

    @property
    def params(self) -> Mapping[str, Any]:
        return {"maps": [_ALL, _DOUBT, _KIND]}

    def describe(self, pages: Sequence[ReadPage]) -> Described:
        return np.stack([_describe(page) for page in pages]).mean(axis=0).astype(np.float32)


def _describe(page: ReadPage) -> Numbers:
    words = [word for word in page.words if word.text.strip()]
    boxes = _boxes(words, page)
    kinds = {name: np.array([kind(word.text) for word in words], dtype=bool) for name, kind in _KINDS.items()}
    return np.concatenate(
        [
            [np.log1p(len(words)) / _MOST_WORDS, page.width / max(1, page.height)],
            _sizes(words, boxes),
            [_root(float(chosen.sum()), len(words)) for chosen in kinds.values()],
            _signs(words),
            _lines(boxes),
            _maps(words, boxes, kinds),
        ]
    )


def _boxes(words: Sequence[Word], page: ReadPage) -> Numbers:
    """`[n, 4]` left, top, right, bottom, as shares of the page."""
    corners = [(w.left, w.top, w.left + w.width, w.top + w.height) for w in words]
    size = (page.width, page.height, page.width, page.height)
    return np.array(corners, dtype=np.float64).reshape(-1, 4) / np.maximum(1, size)


def _sizes(words: Sequence[Word], boxes: Numbers) -> Numbers:
    heights = _some(1000 * (boxes[:, 3] - boxes[:, 1]))
    sure = _some(np.array([word.confidence for word in words]))
    return np.concatenate(
        [
            _shares(heights, _HEIGHTS, len(words)),
            _shares(sure, _CONFIDENCES, len(words)),
            np.percentile(heights, (5, 25, 50, 75, 95)) / 30,
            np.percentile(sure, (5, 25, 50, 75)),
        ]
    )


def _signs(words: Sequence[Word]) -> Numbers:
    text = "".join(word.text for word in words)
    shares = [_root(sum(map(text.count, group)), len(text)) for group in _SIGNS]
    capitals = sum(map(str.isupper, text)) / max(1, len(text))
    return np.array([*shares, capitals, len(text) / max(1, len(words)) / 6])


def _lines(boxes: Numbers) -> Numbers:
    """How many, how long, where they begin and end, and the gaps between them and between their words."""
    lines = _in_lines(boxes)
    lengths = _some(np.array([len(line) for line in lines], dtype=np.float64))
    begin = _some(np.array([line[:, 0].min() for line in lines]))
    end = _some(np.array([line[:, 2].max() for line in lines]))
    down = _some(1000 * np.diff([line[:, [1, 3]].mean() for line in lines]))
    across = _some(1000 * np.concatenate([np.zeros(0), *(line[1:, 0] - line[:-1, 2] for line in lines)]))
    return np.concatenate(
        [
            [np.log1p(len(lines)) / 5],
            _shares(lengths, _WORDS_A_LINE, len(lines)),
            _shares(begin, _MARGINS, len(lines)),
            _shares(end, _MARGINS, len(lines)),
            _shares(down, _LINE_GAPS, len(lines)),
            _shares(across, _WORD_GAPS, len(across)),
        ]
    )


def _in_lines(boxes: Numbers) -> list[Numbers]:
    """Words whose middles are at one height, from the top down, each line from the left to the right."""
    if not len(boxes):
        return []
    middles = boxes[:, [1, 3]].mean(axis=1)
    order = np.argsort(middles, kind="stable")
    lines: list[list[int]] = []
    start = -1.0
    for row in order:
        if not lines or middles[row] - start >= 0.6 * max(0.006, boxes[row, 3] - boxes[row, 1]):
            lines.append([])
            start = middles[row]
        lines[-1].append(row)
    return [boxes[sorted(line, key=lambda row: boxes[row, 0])] for line in lines]


def _maps(words: Sequence[Word], boxes: Numbers, kinds: Mapping[str, npt.NDArray[np.bool_]]) -> Numbers:
    doubt = np.array([1 - word.confidence for word in words])
    maps = [_map(boxes, np.ones(len(words)), _ALL), _map(boxes, doubt, _DOUBT)]
    maps += [_map(boxes, kinds[name].astype(np.float64), _KIND) for name in _MAPPED]
    return np.concatenate(maps)


def _map(boxes: Numbers, values: Numbers, shape: tuple[int, int]) -> Numbers:
    """How much of each cell the boxes cover, times their values."""
    rows, columns = shape
    down = _overlap(boxes[:, 1] * rows, boxes[:, 3] * rows, rows)
    across = _overlap(boxes[:, 0] * columns, boxes[:, 2] * columns, columns)
    covered: Numbers = np.einsum("n,nr,nc->rc", values, down, across)
    return np.sqrt(np.maximum(0, covered)).ravel()


def _overlap(start: Numbers, end: Numbers, cells: int) -> Numbers:
    """`[n, cells]` length of each interval within each unit cell."""
    edges = np.arange(cells)
    return np.clip(np.minimum(end[:, None], edges + 1) - np.maximum(start[:, None], edges), 0, 1)


def _shares(values: Numbers, edges: Sequence[float], whole: int) -> Numbers:
    return np.sqrt(np.histogram(values, bins=edges)[0] / max(1, whole))


def _root(part: float, whole: int) -> float:
    return float(np.sqrt(part / max(1, whole)))


def _some(values: Numbers) -> Numbers:
    """The values, or a zero where there are none: percentiles of nothing are an error."""
    return values if len(values) else np.zeros(1)
