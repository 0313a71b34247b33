"""Drawings that stand for photographs, charts, emblems and products; all made up from shapes."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw, ImageFilter

from dsdc.samples.fonts import Font
from dsdc.samples.page import Box, Page, Point


def emblem(page: Page, x: float, y: float, size: float, rng: random.Random) -> None:
    """A company's mark in the box (x, y, size, size)."""
    middle = (x + size / 2, y + size / 2)
    kind = rng.choice(("ring", "diamond", "bars", "star", "shield", "letter"))
    if kind == "ring":
        page.polygon(circle(middle, size / 2), fill=rng.choice((0, None, 90)), weight=1.4)
        page.polygon(circle(middle, size / 3.2), fill=255, weight=1)
    elif kind == "diamond":
        page.polygon(
            [(middle[0], y), (x + size, middle[1]), (middle[0], y + size), (x, middle[1])],
            fill=rng.choice((0, 60, None)),
            weight=1.6,
        )
    elif kind == "bars":
        for i in range(4):
            page.rect(x + i * size / 4, y + (i % 2) * size / 5, size / 6, size * 0.8, fill=0, grey=None)
    elif kind == "star":
        page.polygon(circle(middle, size / 2, points=10, dent=0.45), fill=rng.choice((0, None)), weight=1)
    elif kind == "shield":
        page.polygon(
            [(x, y), (x + size, y), (x + size, y + size * 0.6), (middle[0], y + size), (x, y + size * 0.6)], weight=1.8
        )
        page.line(x, y + size * 0.35, x + size, y + size * 0.35, 2)
    else:
        page.rect(x, y, size, size, fill=0, grey=None)
        page.polygon(
            [(x + size * 0.2, y + size * 0.8), (middle[0], y + size * 0.15), (x + size * 0.8, y + size * 0.8)],
            fill=255,
            grey=None,
        )


def circle(middle: Point, radius: float, *, points: int = 28, dent: float = 1.0) -> list[Point]:
    """A ring of points; with `dent` under 1 every other one is drawn in, which makes a star."""
    return [
        (
            middle[0] + radius * (dent if i % 2 else 1) * math.sin(2 * math.pi * i / points),
            middle[1] - radius * (dent if i % 2 else 1) * math.cos(2 * math.pi * i / points),
        )
        for i in range(points)
    ]


def photograph(rng: random.Random, width: int = 320, height: int = 240) -> Image.Image:
    """A screened press photograph in mode L: a portrait, a landscape, a street or a still life."""
    image = Image.new("L", (width, height), rng.randint(90, 230))
    pen = ImageDraw.Draw(image)
    rng.choice((_portrait, _landscape, _street, _still_life, _crowd))(pen, width, height, rng)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2.2)))
    if rng.random() < 0.6:
        image = _screen(image, rng.choice((3, 4, 5)))
    return image


