"""What copiers, scanners, fax machines and cameras do to a page. In: a clean page in mode L. Out: L, or 1 for bilevel.

The noise is drawn from one tile made once and cut at random places: fresh noise for every pixel costs ten times more
and looks the same.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Grey = npt.NDArray[np.int16]
_TILE = 512


@lru_cache(maxsize=4)
def _tile(blur: float) -> Grey:
    """Noise of standard deviation 32 around 0, `[512, 512]`, repeating without a seam; grains `blur` pixels wide."""
    noise = np.random.Generator(np.random.PCG64(7)).normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    if blur:
        image = Image.fromarray((noise * 40 + 128).clip(0, 255).astype(np.uint8))
        noise = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32) - 128
    return np.asarray(noise / noise.std() * 32, np.int16)


def _noise(shape: tuple[int, int], rng: random.Random, blur: float = 0.0) -> Grey:
    height, width = shape
    tile = np.roll(_tile(blur), (rng.randrange(_TILE), rng.randrange(_TILE)), (0, 1))
    return np.tile(tile, (math.ceil(height / _TILE), math.ceil(width / _TILE)))[:height, :width]


def skew(image: Image.Image, degrees: float, *, smooth: bool) -> Image.Image:
    """Turned about its middle; the size stays. What is thresholded later need not be `smooth`, which costs thrice."""
    return image.rotate(degrees, Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST, fillcolor=255)


@dataclass(frozen=True)
class Machine:
    """One scanner and the state of the paper; all pages of a document pass the same one. Shares are 0 to 1."""

    dpi: int
    skew_deg: float
    spread: float  # how far toner bleeds: blur radius in pixels before thresholding
    threshold: int
    specks: float
    band: float  # darkness of the copier's dirty side, 0: none
    band_side: str
    border: float  # black border where the sheet ends, share of the width
    holes: int
    hole_side: str
    fold: bool
    streaks: int
    dirt: float
    texture: int  # which row of the noise tile streaks the dirty side; negative: it is even

    @classmethod
    def draw(cls, rng: random.Random, dpi: int, wear: float, *, punched: bool = True) -> Machine:
        """`wear` 0 is a good copy of clean paper, 1 a copy of a copy."""
        bad = rng.random() < 0.08 + 0.45 * wear
        return cls(
            dpi=dpi,
            skew_deg=rng.gauss(0, 0.3 + 0.7 * wear),
            spread=rng.uniform(0.3, 0.6 + 0.5 * wear) * dpi / 150,
            threshold=rng.randint(150, 205) if rng.random() > 0.15 * wear else rng.randint(105, 130),
            specks=wear * rng.choice((0.0, 0.2, 0.6, 1.0)),
            band=rng.uniform(0.2, 1.0) if bad and rng.random() < 0.45 else 0.0,
            band_side=rng.choice("tblr"),
            border=rng.uniform(0.004, 0.05) if rng.random() < 0.1 + 0.2 * wear else 0.0,
            holes=rng.choice((0, 0, 0, 0, 0, 0, 2, 3, 3)) if punched else 0,
            hole_side=rng.choice("lllt"),
            fold=rng.random() < 0.1 + 0.2 * wear,
            streaks=rng.choice((0, 0, 0, 1, 3)) if bad else 0,
            dirt=rng.uniform(0, 0.5) * wear,
            texture=rng.randrange(_TILE) if rng.random() < 0.6 else -1,
        )


def bilevel(page: Image.Image, machine: Machine, rng: random.Random) -> Image.Image:
    """A 1-bit scan: bleeding toner, specks, a dirty side, black borders, punched holes."""
    worn = _wear(page, machine, rng, smooth=False)
    pixels = np.asarray(worn, np.int16)
    grain = _noise((worn.height, worn.width), rng) // 4
    shade = _shade((worn.height, worn.width), machine)
    if shade is not None:
        pixels = pixels - shade + 3 * grain
    return Image.fromarray(((pixels + grain) > machine.threshold).astype(np.uint8) * 255).convert("1")


def grey(page: Image.Image, machine: Machine, rng: random.Random) -> Image.Image:
    """A greyscale scan: paper colour, low contrast, uneven light, grain."""
    worn = _wear(page, machine, rng, smooth=True)
    paper, black = rng.randint(205, 252), rng.randint(5, 95)
    pixels = np.asarray(worn.point([black + v * (paper - black) // 255 for v in range(256)]), np.int16)
    pixels = pixels + _noise((worn.height, worn.width), rng, 0.8) * rng.randint(1, 7) // 32
    shade = _shade((worn.height, worn.width), machine)
    if shade is not None:
        pixels = pixels - shade // 3
    if rng.random() < 0.4:
        pixels = pixels - _slope((worn.height, worn.width), rng, rng.randint(10, 45))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def reread(page: Image.Image, machine: Machine, rng: random.Random) -> Image.Image:
    """A bilevel scan that was made smaller afterwards, so its edges are grey: how archives serve such pages."""
    scan = bilevel(page, machine, rng).convert("L")
    share = rng.uniform(0.6, 0.8)
    return scan.resize((round(scan.width * share), round(scan.height * share)), Image.Resampling.BOX)


def _wear(page: Image.Image, machine: Machine, rng: random.Random, *, smooth: bool) -> Image.Image:
    image = page.copy()
    pen = ImageDraw.Draw(image)
    if machine.fold:
        _fold(pen, image, rng)
    _specks(pen, image, machine, rng)
    image = image.filter(ImageFilter.BoxBlur(machine.spread))
    lean = machine.skew_deg + rng.gauss(0, 0.15)
    if abs(lean) > 0.08:
        image = skew(image, lean, smooth=smooth)
    pen = ImageDraw.Draw(image)
    _holes(pen, image, machine, rng)
    for _ in range(machine.streaks):
        x = rng.randrange(image.width)
        pen.line(
            [(x, 0), (x + rng.randint(-3, 3), image.height)], fill=rng.randint(60, 190), width=rng.choice((1, 1, 2))
        )
    if machine.border:
        _border(pen, image, machine, rng)
    return image


def _fold(pen: ImageDraw.ImageDraw, image: Image.Image, rng: random.Random) -> None:
    across = rng.random() < 0.6
    at = rng.choice((1 / 3, 1 / 2, 2 / 3)) + rng.uniform(-0.02, 0.02)
    length, depth = (image.width, image.height) if across else (image.height, image.width)
    points = [(t * length / 12, at * depth + rng.gauss(0, 1.5)) for t in range(13)]
    path = points if across else [(y, x) for x, y in points]
    pen.line(path, fill=rng.randint(120, 200), width=rng.randint(1, 2))


def _specks(pen: ImageDraw.ImageDraw, image: Image.Image, machine: Machine, rng: random.Random) -> None:
    area = image.width * image.height / 2e6
    for _ in range(int(area * (machine.specks * 260 + machine.dirt * 120))):
        x, y, r = rng.randrange(image.width), rng.randrange(image.height), rng.choice((0, 0, 1, 1, 2))
        pen.ellipse([x, y, x + r + rng.randint(0, 1), y + r], fill=rng.choice((0, 0, 60, 255)))
    for _ in range(int(machine.dirt * 8)):
        x, y = rng.randrange(image.width), rng.randrange(image.height)
        pen.line([(x, y), (x + rng.randint(-25, 25), y + rng.randint(-25, 25))], fill=rng.randint(0, 120), width=1)


def _holes(pen: ImageDraw.ImageDraw, image: Image.Image, machine: Machine, rng: random.Random) -> None:
    if not machine.holes:
        return
    r, inset = 0.13 * machine.dpi, 0.33 * machine.dpi + rng.uniform(-4, 4)
    along = image.height if machine.hole_side == "l" else image.width
    places = (0.5 - 0.125, 0.5 + 0.125) if machine.holes == 2 else (0.11, 0.5, 0.89)
    fill = rng.choice((0, 0, 0, 40, 235))
    for place in places:
        x, y = (inset, place * along) if machine.hole_side == "l" else (place * along, inset)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=fill, outline=90)


def _border(pen: ImageDraw.ImageDraw, image: Image.Image, machine: Machine, rng: random.Random) -> None:
    """The scanner's lid beyond the sheet: black at one or two sides, its edge slightly askew."""
    thick = machine.border * image.width
    w, h = image.size
    for side in rng.sample("tblr", rng.choice((1, 1, 2, 3))):
        a, b = thick * rng.uniform(0.4, 1), thick * rng.uniform(0.4, 1)
        shapes: dict[str, list[tuple[float, float]]] = {
            "t": [(0, 0), (w, 0), (w, a), (0, b)],
            "b": [(0, h), (w, h), (w, h - a), (0, h - b)],
            "l": [(0, 0), (a, 0), (b, h), (0, h)],
            "r": [(w, 0), (w - a, 0), (w - b, h), (w, h)],
        }
        pen.polygon(shapes[side], fill=rng.randint(0, 25))


