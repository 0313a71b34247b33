"""Handwriting from the public-domain Hershey strokes, bent into a different hand for every writer."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from HersheyFonts import HersheyFonts  # type: ignore[import-untyped]

from dsdc.samples.page import Box, Page, Point

_CAP = 21.0  # height of a Hershey capital in its own units
_BASE = 9.0  # its baseline

Glyph = tuple[float, tuple[tuple[Point, ...], ...]]


@lru_cache(maxsize=8)
def _alphabet(name: str) -> dict[str, Glyph]:
    """Every printable ASCII character as (advance, strokes), y down from the baseline, capitals 1 high."""
    font = HersheyFonts()
    font.load_default_font(name)
    glyphs: dict[str, Glyph] = {}
    for code in range(32, 127):
        for glyph in font.glyphs_for_text(chr(code)):
            left = glyph.left_offset
            strokes = tuple(
                tuple(((x - left) / _CAP, (y - _BASE) / _CAP) for x, y in stroke)
                for stroke in glyph.strokes
                if len(stroke) > 1
            )
            glyphs[chr(code)] = (glyph.char_width / _CAP, strokes)
    return glyphs


@dataclass(frozen=True)
class Hand:
    """One person's writing. `size` is the height of a capital in points."""

    alphabet: str
    size: float
    slant: float
    stretch: float
    spacing: float
    wobble: float
    drift: float
    weight: float
    grey: int

    @classmethod
    def draw(cls, rng: random.Random, size: float | None = None) -> Hand:
        """Someone new."""
        printing = rng.random() < 0.4
        return cls(
            alphabet=rng.choice(("futural", "rowmans") if printing else ("cursive", "scripts", "cursive", "scriptc")),
            size=size or rng.uniform(9.0, 14.0),
            slant=rng.uniform(-0.15, 0.3) if printing else rng.uniform(-0.25, 0.35),
            stretch=rng.uniform(0.62, 1.0) if printing else rng.uniform(0.85, 1.35),
            spacing=rng.uniform(-0.06, 0.08) if printing else rng.uniform(-0.02, 0.03),
            wobble=rng.uniform(0.02, 0.06),
            drift=rng.uniform(-0.012, 0.02),
            weight=rng.uniform(0.7, 1.9),
            grey=rng.choice((0, 0, 20, 60, 90)),
        )

    def width(self, text: str) -> float:
        """Width of a line in points, without the jitter."""
        glyphs = _alphabet(self.alphabet)
        return sum((glyphs.get(ch, glyphs[" "])[0] * self.stretch + self.spacing) * self.size for ch in text)

    def wrap(self, text: str, measure: float) -> list[str]:
        lines: list[str] = []
        line = ""
        for word in text.split():
            longer = f"{line} {word}" if line else word
            if line and self.width(longer) > measure:
                lines.append(line)
                line = word
            else:
                line = longer
        return [*lines, line] if line else lines

    def write(self, page: Page, x: float, y: float, text: str, rng: random.Random, *, silent: bool = False) -> float:
        """Write a line with its baseline at `y`; answers where the pen stops. `silent` leaves it out of the text."""
        strokes: list[tuple[Point, ...]] = []
        glyphs = _alphabet(self.alphabet)
        phase, pen, lift = rng.uniform(0, 6.3), x, 0.0
        for ch in text:
            advance, shape = glyphs.get(ch, glyphs[" "])
            lift = 0.7 * lift + rng.gauss(0, self.wobble)
            scale = self.size * rng.uniform(0.9, 1.1)
            strokes.extend(
                self._bend(stroke, (pen, y + (pen - x) * self.drift), scale, lift, phase) for stroke in shape
            )
            pen += (advance * self.stretch + self.spacing + rng.gauss(0, 0.02)) * self.size
            phase += rng.uniform(0.4, 1.4)
        page.ink(strokes, self.weight, self.grey, "" if silent else text, y)
        return pen

    def _bend(self, stroke: tuple[Point, ...], at: Point, scale: float, lift: float, phase: float) -> tuple[Point, ...]:
        """A stroke in page points: sheared, stretched and pushed about by a slow wave, so no two letters agree."""
        push, (pen, y) = self.wobble * 1.3, at
        return tuple(
            (
                pen + scale * (gx * self.stretch - gy * self.slant + push * math.sin(5 * gy + phase)),
                y + scale * (gy + lift + push * math.cos(5 * gx + 2 * phase)),
            )
            for gx, gy in stroke
        )

    def sign(self, page: Page, x: float, y: float, name: str, rng: random.Random) -> None:
        """A signature: the initials can be made out, the rest trails off; nobody could transcribe it."""
        flourish = Hand(
            rng.choice(("cursive", "scripts", "scriptc")),
            self.size * rng.uniform(1.3, 2.1),
            rng.uniform(0.1, 0.6),
            rng.uniform(0.8, 1.5),
            rng.uniform(-0.12, -0.02),
            rng.uniform(0.06, 0.13),
            rng.uniform(-0.08, 0.0),
            rng.uniform(0.9, 2.0),
            self.grey,
        )
        end = flourish.write(page, x, y, name[: rng.randint(4, 14)], rng, silent=True)
        rise = flourish.size
        tail = [(end + t * rise * 1.5, y - rise * 0.25 * math.sin(4.5 * t + 1) * (1 - t)) for t in _steps(14)]
        page.ink([tail], flourish.weight, flourish.grey, "", y)


def _steps(count: int) -> list[float]:
    return [i / (count - 1) for i in range(count)]


def loop(page: Page, box: Box, rng: random.Random, weight: float = 1.2, grey: int = 30) -> None:
    """A ring drawn by hand around the box."""
    x, y, w, h = box
    start, turns = rng.uniform(0, 6.3), rng.uniform(1.02, 1.25)
    points = []
    for t in _steps(36):
        angle = start + t * turns * 2 * math.pi
        grow = 1 + 0.08 * math.sin(3 * angle + start) + 0.06 * t
        points.append((x + w / 2 + grow * w / 2 * math.cos(angle), y + h / 2 + grow * h / 2 * math.sin(angle)))
    page.ink([points], weight, grey, "", y)


def tick(page: Page, x: float, y: float, size: float, rng: random.Random) -> None:
    """A check mark or a cross with its lower left corner at (x, y)."""
    j, grey = size * 0.15, 20
    if rng.random() < 0.5:
        strokes = [[(x, y - size * 0.4), (x + size * 0.35, y + rng.uniform(-j, j)), (x + size * 1.1, y - size * 1.2)]]
    else:
        strokes = [[(x, y - size), (x + size, y + rng.uniform(-j, j))], [(x + size, y - size), (x - j, y)]]
    page.ink(strokes, rng.uniform(0.9, 1.6), grey, "", y)
