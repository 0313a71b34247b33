"""Pages that can be learnt in seconds: the words of a text tell which bars are on its page, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

TOPICS = (
    "invoice total amount due",
    "dear sir yours sincerely",
    "curriculum vitae education",
    "figure abstract method",
)
PLACES = ("north", "east", "south", "west", "middle", "corner")


@dataclass(frozen=True)
class Page:
    text: str
    image: Image.Image


def page(number: int) -> Page:
    """The same number is the same page; topic and place repeat, noise and the running number do not."""
    random = np.random.default_rng(number)
    topic, place = number % len(TOPICS), number // len(TOPICS) % len(PLACES)
    sheet = Image.fromarray(random.integers(200, 255, (96, 72)).astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    for bar in range(1 + topic):
        left, top = 6 + 10 * place, 8 + 20 * bar
        draw.rectangle((left, top, left + 10, top + 14), fill=int(random.integers(0, 60)))
    words = f"{TOPICS[topic]} {PLACES[place]} page " * 2
    return Page(f"{words}reference {number:06d}", sheet)


def blank() -> Image.Image:
    return Image.new("L", (72, 96), 255)