def _screen(image: Image.Image, cell: int) -> Image.Image:
    """Halftone dots: the image against a tiled cone."""
    cone = Image.new("L", (cell, cell))
    mid = (cell - 1) / 2
    cone.putdata(
        [round(255 * min(1.0, math.hypot(i % cell - mid, i // cell - mid) / (cell * 0.72))) for i in range(cell * cell)]
    )
    tile = Image.new("L", image.size)
    for x in range(0, image.width, cell):
        tile.paste(cone, (x, 0))
    strip = tile.crop((0, 0, image.width, cell))
    for y in range(0, image.height, cell):
        tile.paste(strip, (0, y))
    return Image.blend(image.point([min(255, max(0, (v - 128) * 2 + 128)) for v in range(256)]), tile, 0.45)


def _portrait(pen: ImageDraw.ImageDraw, w: int, h: int, rng: random.Random) -> None:
    cx, r = w * rng.uniform(0.4, 0.6), h * rng.uniform(0.2, 0.28)
    skin, coat = rng.randint(140, 225), rng.randint(10, 110)
    pen.ellipse([cx - r * 2.1, h * 0.66, cx + r * 2.1, h * 1.6], fill=coat)
    pen.polygon([(cx - r * 0.5, h * 0.66), (cx + r * 0.5, h * 0.66), (cx, h)], fill=235)
    pen.polygon([(cx - 6, h * 0.7), (cx + 6, h * 0.7), (cx + 9, h), (cx - 9, h)], fill=rng.randint(20, 120))
    pen.ellipse([cx - r * 0.85, h * 0.12, cx + r * 0.85, h * 0.12 + r * 2.4], fill=skin)
    pen.chord([cx - r * 0.9, h * 0.08, cx + r * 0.9, h * 0.12 + r * 1.9], 205, 335, fill=rng.randint(0, 120))
    for side in (-1, 1):
        pen.ellipse([cx + side * r * 0.36 - 5, h * 0.12 + r, cx + side * r * 0.36 + 5, h * 0.12 + r + 6], fill=30)
    pen.line([(cx - r * 0.3, h * 0.12 + r * 1.85), (cx + r * 0.3, h * 0.12 + r * 1.8)], fill=70, width=3)


def _landscape(pen: ImageDraw.ImageDraw, w: int, h: int, rng: random.Random) -> None:
    for layer in range(4):
        base = h * (0.4 + 0.15 * layer)
        phase = rng.uniform(0, 6)
        ridge = [(x, base + h * 0.09 * math.sin(x / w * rng.uniform(4, 9) + phase)) for x in range(0, w + 20, 20)]
        pen.polygon([(0, h), *ridge, (w, h)], fill=170 - 45 * layer + rng.randint(-15, 15))
    x, r = rng.uniform(0.2, 0.8) * w, h * 0.09
    pen.ellipse([x - r, h * 0.1, x + r, h * 0.1 + 2 * r], fill=250)


def _street(pen: ImageDraw.ImageDraw, w: int, h: int, rng: random.Random) -> None:
    x = 0
    while x < w:
        wide, top = rng.randint(30, 80), rng.randint(int(h * 0.1), int(h * 0.5))
        pen.rectangle([x, top, x + wide, h], fill=rng.randint(30, 170))
        for wy in range(top + 8, h - 10, 18):
            for wx in range(x + 6, x + wide - 8, 14):
                pen.rectangle([wx, wy, wx + 7, wy + 9], fill=rng.choice((220, 30, 60)))
        x += wide + rng.randint(0, 8)
    pen.rectangle([0, int(h * 0.9), w, h], fill=60)


def _still_life(pen: ImageDraw.ImageDraw, w: int, h: int, rng: random.Random) -> None:
    pen.rectangle([0, int(h * 0.65), w, h], fill=rng.randint(20, 90))
    for _ in range(rng.randint(2, 5)):
        x, tall, wide = rng.uniform(0.1, 0.8) * w, rng.uniform(0.3, 0.6) * h, rng.uniform(0.08, 0.2) * w
        foot = h * rng.uniform(0.72, 0.9)
        fill = rng.randint(60, 250)
        if rng.random() < 0.5:
            pen.rectangle([x, foot - tall, x + wide, foot], fill=fill, outline=20)
            pen.rectangle([x, foot - tall * 0.7, x + wide, foot - tall * 0.45], fill=255 - fill)
        else:
            pen.ellipse([x, foot - wide, x + wide * 1.4, foot], fill=fill, outline=10)


def _crowd(pen: ImageDraw.ImageDraw, w: int, h: int, rng: random.Random) -> None:
    for row in range(4):
        for i in range(9):
            x, y = (i + rng.random()) * w / 9, h * (0.35 + 0.17 * row)
            r = h * 0.06 * (1 + 0.2 * row)
            pen.ellipse([x - r * 1.6, y + r, x + r * 1.6, y + r * 6], fill=rng.randint(10, 120))
            pen.ellipse([x - r, y - r, x + r, y + r * 1.2], fill=rng.randint(120, 235))


def pack(page: Page, box: Box, brand: str, rng: random.Random) -> None:
    """A box of something, drawn in three planes with its name on the front."""
    x, y, w, h = box
    deep = w * rng.uniform(0.15, 0.35)
    dark = rng.choice((0, 40, 110, 220))
    page.polygon(
        [(x, y), (x + deep, y - deep * 0.6), (x + w + deep, y - deep * 0.6), (x + w, y)], fill=rng.randint(150, 240)
    )
    page.polygon(
        [(x + w, y), (x + w + deep, y - deep * 0.6), (x + w + deep, y + h - deep * 0.6), (x + w, y + h)],
        fill=max(0, dark - 30),
    )
    page.rect(x, y, w, h, fill=255)
    page.rect(x, y + h * rng.uniform(0.05, 0.2), w, h * rng.uniform(0.25, 0.5), fill=dark, grey=None)
    size = min(h * 0.16, w / max(4, len(brand)) * 1.7)
    page.text(x + w / 2, y + h * 0.8, brand, Font(rng.choice(("times", "helvetica")), size, bold=True), anchor="c")
    emblem(page, x + w * 0.36, y + h * 0.14, w * 0.28, rng)


def chart(page: Page, box: Box, rng: random.Random, labels: list[str]) -> None:
    """A bar, line, scatter or pie chart in the box."""
    x, y, w, h = box
    small = Font("helvetica", 7.5)
    kind = rng.choice(("bar", "bar", "line", "pie", "scatter"))
    if kind == "pie":
        _pie(page, (x, y), min(w, h), rng, labels)
        return
    page.line(x, y, x, y + h, 1)
    page.line(x, y + h, x + w, y + h, 1)
    values = [rng.uniform(0.15, 0.95) for _ in labels]
    step = w / max(1, len(labels))
    for i in range(1, 5):
        page.text(x - 4, y + h - i * h / 5 + 2, str(i * 20), small, anchor="r")
    if kind == "bar":
        for i, value in enumerate(values):
            page.rect(
                x + i * step + step * 0.2,
                y + h * (1 - value),
                step * 0.6,
                h * value,
                fill=rng.choice((0, 80, 160, 220)),
            )
    elif kind == "line":
        for _ in range(rng.randint(1, 3)):
            page.curve(
                [(x + (i + 0.5) * step, y + h * (1 - rng.uniform(0.1, 0.95))) for i in range(len(labels))],
                rng.uniform(0.8, 2),
            )
    else:
        for _ in range(rng.randint(15, 40)):
            px = rng.random()
            page.polygon(circle((x + px * w, y + h * (1 - 0.8 * px - rng.uniform(0, 0.18))), 1.8, points=8), fill=0)
        page.line(x, y + h * 0.92, x + w, y + h * 0.1, 0.8)
    for i, label in enumerate(labels):
        page.text(x + (i + 0.5) * step, y + h + 11, label[: max(3, int(step / 4))], small, anchor="c")


def _pie(page: Page, at: Point, size: float, rng: random.Random, labels: list[str]) -> None:
    small, middle, angle = Font("helvetica", 8), (at[0] + size / 2, at[1] + size / 2), 0.0
    parts = [rng.uniform(0.3, 1) for _ in labels]
    for part, label in zip(parts, labels, strict=True):
        turn = part / sum(parts) * 2 * math.pi
        arc = [
            (
                middle[0] + size / 2.2 * math.sin(angle + turn * t / 12),
                middle[1] - size / 2.2 * math.cos(angle + turn * t / 12),
            )
            for t in range(13)
        ]
        page.polygon([middle, *arc], fill=rng.choice((40, 110, 180, 225, 255)))
        mid = angle + turn / 2
        page.text(
            middle[0] + size * 0.62 * math.sin(mid), middle[1] - size * 0.55 * math.cos(mid), label, small, anchor="c"
        )
        angle += turn
