"""Words that a line break cut in two: `docu-⏎ment` is one word, `well-⏎known` has a hyphen of its own."""

from __future__ import annotations

import re

#: First parts that take a hyphen more often than not. With digits and capitals after the break nothing is certain,
#: and nothing is done: `555-⏎1234` stays as it is.
_COMPOUNDING = frozenset(
    """
    well self non co ex anti semi multi cross high low long short full half part ill all post pre mid off on one
    two three four five six seven eight nine ten first second third year old new free hard soft large small state
    quasi pseudo so by up out time real double single
    """.split()  # noqa: SIM905  # sixty quoted words are harder to read
)

_CUT = re.compile(r"(?<=[^\W\d_])[-‐]\n(?=[^\W\d_])")
_WORD_BEFORE = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*\Z")
_WORD_AFTER = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_WINDOW = 64  # longest word part looked at


def join_hyphens(text: str) -> tuple[str, int]:
    """(`text` with cut words whole again, how many).

    The text itself is the dictionary: a word that stands elsewhere in it, whole or with its hyphen, decides. Else a
    hyphen stays after the likes of `well` and in words that have one already, and goes in all others. A capital
    after the break keeps its hyphen (`Jean-⏎Paul`), unless the whole word is in capitals.
    """
    if not _CUT.search(text):
        return text, 0
    known = {word.casefold() for word in _WORD.findall(text)}
    return _CUT.subn(lambda cut: "" if _is_one_word(cut, known) else "-", text)


def _is_one_word(cut: re.Match[str], known: set[str]) -> bool:
    text = cut.string
    left_match = _WORD_BEFORE.search(text, max(0, cut.start() - _WINDOW), cut.start())
    right_match = _WORD_AFTER.match(text, cut.end(), cut.end() + _WINDOW)
    if left_match is None or right_match is None:
        return False
    left, right = left_match.group(), right_match.group()
    if not (right[0].islower() or (left.isupper() and right.isupper())):
        return False
    if f"{left}{right}".casefold() in known:
        return True
    if f"{left}-{right}".casefold() in known or "-" in left:
        return False
    return len(left) > 1 and left.casefold() not in _COMPOUNDING
