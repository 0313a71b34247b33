"""How far a text that was read is from what is written, in three ways, for reading order is no property of a form.

sequence
    Both texts as one line each: the passages of the truth in their order against the text as it was read. CER = edits
    of characters / characters of the truth; WER = the same in words. Columns and tables that were read in another
    order, just as well, count as errors here.
by boxes
    Each word read belongs to the passage that its box overlaps most; a passage's words, from the left, are compared to
    its text. What was read where nothing is written counts as inserted. Order between passages does not matter.
bag
    Words as a multiset: recall = words of the truth that were read, precision = words read that are in the truth.
    Neither order nor boxes matter.

Edits are Levenshtein's (insert, delete, substitute, each 1), as in ISRI's and ICDAR's evaluations. White space is one
space; case counts unless `fold_case`. Rates of many pages are sums of errors over sums of lengths (micro-averages).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from dsdc.processors.contract import Word


class Box(NamedTuple):
    """In pixels of the page image."""

    left: int
    top: int
    right: int
    bottom: int


class Passage(NamedTuple):
    """What is written at one place: a word, or a line."""

    text: str
    box: Box


@dataclass(frozen=True)
class Errors:
    """Of one page, or of many added up."""

    characters: int = 0
    words: int = 0
    sequence_characters: int = 0
    sequence_words: int = 0
    boxes_characters: int = 0
    boxes_words: int = 0
    words_read: int = 0
    words_found: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(*(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True)))

    def rates(self) -> dict[str, float]:
        """Named shares of the truth's length; all 0 to 1 but CER and WER, which insertions may take above it."""
        characters, words = max(self.characters, 1), max(self.words, 1)
        return {
            "cer_sequence": self.sequence_characters / characters,
            "wer_sequence": self.sequence_words / words,
            "cer_boxes": self.boxes_characters / characters,
            "wer_boxes": self.boxes_words / words,
            "bag_recall": self.words_found / words,
            "bag_precision": self.words_found / max(self.words_read, 1),
        }


def _numbers(errors: Errors) -> tuple[int, ...]:
    return tuple(vars(errors).values())


def page_errors(truth: Sequence[Passage], text: str, words: Sequence[Word], *, fold_case: bool = False) -> Errors:
    """Errors of one page.

    Args:
        truth: what is written, in reading order, which counts for the sequence alone.
        text: as it was read.
        words: of that text, with boxes in the same pixels.
        fold_case: for a truth that has lost its case.
    """
    if fold_case:
        truth = [Passage(passage.text.upper(), passage.box) for passage in truth]
        text, words = text.upper(), [_upper(word) for word in words]
    wanted = " ".join(passage.text for passage in truth).split()
    read = text.split()
    by_boxes = [_errors_between(there, found) for there, found in _by_boxes(truth, words)]
    return Errors(
        characters=len(" ".join(wanted)),
        words=len(wanted),
        sequence_characters=Levenshtein.distance(" ".join(wanted), " ".join(read)),
        sequence_words=Levenshtein.distance(wanted, read),
        boxes_characters=sum(characters for characters, _ in by_boxes),
        boxes_words=sum(in_words for _, in_words in by_boxes),
        words_read=len(read),
        words_found=sum((Counter(wanted) & Counter(read)).values()),
    )


def _upper(word: Word) -> Word:
    return Word(word.text.upper(), word.left, word.top, word.width, word.height, word.confidence)


def _errors_between(wanted: list[str], read: list[str]) -> tuple[int, int]:
    return Levenshtein.distance(" ".join(wanted), " ".join(read)), Levenshtein.distance(wanted, read)


def _by_boxes(truth: Sequence[Passage], words: Iterable[Word]) -> list[tuple[list[str], list[str]]]:
    """(words written, words read there) of each passage, and of what was read beside all of them."""
    there: dict[int | None, list[Word]] = defaultdict(list)
    for word in words:
        shared = [(overlap(word, passage.box), index) for index, passage in enumerate(truth)]
        area, index = max(shared, default=(0, 0), key=lambda pair: pair[0])
        there[index if area else None].append(word)
    beside: list[tuple[list[str], list[str]]] = [([], [word.text]) for word in there.pop(None, [])]
    at = [(passage.text.split(), _from_the_left(there.get(index, []))) for index, passage in enumerate(truth)]
    return at + beside


def _from_the_left(words: list[Word]) -> list[str]:
    return [word.text for word in sorted(words, key=lambda word: word.left)]


def overlap(word: Word, box: Box) -> int:
    """Square pixels that the word's box and `box` share."""
    across = min(word.left + word.width, box.right) - max(word.left, box.left)
    down = min(word.top + word.height, box.bottom) - max(word.top, box.top)
    return max(across, 0) * max(down, 0)


def in_rows(passages: Sequence[Passage]) -> list[Passage]:
    """From the top; what shares half its height with the row's first passage is in its row, from the left."""
    rows: list[list[Passage]] = []
    for passage in sorted(passages, key=lambda passage: (passage.box.top + passage.box.bottom, passage.box.left)):
        if rows and _same_row(rows[-1][0].box, passage.box):
            rows[-1].append(passage)
        else:
            rows.append([passage])
    return [passage for row in rows for passage in sorted(row, key=lambda passage: passage.box.left)]


def _same_row(one: Box, other: Box) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared * 2 >= min(one.bottom - one.top, other.bottom - other.top)