def _ramp(shape: tuple[int, int], side: str) -> npt.NDArray[np.float32]:
    """1 at a side, 0 at the opposite one; `[h, 1]` or `[1, w]`."""
    length = shape[0] if side in "tb" else shape[1]
    ramp = np.linspace(1, 0, length, dtype=np.float32)
    if side in "br":
        ramp = ramp[::-1]
    return ramp[:, None] if side in "tb" else ramp[None, :]


def _shade(shape: tuple[int, int], machine: Machine) -> Grey | None:
    if not machine.band:
        return None
    ramp = np.clip(_ramp(shape, machine.band_side) * 2.2 - 1.2, 0, 1)
    if machine.texture >= 0:
        row = _tile(2.0)[machine.texture].astype(np.float32) / 140 + 1
        across = np.tile(row, math.ceil(max(shape) / _TILE))
        ramp = ramp * (across[: shape[1]][None, :] if machine.band_side in "tb" else across[: shape[0]][:, None])
    return np.broadcast_to((ramp * 170 * machine.band).astype(np.int16), shape)


def _slope(shape: tuple[int, int], rng: random.Random, depth: int) -> Grey:
    return ((_ramp(shape, rng.choice("tb")) * 0.5 + _ramp(shape, rng.choice("lr")) * 0.5) * depth).astype(np.int16)


