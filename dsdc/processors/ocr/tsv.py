"""Tesseract's TSV -> words and text; both engines speak it, so both give the same shape of result."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from dsdc.processors.contract import Word

_WORD_LEVEL = "5"
_COLUMNS = 12


@dataclass(frozen=True)
class Recognised:
    """What an engine read: `text` has a line a line, and an empty line between paragraphs; boxes in its own pixels.

    `rotated`: degrees clockwise by which an engine that turns pages itself turned this one to read it.
    """

    words: tuple[Word, ...]
    text: str
    stripped: int = 0
    rotated: int = 0

    @property
    def confidence(self) -> float | None:
        """Mean over the words, 0 to 1."""
        return sum(word.confidence for word in self.words) / len(self.words) if self.words else None


def sound(text: str) -> tuple[str, int]:
    """`text` without what PostgreSQL and UTF-8 refuse (NUL, lone surrogates) and what decoding left; and how many."""
    kept = "".join(ch for ch in text if ch not in "\x00\ufffd" and unicodedata.category(ch) != "Cs")
    return kept, len(text) - len(kept)


def parse(tsv: str, scale: float = 1.0) -> Recognised:
    """Words and text out of TSV rows (level, page, block, paragraph, line, word, left, top, width, height, conf, text).

    Args:
        tsv: with or without the heading.
        scale: the image that was read is this many times the page image; boxes are brought back to the latter.
    """
    words: list[Word] = []
    parts: list[str] = []
    stripped, before = 0, ("", "", "")
    for place, row in _word_rows(tsv):
        text, lost = sound(row[11].strip())
        stripped += lost
        if not text:
            continue
        if words:
            parts.append(" " if place == before else "\n" if place[:2] == before[:2] else "\n\n")
        parts.append(text)
        words.append(_word(text, row, scale))
        before = place
    return Recognised(words=tuple(words), text="".join(parts), stripped=stripped)


def _word_rows(tsv: str) -> Iterator[tuple[tuple[str, str, str], list[str]]]:
    """((block, paragraph, line), columns) of each word."""
    for row in tsv.split("\n"):
        columns = row.split("\t", _COLUMNS - 1)
        if len(columns) == _COLUMNS and columns[0] == _WORD_LEVEL:
            yield (columns[2], columns[3], columns[4]), columns


def _word(text: str, row: list[str], scale: float) -> Word:
    left, top, width, height = (round(int(value) / scale) for value in row[6:10])
    return Word(text, left, top, width, height, confidence=min(max(float(row[10]) / 100, 0.0), 1.0))
