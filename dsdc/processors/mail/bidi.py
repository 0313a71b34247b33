"""Right-to-left text in the order in which its letters stand on the line.

PDFium reads a line back by the inverse of what is done here, so that the text layer holds what was written, letter by
letter. It is simpler than the Unicode algorithm: in a line that mostly runs to the right, each Hebrew or Arabic word is
drawn in its own place, and several of them stand in the order of the Latin words around.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import Literal

Direction = Literal["left", "right", "weak", "neutral"]

_CLASSES: dict[str, Direction] = {
    **dict.fromkeys(("R", "AL"), "right"),
    **dict.fromkeys(("AN", "EN", "NSM", "CS", "ES", "ET", "BN"), "weak"),
    "L": "left",
}
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def visual(line: str) -> str:
    """`line` (as it is read) from left to right; the same text where nothing in it runs to the left."""
    if line.isascii():
        return line
    runs = [(direction, "".join(run)) for direction, run in groupby(line, _direction)]
    rights = sum(direction == "right" for direction, _ in runs)
    to_left = to_left_overall = rights > 0 and rights >= sum(direction == "left" for direction, _ in runs)
    placed = []
    for direction, run in runs:
        if direction == "right" or (direction == "neutral" and to_left):
            to_left = True
            placed.append(run[::-1].translate(_MIRRORED))
        else:
            to_left = to_left and direction == "weak"
            placed.append(run)
    return "".join(reversed(placed) if to_left_overall else placed)


def _direction(ch: str) -> Direction:
    return _CLASSES.get(unicodedata.bidirectional(ch), "neutral")