def photograph(page: Image.Image, rng: random.Random, height: int = 1280) -> Image.Image:
    """A picture of the sheet lying on something, in RGB, `height` pixels high."""
    size = (round(height * rng.choice((0.75, 0.75, 0.8))), height)
    sheet = _crumple(page, rng)
    corners = _corners(size, rng)
    coefficients = _perspective(corners, sheet.size)
    paper = sheet.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    table = _table(size, rng)
    shadow = ImageChops.offset(mask, rng.randint(4, 14), rng.randint(4, 14)).resize((size[0] // 8, size[1] // 8))
    shadow = shadow.filter(ImageFilter.GaussianBlur(1.5)).resize(size).point([v // 2 for v in range(256)])
    table.paste(Image.new("RGB", size, (12, 10, 8)), (0, 0), shadow)
    tint = rng.choice(((255, 252, 244), (255, 246, 226), (240, 246, 255), (250, 250, 250)))
    coloured = Image.merge("RGB", [paper.point([v * t // 255 for v in range(256)]) for t in tint])
    table.paste(coloured, (0, 0), mask.filter(ImageFilter.GaussianBlur(0.8)))
    return _light(table, rng)


def _crumple(page: Image.Image, rng: random.Random) -> Image.Image:
    image = page.point([30 + v * 215 // 255 for v in range(256)])
    if rng.random() < 0.6:
        pen = ImageDraw.Draw(image)
        for _ in range(rng.randint(1, 2)):
            _fold(pen, image, rng)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.9)))


def _corners(size: tuple[int, int], rng: random.Random) -> list[tuple[float, float]]:
    """Where the sheet's corners fall, clockwise from the top left."""
    w, h = size
    lean = math.radians(rng.gauss(0, 2.5))
    middle = (w * rng.uniform(0.48, 0.52), h * rng.uniform(0.48, 0.52))
    half = (w * rng.uniform(0.40, 0.455), h * rng.uniform(0.41, 0.46))
    corners = []
    for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x = sx * half[0] * rng.uniform(0.93, 1.03) + rng.uniform(-6, 6)
        y = sy * half[1] * rng.uniform(0.95, 1.03)
        corners.append(
            (middle[0] + x * math.cos(lean) - y * math.sin(lean), middle[1] + x * math.sin(lean) + y * math.cos(lean))
        )
    return corners


def _perspective(corners: list[tuple[float, float]], size: tuple[int, int]) -> list[float]:
    """The eight coefficients that take output pixels back to the sheet."""
    w, h = size
    rows: list[list[float]] = []
    right: list[float] = []
    for (x, y), (u, v) in zip(corners, ((0, 0), (w, 0), (w, h), (0, h)), strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        right += [u, v]
    return [float(c) for c in np.linalg.solve(np.array(rows), np.array(right))]


def _table(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A desk: wood with grain, cloth, or a plain dark top."""
    w, h = size
    base = rng.choice(((120, 84, 52), (70, 48, 32), (150, 122, 90), (58, 62, 66), (98, 104, 96), (176, 170, 160)))
    small = (h // 4 + 1, w // 4 + 1)
    grain = _noise(small, rng, 1.5)
    if rng.random() < 0.6:  # boards: grain drawn out along one axis
        grain = np.repeat(grain[:, : max(1, small[1] // 40)], 40, axis=1)[:, : small[1]]
        grain = np.pad(grain, ((0, 0), (0, small[1] - grain.shape[1])), mode="edge")
    depth = rng.uniform(0.15, 0.5)
    channels = [
        Image.fromarray((c + grain * depth).clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for c in base
    ]
    return Image.merge("RGB", channels)


def _light(image: Image.Image, rng: random.Random) -> Image.Image:
    """Light that falls off to a side, perhaps the shadow of the one who holds the camera, and the sensor's grain."""
    w, h = image.size
    small = (h // 16 + 1, w // 16 + 1)
    fall = 255 - _slope(small, rng, rng.randint(30, 110)).astype(np.float32)
    field = Image.fromarray(fall.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        x = rng.uniform(0.2, 0.8) * small[1]
        shade = Image.new("L", field.size, 255)
        blob = [(x - 12, small[0]), (x - 6, small[0] * 0.5), (x + 7, small[0] * 0.42), (x + 22, small[0])]
        ImageDraw.Draw(shade).polygon(blob, fill=rng.randint(130, 190))
        field = ImageChops.multiply(field, shade.filter(ImageFilter.GaussianBlur(3)))
    field = field.resize((w, h), Image.Resampling.BICUBIC)
    lit = ImageChops.multiply(image, Image.merge("RGB", [field] * 3))
    pixels = np.asarray(lit, np.int16) + (_noise((h, w), rng, 0.8) * rng.randint(1, 4) // 32)[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
