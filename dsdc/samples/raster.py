"""A page as pixels."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from dsdc.samples.fonts import Font, face, pixels
from dsdc.samples.page import Ink, Page, Picture, Shape, Text


def raster(page: Page, dpi: int, rng: random.Random) -> Image.Image:
    """The page in mode L, black on white; typewritten pages get the uneven strike of a machine."""
    scale = dpi / 72
    image = Image.new("L", (round(page.width * scale), round(page.height * scale)), 255)
    pen = ImageDraw.Draw(image)
    worn = page.typewritten and rng.random() < 0.5
    for item in page.items:
        if isinstance(item, Text):
            _text(image, pen, item, scale, rng if worn else None)
        elif isinstance(item, Shape):
            _shape(pen, item, scale)
        elif isinstance(item, Ink):
            _ink(pen, item, scale)
        else:
            _picture(image, item, scale)
    return image


def _font_px(font: Font, scale: float) -> int:
    return max(6, round(font.size * scale))


def _text(image: Image.Image, pen: ImageDraw.ImageDraw, item: Text, scale: float, rng: random.Random | None) -> None:
    size = _font_px(item.font, scale)
    x, y = item.x * scale, item.y * scale
    text = item.text
    if item.angle:
        _turned(image, item, text, size, (x, y))
    elif rng is not None and size < 40:
        _struck(pen, item, scale, rng)
    else:
        pen.text((x, y), text, font=pixels(face(item.font), size), fill=item.grey, anchor="ls")


def _struck(pen: ImageDraw.ImageDraw, item: Text, scale: float, rng: random.Random) -> None:
    """Word by word, each a little off the line and more or less black."""
    size = _font_px(item.font, scale)
    font = pixels(face(item.font), size)
    x, y = item.x * scale, item.y * scale
    blank = font.getlength(" ")
    for word in item.text.split(" "):
        if word:
            grey = min(200, item.grey + int(abs(rng.gauss(0, 28))))
            pen.text((x, y + rng.choice((-1, 0, 0, 0, 1)) * size / 28), word, font=font, fill=grey, anchor="ls")
        x += font.getlength(word) + blank


def _turned(image: Image.Image, item: Text, text: str, size: int, at: tuple[float, float]) -> None:
    font = pixels(face(item.font), size)
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    pad = 2
    mask = Image.new("L", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), 0)
    ImageDraw.Draw(mask).text((pad - left, pad - top), text, font=font, fill=255, anchor="ls")
    mask = mask.rotate(item.angle, Image.Resampling.BILINEAR, expand=True)
    # where the baseline starts: at the bottom when the text climbs, at the top when it falls, between when it leans
    rise = {90: 1.0, 270: 0.0}.get(int(item.angle) % 360, 0.5)
    image.paste(item.grey, (round(at[0]), round(at[1] - mask.height * rise)), mask)


def _shape(pen: ImageDraw.ImageDraw, item: Shape, scale: float) -> None:
    points = [(x * scale, y * scale) for x, y in item.points]
    width = max(1, round(item.width * scale))
    if item.closed:
        outline = item.grey
        pen.polygon(points, fill=item.fill, outline=outline, width=width if outline is not None else 0)
    elif item.grey is not None:
        pen.line(points, fill=item.grey, width=width, joint="curve" if width > 2 else None)


def _ink(pen: ImageDraw.ImageDraw, item: Ink, scale: float) -> None:
    width = max(1, round(item.width * scale))
    for stroke in item.strokes:
        pen.line(
            [(x * scale, y * scale) for x, y in stroke],
            fill=item.grey,
            width=width,
            joint="curve" if width > 2 else None,
        )


def _picture(image: Image.Image, item: Picture, scale: float) -> None:
    size = (max(1, round(item.w * scale)), max(1, round(item.h * scale)))
    image.paste(item.image.resize(size, Image.Resampling.BILINEAR), (round(item.x * scale), round(item.y * scale)))
