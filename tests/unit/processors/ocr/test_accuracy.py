"""Real scanned forms against their ground truth.

Words are matched by their boxes, so that reading order, of which forms have none, does not count. Errors are edits of
characters; what was read where there is no word counts as inserted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dsdc.processors.contract import PageSource, PageText, Word
from dsdc.processors.ocr import PageReader
from dsdc.settings import Ocr

pytestmark = pytest.mark.corpus

FORMS = ("0000971160", "0000989556", "0000990274")
Box = tuple[int, int, int, int]


def _truth(corpus: Path, name: str) -> list[tuple[str, Box]]:
    form = json.loads((corpus / "funsd" / "annotations" / f"{name}.json").read_text())["form"]
    return [(word["text"], tuple(word["box"])) for part in form for word in part["words"] if word["text"].strip()]


def _overlap(word: Word, box: Box) -> int:
    across = min(word.left + word.width, box[2]) - max(word.left, box[0])
    down = min(word.top + word.height, box[3]) - max(word.top, box[1])
    return max(across, 0) * max(down, 0)


def _errors(truth: list[tuple[str, Box]], words: tuple[Word, ...], distance: Callable[[str, str], int]) -> int:
    read: dict[int | None, list[Word]] = {}
    for word in words:
        best = max(range(len(truth)), key=lambda i: _overlap(word, truth[i][1]))
        read.setdefault(best if _overlap(word, truth[best][1]) else None, []).append(word)
    errors = sum(len(word.text) for word in read.pop(None, []))
    for i, (text, _) in enumerate(truth):
        errors += distance(text, "".join(word.text for word in sorted(read.get(i, []), key=lambda w: w.left)))
    return errors


def test_forms_are_read_with_few_errors_because_they_are_enlarged(
    corpus: Path, stored: Callable[..., PageSource], edit_distance: Callable[[str, str], int]
) -> None:
    names = [name for name in FORMS if (corpus / "funsd" / "images" / f"{name}.png").is_file()]
    assert names
    images = [Image.open(corpus / "funsd" / "images" / f"{name}.png").convert("L") for name in names]
    truths = [_truth(corpus, name) for name in names]
    characters = sum(len(text) for truth in truths for text, _ in truth)

    def error_rate(dpi: int | None) -> float:
        sources = [stored(name, image, dpi) for name, image in zip(names, images, strict=True)]
        found = list(PageReader(Ocr(engine="tesseract")).read(sources))
        assert all(isinstance(page, PageText) for page in found)
        return sum(_errors(t, p.words, edit_distance) for t, p in zip(truths, found, strict=True)) / characters

    enlarged, as_it_is = error_rate(None), error_rate(150)  # told 150 dpi, the reader leaves the size alone
    assert enlarged < 0.25
    assert enlarged < as_it_is
