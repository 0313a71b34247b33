"""A page as a list of things drawn on it, in points from the top left corner; knows neither pixels nor PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from dsdc.samples.fonts import Font, spelled, width

Anchor = Literal["l", "c", "r"]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, width, height

LETTER: Point = (612.0, 792.0)
A4: Point = (595.0, 842.0)
LEGAL: Point = (612.0, 1008.0)


@dataclass(frozen=True)
class Text:
    """A run of text: (x, y) is its left end on the baseline; `angle` turns it counter-clockwise, in degrees."""

    x: float
    y: float
    text: str
    font: Font
    grey: int = 0
    angle: float = 0.0


@dataclass(frozen=True)
class Shape:
    """A line through `points`, or the polygon they enclose. Greys run from 0 (black) to 255; None: not drawn."""

    points: tuple[Point, ...]
    width: float = 0.8
    grey: int | None = 0
    fill: int | None = None
    closed: bool = False


@dataclass(frozen=True)
class Ink:
    """Handwriting: strokes of a pen `width` points wide; `says` is what it reads, empty for a scribble."""

    strokes: tuple[tuple[Point, ...], ...]
    width: float
    grey: int
    says: str
    y: float


@dataclass(frozen=True)
class Picture:
    """A greyscale image in the box (x, y, w, h), (x, y) the top left corner."""

    x: float
    y: float
    w: float
    h: float
    image: Image.Image


Item = Text | Shape | Ink | Picture


@dataclass
class Page:
    """`size` is (width, height) in points; `upright` False: the sheet was put on the scanner sideways."""

    size: Point = LETTER
    items: list[Item] = field(default_factory=list)
    typewritten: bool = False
    upright: bool = True

    @property
    def width(self) -> float:
        return self.size[0]

    @property
    def height(self) -> float:
        return self.size[1]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        font: Font,
        *,
        anchor: Anchor = "l",
        grey: int = 0,
        angle: float = 0.0,
        underline: bool = False,
    ) -> float:
        """Set a line with its baseline at `y`; answers its width in points."""
        if not text.strip():
            return 0.0
        text = spelled(text, font)
        wide = width(text, font)
        left = x - (0.0 if anchor == "l" else wide / 2 if anchor == "c" else wide)
        self.items.append(Text(left, y, text, font, grey, angle))
        if underline:
            self.line(left, y + 2, left + wide, y + 2, 0.7)
        return wide

    def line(self, x0: float, y0: float, x1: float, y1: float, weight: float = 0.8, *, grey: int = 0) -> None:
        self.items.append(Shape(((x0, y0), (x1, y1)), weight, grey))

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        *,
        weight: float = 0.8,
        grey: int | None = 0,
        fill: int | None = None,
    ) -> None:
        self.polygon(((x, y), (x + w, y), (x + w, y + h), (x, y + h)), weight=weight, grey=grey, fill=fill)

    def polygon(
        self, points: Sequence[Point], *, weight: float = 0.8, grey: int | None = 0, fill: int | None = None
    ) -> None:
        self.items.append(Shape(tuple(points), weight, grey, fill, closed=True))

    def curve(self, points: Sequence[Point], weight: float = 0.8, grey: int = 0) -> None:
        self.items.append(Shape(tuple(points), weight, grey))

    def ink(self, strokes: Sequence[Sequence[Point]], weight: float, grey: int, says: str, y: float) -> None:
        self.items.append(Ink(tuple(tuple(s) for s in strokes), weight, grey, says, y))

    def picture(self, x: float, y: float, w: float, h: float, image: Image.Image) -> None:
        self.items.append(Picture(x, y, w, h, image))

    def transcript(self, *, printed_only: bool = False) -> str:
        """What stands on the page, in drawing order; runs on one baseline make one line."""
        lines: list[str] = []
        last: float | None = None
        for item in self.items:
            if isinstance(item, Text):
                said, at, level = item.text, item.y, item.angle == 0
            elif isinstance(item, Ink) and item.says and not printed_only:
                said, at, level = item.says, item.y, True
            else:
                continue
            if lines and last is not None and level and abs(at - last) < 2.5:
                lines[-1] += f" {said.strip()}"
            else:
                lines.append(said.strip())
            last = at if level else None
        return "\n".join(lines)
