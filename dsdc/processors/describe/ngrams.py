"""Hashed n-grams of all that was read in a document; a count a kind, weighed later by the head.

Digits are folded into one, so that `1998-03-12` and `2001-07-30` are one thing. Hashing (MurmurHash3, Weinberger et al.
2009) needs no vocabulary, so that a document is described without knowing any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar

import sklearn
from sklearn.utils import murmurhash3_32

from dsdc.processors.contract import Word
from dsdc.processors.describe.contract import CountDescriber, ReadPage

_BUCKETS = 2**18
_LEAST, _MOST = 2, 5
_DIGIT = re.compile(r"\d")
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
#: Bands from the top to the bottom of a page, for tokens that mean something where they stand.
_BANDS = 5


class CharacterNgrams(CountDescriber):
    """2 to 5 characters within words, a space on either side: sturdy against letters that were misread."""

    name: ClassVar[str] = "character-ngrams"
    version: ClassVar[str] = "1"
    modality: ClassVar[str] = "characters"

    @property
    def width(self) -> int:
        return _BUCKETS

    @property
    def params(self) -> Mapping[str, Any]:
        return {"buckets": _BUCKETS, "characters": [_LEAST, _MOST], "scikit-learn": sklearn.__version__}

    def count(self, pages: Sequence[ReadPage]) -> Mapping[int, int]:
        words = Counter(word for page in pages for word in _folded(page.text).split())
        found: Counter[int] = Counter()
        for word, times in words.items():
            for bucket in _buckets_of_word(word):
                found[bucket] += times
        return dict(sorted(found.items()))


class WordNgrams(CountDescriber):
    """Words, pairs of words, how lines begin and end, and words with the fifth of the page that they stand in."""

    name: ClassVar[str] = "word-ngrams"
    version: ClassVar[str] = "1"
    modality: ClassVar[str] = "words"

    @property
    def width(self) -> int:
        return _BUCKETS

    @property
    def params(self) -> Mapping[str, Any]:
        return {"buckets": _BUCKETS, "bands": _BANDS, "scikit-learn": sklearn.__version__}

    def count(self, pages: Sequence[ReadPage]) -> Mapping[int, int]:
        tokens = Counter(token for page in pages for token in _tokens(page))
        found: Counter[int] = Counter()
        for token, times in tokens.items():
            found[_bucket(token)] += times
        return dict(sorted(found.items()))


def _tokens(page: ReadPage) -> Iterator[str]:
    for line in _folded(page.text).splitlines():
        words = _TOKEN.findall(line)
        if not words:
            continue
        yield from words
        yield from map(" ".join, pairwise(words))
        yield f"^ {words[0]}"
        yield f"^ {' '.join(words[:2])}"
        yield f"{words[-1]} $"
    for word in page.words:
        yield f"@{_band(word, page)} {_folded(word.text)}"


def _band(word: Word, page: ReadPage) -> int:
    middle = (word.top + word.height / 2) / max(1, page.height)
    return min(_BANDS - 1, max(0, int(middle * _BANDS)))


def _folded(text: str) -> str:
    return _DIGIT.sub("0", text.lower())


@lru_cache(maxsize=100_000)
def _buckets_of_word(word: str) -> tuple[int, ...]:
    padded = f" {word} "
    return tuple(
        _bucket(padded[start : start + n])
        for n in range(_LEAST, min(_MOST, len(padded)) + 1)
        for start in range(len(padded) - n + 1)
    )


def _bucket(token: str) -> int:
    return int(murmurhash3_32(token, positive=True)) % _BUCKETS
