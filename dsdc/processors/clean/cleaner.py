"""Text made ready for embedding, with every change counted.

Digits and accents are information: an amount, a date, a name. So the Unicode form is NFC, which only composes; NFKC
would turn `x²` into `x2`, `½` into `1⁄2` and `№` into `No`. The few ligatures that typesetting leaves behind are
spelt out by name. Lines go only where they are noise beyond doubt (see `_NOISE_LINES`); a line with nothing but a
number stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from dsdc.processors.clean.hyphens import join_hyphens
from dsdc.processors.contract import CleanedText, Cleaner

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
#: Joiners shape letters in several scripts; all other format characters are invisible.
_KEPT_FORMAT = {"\u200c", "\u200d"}
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn"}

_LINE_END = re.compile(r"\r\n?|[\x0b\x85\u2028]")
_PAGE_END = re.compile(r"[\x0c\u2029]")
_SOFT_HYPHEN = re.compile(r"\u00ad[^\S\n]*\n?[^\S\n]*")
_SPACES = re.compile(r"[^\S\n]+")
_LINE_EDGES = re.compile(r"^ +| +$", re.MULTILINE)
_GAPS = re.compile(r"\n{3,}")
#: Lines to write on and dots that lead to a page number: four or more of one mark, spaced or not.
_LEADERS = re.compile(r"([._\-=*~·•…])(?: ?\1){3,}")

_NOISE_LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    # Frames, specks and rulers: marks only; letters, digits, currency and check signs are kept.
    ("noise_lines", re.compile(r"[ |_\-=~.,:;'\"`^*°·•—–«»<>\\/()\[\]{}!¦]+")),
    # "Page 3 of 10", "- 3 -". A bare 3 may be an answer in a form, and stays.
    ("page_numbers", re.compile(r"(?:page|p\.) ?\d{1,4}(?: ?(?:of|/) ?\d{1,4})?|[-–—] ?\d{1,4} ?[-–—]", re.IGNORECASE)),
    # What a fax machine prints at the edge: a clock time, the word FAX, FROM, TO or TEL, and a page counter at the end.
    (
        "fax_headers",
        re.compile(
            r"(?=.*\b\d{1,2}:\d{2}\b)(?=.*\b(?:fax|from|to|tel)\b).*\b(?:p(?:age|g)?[. ] ?\d{1,3}|p\d{1,3})"
            r"(?: ?(?:/|of) ?\d{1,3})?",
            re.IGNORECASE,
        ),
    ),
    # An archive's running number: letters and at least six digits, alone on a line. Digits alone stay.
    ("bates_numbers", re.compile(r"[A-Z]{2,8}[ -]?\d{6,10}")),
)
_LONGEST_NOISE = 160

#: One pass over the text; it counts what it changed.
Step = Callable[[str, Counter[str]], str]

#: Each round undoes what the one before uncovered (a joined word, a line now empty); texts settle in one or two.
_MAX_ROUNDS = 50


class TextCleaner(Cleaner):
    """Unicode normal form, invisible characters, hyphenation, ligatures, spacing, boilerplate lines."""

    name: ClassVar[str] = "text-cleaner"
    version: ClassVar[str] = "1"

    @property
    def params(self) -> Mapping[str, Any]:
        """The Unicode version decides which characters are assigned and how they compose."""
        return {"form": "NFC", "unicode": unicodedata.unidata_version}

    def clean(self, text: str) -> CleanedText:
        """Any string in; cleaning the result again changes nothing."""
        changes: Counter[str] = Counter()
        for _ in range(_MAX_ROUNDS):
            before = text
            for step in self.steps():
                text = step(text, changes)
            if text == before:
                break
        return CleanedText(text=text, changes={kind: count for kind, count in sorted(changes.items()) if count})

    def steps(self) -> tuple[Step, ...]:
        """What is done to a text, round after round until it settles."""
        return _STEPS


def _characters(text: str, changes: Counter[str]) -> str:
    text = _PAGE_END.sub("\n\n", _LINE_END.sub("\n", text))
    text, changes_here = _SOFT_HYPHEN.subn("", text)
    changes["hyphens_joined"] += changes_here
    kept = "".join(ch for ch in text if _is_visible(ch))
    changes["invisible_characters"] += len(text) - len(kept)
    spelt = kept.translate(_LIGATURES)
    changes["ligatures"] += len(spelt) - len(kept)
    composed = unicodedata.normalize("NFC", spelt)
    changes["composed"] += composed != spelt
    return composed


def _is_visible(ch: str) -> bool:
    if ch in ("\n", "\t") or ch in _KEPT_FORMAT:
        return True
    return ch != "\ufffd" and unicodedata.category(ch) not in _DROPPED


def _spacing(text: str, changes: Counter[str]) -> str:
    text, leaders = _LEADERS.subn(" ", _SPACES.sub(" ", text))
    changes["leaders"] += leaders
    text = _LINE_EDGES.sub("", _SPACES.sub(" ", text))
    return _GAPS.sub("\n\n", text).strip("\n")


def _lines(text: str, changes: Counter[str]) -> str:
    kept = []
    for line in text.split("\n"):
        kind = _noise(line)
        if kind is None:
            kept.append(line)
        else:
            changes[kind] += 1
    return _GAPS.sub("\n\n", "\n".join(kept)).strip("\n")


def _noise(line: str) -> str | None:
    if not line or len(line) > _LONGEST_NOISE:
        return None
    return next((kind for kind, pattern in _NOISE_LINES if pattern.fullmatch(line)), None)


def _hyphens(text: str, changes: Counter[str]) -> str:
    text, joined = join_hyphens(text)
    changes["hyphens_joined"] += joined
    return text


_STEPS: tuple[Step, ...] = (_characters, _spacing, _lines, _hyphens)
