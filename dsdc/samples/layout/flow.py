"""A cursor that sets lines and paragraphs down a page, and turns the page when it is full."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dsdc.samples.fonts import TYPEWRITERS, Font, width, wrap
from dsdc.samples.page import A4, LEGAL, LETTER, Anchor, Page, Point
from dsdc.samples.text import Tongue


@dataclass
class Margins:
    left: float = 72.0
    top: float = 72.0
    right: float = 72.0
    bottom: float = 66.0


class Flow:
    """Writes downwards. `limit` is the number of pages; what does not fit on the last one is left unwritten."""

    def __init__(
        self,
        font: Font,
        *,
        size: Point = LETTER,
        margins: Margins | None = None,
        leading: float | None = None,
        limit: int = 1,
        on_turn: Callable[[Flow], None] | None = None,
    ) -> None:
        self.font = font
        self.margins = margins or Margins()
        self.leading = leading or font.size * 1.2
        self.limit = limit
        self.on_turn = on_turn
        self.full = False
        self.typewritten = font.family in TYPEWRITERS
        self.pages = [Page(size, typewritten=self.typewritten)]
        self.y = self.margins.top

    @property
    def page(self) -> Page:
        return self.pages[-1]

    @property
    def left(self) -> float:
        return self.margins.left

    @property
    def right(self) -> float:
        return self.page.width - self.margins.right

    @property
    def measure(self) -> float:
        return self.right - self.left

    @property
    def room(self) -> float:
        """Points left above the bottom margin."""
        return 0.0 if self.full else self.page.height - self.margins.bottom - self.y

    def space(self, points: float | None = None) -> None:
        self.y += self.leading if points is None else points

    def take(self, height: float) -> bool:
        """Move down by `height`, to the next page if need be; False once the last one is full."""
        if self.room < height:
            if len(self.pages) >= self.limit:
                self.full = True
                return False
            self.pages.append(Page(self.page.size, typewritten=self.typewritten))
            self.y = self.margins.top
            if self.on_turn:
                self.on_turn(self)
        self.y += height
        return not self.full

    def line(
        self,
        text: str = "",
        *,
        font: Font | None = None,
        indent: float = 0.0,
        anchor: Anchor = "l",
        underline: bool = False,
        leading: float | None = None,
    ) -> None:
        """One line, broken where it does not fit."""
        font = font or self.font
        lines = wrap(text, font, self.measure - indent) if width(text, font) > self.measure - indent else [text]
        for part in lines:
            if not self.take(leading or max(self.leading, font.size * 1.15)):
                return
            x = {"l": self.left + indent, "c": (self.left + self.right) / 2, "r": self.right}[anchor]
            self.page.text(x, self.y, part, font, anchor=anchor, underline=underline)

    def lines(
        self, texts: Sequence[str], *, indent: float = 0.0, font: Font | None = None, anchor: Anchor = "l"
    ) -> None:
        for text in texts:
            self.line(text, indent=indent, font=font, anchor=anchor)

    def para(
        self,
        text: str,
        *,
        first: float = 0.0,
        indent: float = 0.0,
        after: float | None = None,
        font: Font | None = None,
        hanging: str = "",
        justify: bool = False,
        leading: float | None = None,
    ) -> None:
        """A paragraph. `hanging` is a number or bullet set left of it; `justify` stretches the blanks."""
        font = font or self.font
        broken = wrap(text, font, self.measure - indent, first)
        for number, part in enumerate(broken):
            if not self.take(leading or max(self.leading, font.size * 1.15)):
                return
            x = self.left + indent + (first if number == 0 else 0.0)
            if hanging and number == 0:
                gap = max(18.0, width(hanging, font) + 6)
                self.page.text(x - gap, self.y, hanging, font)
            if justify and number < len(broken) - 1:
                self._justified(x, part, font, self.measure - indent - (first if number == 0 else 0.0))
            else:
                self.page.text(x, self.y, part, font)
        self.space(self.leading * 0.6 if after is None else after)

    def _justified(self, x: float, text: str, font: Font, measure: float) -> None:
        words = text.split(" ")
        if len(words) < 4:
            self.page.text(x, self.y, text, font)
            return
        gap = (measure - sum(width(word, font) for word in words)) / (len(words) - 1)
        for word in words:
            x += self.page.text(x, self.y, word, font) + gap

    def rule(self, weight: float = 0.8, *, inset: float = 0.0) -> None:
        self.page.line(self.left + inset, self.y, self.right - inset, self.y, weight)

    def row(
        self, cells: Sequence[tuple[float, str, Anchor]], *, font: Font | None = None, underline: bool = False
    ) -> None:
        """Cells on one baseline: (offset from the left margin, text, anchor)."""
        if self.take(self.leading):
            for x, text, anchor in cells:
                self.page.text(self.left + x, self.y, text, font or self.font, anchor=anchor, underline=underline)


def heads(text: Callable[[int], str], anchor: Anchor = "l") -> Callable[[Flow], None]:
    """What to do on every new page: set a head made from the page's number, and leave room."""

    def turn(flow: Flow) -> None:
        flow.line(text(len(flow.pages)), anchor=anchor)
        flow.space(flow.leading * 1.5)

    return turn


def paper(rng: random.Random) -> Point:
    return rng.choices((LETTER, A4, LEGAL), weights=(14, 3, 1))[0]


def body_font(tongue: Tongue, size: float | None = None) -> Font:
    """What a document of the tongue's year was written with: a typewriter, later a word processor."""
    rng = tongue.rng
    late = tongue.year >= 1986
    family = rng.choices(
        ("courier", "teletype", "mono", "times", "helvetica", "stix", "serif", "sans"),
        weights=(3, 1, 1, 6, 4, 2, 0.7, 0.7) if late else (9, 3, 2, 1, 0.4, 0.3, 0, 0),
    )[0]
    points = {"teletype": 11.5, "mono": 9.2, "serif": 9.5, "sans": 9.5, "helvetica": 10.5}.get(family, 11.0)
    return Font(family, size or points * rng.uniform(0.93, 1.08), bold=family == "courier" and rng.random() < 0.25)


def margins(rng: random.Random) -> Margins:
    side = rng.uniform(54, 92)
    return Margins(side, rng.uniform(44, 86), side * rng.uniform(0.75, 1.1), rng.uniform(50, 80))


def sheet(tongue: Tongue, *, font: Font | None = None, limit: int = 1, spacing: float | None = None) -> Flow:
    """An empty page in the manner of the tongue's year."""
    rng = tongue.rng
    chosen = font or body_font(tongue)
    leading = chosen.size * (spacing or rng.choice((1.08, 1.15, 1.2, 1.25)))
    return Flow(chosen, size=paper(rng), margins=margins(rng), leading=leading, limit=limit)


def heading(tongue: Tongue, base: Font, *, grow: float = 1.0) -> Font:
    """A face for headings beside `base`."""
    rng = tongue.rng
    if base.family in TYPEWRITERS:
        return base._replace(size=base.size * min(grow, 1.1), bold=rng.random() < 0.3)
    family = rng.choice((base.family, base.family, "helvetica", "times"))
    return Font(family, base.size * grow, bold=rng.random() < 0.8)
