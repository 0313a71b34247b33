"""The order in which lines that were found one by one are read: row by row, and columns of prose one after the other.

A row of a form or a table is read across, as it is meant: "Total  12.50". Only where a strip runs down between lines
long enough to be prose are its sides read apart, as in a paper of two columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dsdc.processors.contract import Word

#: Rows along which a strip must run to part columns, and mean characters of a line of prose.
_COLUMN_ROWS = 5
_PROSE_CHARS = 20
#: Line heights between two rows from which an empty line stands between them.
_PARAGRAPH = 1.0

Strip = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """Words from left to right."""

    words: tuple[Word, ...]

    @cached_property
    def left(self) -> int:
        return min(word.left for word in self.words)

    @cached_property
    def right(self) -> int:
        return max(word.left + word.width for word in self.words)

    @cached_property
    def top(self) -> int:
        return min(word.top for word in self.words)

    @cached_property
    def bottom(self) -> int:
        return max(word.top + word.height for word in self.words)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def characters(self) -> int:
        return sum(len(word.text) for word in self.words)


Row = list[Line]


def arranged(lines: Sequence[Sequence[Word]]) -> tuple[list[Word], str]:
    """The words in reading order, and the text: a line a row, an empty line where there is more space between rows."""
    rows = _in_order(_rows([Line(tuple(line)) for line in lines]))
    words = [word for row in rows for line in row for word in line.words]
    parts: list[str] = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None:
            parts.append("\n\n" if _apart(before, row) else "\n")
        parts.append(" ".join(word.text for line in row for word in line.words))
    return words, "".join(parts)


def _rows(lines: Sequence[Line]) -> list[Row]:
    """Lines side by side, from top to bottom; two are side by side whose middles are closer than half a line."""
    rows: list[Row] = []
    for line in sorted(lines, key=lambda line: (line.middle, line.left)):
        last = rows[-1][-1] if rows else None
        if last and line.middle - rows[-1][0].middle < 0.5 * min(line.height, last.height):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _in_order(rows: list[Row]) -> list[Row]:
    ordered: list[Row] = []
    at = 0
    while at < len(rows):
        found = _columns(rows, at)
        if found is None:
            ordered.append(rows[at])
            at += 1
        else:
            strip, end = found
            ordered += _side(rows[at:end], strip, right=False)
            ordered += _in_order(_side(rows[at:end], strip, right=True))
            at = end
    return ordered


def _columns(rows: list[Row], start: int) -> tuple[Strip, int] | None:
    """A strip that begins at row `start`, and the row after its last one; None where no columns of prose begin."""
    for first, second in zip(rows[start], rows[start][1:], strict=False):
        strip, end = _follow(rows, start, (first.right, second.left))
        if end - start >= _COLUMN_ROWS and all(
            _is_prose(_side(rows[start:end], strip, right=side)) for side in (False, True)
        ):
            return strip, end
    return None


def _follow(rows: list[Row], start: int, strip: Strip) -> tuple[Strip, int]:
    """The strip, narrowed to what stays free, and the first row that leaves none of it."""
    end = start
    for row in rows[start:]:
        low, high = strip
        for line in row:
            if line.right <= (low + high) / 2:
                low = max(low, line.right)
            elif line.left >= (low + high) / 2:
                high = min(high, line.left)
            else:
                return strip, end
        if high <= low:
            return strip, end
        strip, end = (low, high), end + 1
    return strip, end


def _side(rows: list[Row], strip: Strip, *, right: bool) -> list[Row]:
    middle = sum(strip) / 2
    sides = [[line for line in row if (line.left >= middle) == right] for row in rows]
    return [side for side in sides if side]


def _is_prose(rows: list[Row]) -> bool:
    lines = [line for row in rows for line in row]
    return len(rows) >= _COLUMN_ROWS and sum(line.characters for line in lines) >= _PROSE_CHARS * len(lines)


def _apart(before: Row, row: Row) -> bool:
    """A column that begins above where the last one ended is apart as well."""
    gap = min(line.top for line in row) - max(line.bottom for line in before)
    height = max(line.height for line in before)
    return gap > _PARAGRAPH * height or gap < -2 * height
