"""Any Pillow image -> a page image in mode 1, L or RGB, by conversions that can be checked pixel by pixel.

=====================  ======  ==========================================================================
source                 page    pixels
=====================  ======  ==========================================================================
1                      1       as they are; an inverted ("white is zero") TIFF shows its true colours
L                      L       as they are
I;16 (and 12-bit)      L       the high 8 of the declared bits: value // 256 for 16 bits, never clipped
I (32-bit)             L       the high 8 of the declared bits
F                      L       0..1 to 0..255; beyond that is clipped
LA, PA                 L, RGB  laid on white
RGBA, RGBa, tRNS       RGB     laid on white
P                      RGB     looked up in the palette
CMYK                   RGB     Pillow's (255 - C) * (255 - K) / 255; colour profiles are not applied
LAB                    RGB     littleCMS, D50 to sRGB
YCbCr, HSV, others     RGB     Pillow's
=====================  ======  ==========================================================================
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

from dsdc.errors import TooLarge
from dsdc.settings import Render

#: Fax machines scan 204 x 98 dots an inch; below this ratio a difference is a rounding, not a shape.
_SQUARE_ENOUGH = 1.15


def check_size(width: int, height: int, limits: Render, page: int) -> None:
    """Refuse a page by the size in its header, before a pixel is decoded.

    Raises:
        TooLarge: more than `render.max_pixels`.
    """
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"Page {page} has {width} x {height} pixels, more than render.max_pixels ({limits.max_pixels}).",
            hint="Scan it at a lower resolution, or raise render.max_pixels in config.local.yaml.",
        )


def to_page_mode(image: Image.Image, *, bits: int = 16, white_is_zero: bool = False) -> Image.Image:
    """The image in mode 1, L or RGB, as in the table above; always a new image.

    Args:
        image: loaded, in any mode.
        bits: declared bits of a sample, for greyscale deeper than 8 bits.
        white_is_zero: the file counts darkness, and Pillow does not turn that round by itself (only above 8 bits).
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _deep_grey(image, bits, white_is_zero)
    if image.has_transparency_data or image.mode == "RGBa":
        return _on_white(image)
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode in ("1", "L"):
        return image.copy()
    return image.convert("RGB")


def _deep_grey(image: Image.Image, bits: int, white_is_zero: bool) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        grey = np.rint(np.clip(np.nan_to_num(values, nan=1.0), 0, 1) * 255).astype(np.uint8)
    else:
        unsigned = values.view(np.uint32) if image.mode == "I" else values
        grey = (unsigned >> max(bits - 8, 0)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return flat.getchannel("R") if image.mode in ("1", "L", "LA", "La") else flat


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if converted is None:  # only when converting in place
        raise RuntimeError("littleCMS gave no image")
    return converted


def square_size(size: tuple[int, int], dpi: tuple[float, float] | None) -> tuple[int, int]:
    """(width, height) in pixels at which a page scanned at (across, down) dpi has the paper's shape."""
    if dpi is None or min(dpi) <= 1:
        return size
    ratio = dpi[0] / dpi[1]
    if 1 / _SQUARE_ENOUGH < ratio < _SQUARE_ENOUGH or not 0.2 < ratio < 5:
        return size
    return (size[0], round(size[1] * ratio)) if ratio > 1 else (round(size[0] / ratio), size[1])


def square_pixels(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A fax at 204 x 98 dpi is stretched to `square_size`; a 1-bit page stays 1-bit, its dots repeated whole."""
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.NEAREST if image.mode == "1" else Image.Resampling.BICUBIC)


def fit(image: Image.Image, max_side: int) -> Image.Image:
    """Reduced, keeping the aspect ratio, so that no side exceeds `max_side` pixels; a reduced 1-bit page becomes L."""
    longest = max(image.size)
    if longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    grey = image.convert("L") if image.mode == "1" else image
    return grey.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
