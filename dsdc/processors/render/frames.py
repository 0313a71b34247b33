"""TIFF, PNG, JPEG, WebP and BMP to page images, by Pillow.

Only TIFF's frames are pages. The further frames of a JPEG (MPO), PNG or WebP are previews and animation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from PIL import Image, ImageOps, TiffImagePlugin

from dsdc.errors import CorruptFile, TooLarge
from dsdc.processors import media_type as types
from dsdc.processors.contract import DamagedPage
from dsdc.processors.render.damage import DAMAGE, damage
from dsdc.processors.render.page import Patience, RenderedPage
from dsdc.processors.render.pixels import check_size, fit, square_pixels, square_size, to_page_mode
from dsdc.settings import Render

#: The readers that may see a file of each type; a wrong claim never reaches, say, the EPS reader and Ghostscript.
FORMATS = {
    types.TIFF: ["TIFF"],
    types.PNG: ["PNG"],
    types.JPEG: ["JPEG", "MPO"],
    types.WEBP: ["WEBP"],
    types.BMP: ["BMP"],
}

_SUBFILE, _BITS, _PHOTOMETRIC = 254, 258, 262
_REDUCED_OR_MASK = 0b101


def frame_count(source: Path, media_type: str, limits: Render) -> int:
    """Number of pages, from the headers.

    Raises:
        CorruptFile: no header can be read.
        TooLarge: more than `render.max_pages`.
    """
    with _opened(source, media_type) as image:
        return len(_pages(image, limits))


def frames(source: Path, media_type: str, limits: Render, first: int) -> Iterator[RenderedPage | DamagedPage]:
    """The pages from `first` on, decoded one at a time; one that is damaged, or over `render.max_pixels`, says so.

    Raises:
        CorruptFile: no header can be read.
        TooLarge: too many pages.
    """
    patience = Patience()
    with _opened(source, media_type) as image:
        pages = _pages(image, limits)
        for page, frame in enumerate(pages, start=1):
            if page < first:
                continue
            if patience.lost:
                yield from patience.not_tried(page, len(pages))
                return
            try:
                yield _page(image, frame, page, limits)
                patience.good()
            except (CorruptFile, TooLarge) as error:
                yield patience.damaged(page, error)


@contextmanager
def _opened(source: Path, media_type: str) -> Iterator[Image.Image]:
    with source.open("rb") as file:
        with damage("The file"):
            image = Image.open(file, formats=FORMATS[media_type])
        with image:
            yield image


def _pages(image: Image.Image, limits: Render) -> list[int]:
    """Frame numbers that are pages: previews and masks in a TIFF are left out, unless there is nothing else."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return [0]
    with damage("The file"):
        flags = list(_chain(image, limits))
    pages = [frame for frame, subfile in enumerate(flags) if not subfile & _REDUCED_OR_MASK]
    return pages or list(range(len(flags)))


def _chain(image: TiffImagePlugin.TiffImageFile, limits: Render) -> Iterator[int]:
    """NewSubfileType of each frame of the chain; a link that leads nowhere counts as one frame, which is damaged."""
    for frame in count():
        try:
            flags = _subfile(image, frame)
        except EOFError:
            return
        except DAMAGE:
            if frame == 0:
                raise
            yield 0
            return
        if frame == limits.max_pages:
            raise TooLarge(
                f"The document has more than {frame} pages (render.max_pages).",
                hint="Split it, or raise render.max_pages in config.local.yaml.",
            )
        yield flags


def _subfile(image: TiffImagePlugin.TiffImageFile, frame: int) -> int:
    image.seek(frame)
    return int(image.tag_v2.get(_SUBFILE, 0))


def _page(image: Image.Image, frame: int, page: int, limits: Render) -> RenderedPage:
    what = f"Page {page}"
    with damage(what):
        image.seek(frame)
    check_size(image.width, image.height, limits, page)
    with damage(what):
        if max(image.size) >= 2 * limits.max_side:
            image.draft(None, (limits.max_side, limits.max_side))  # a JPEG decodes straight to a half, quarter, eighth
        bits, white_is_zero = _depth(image)
        dpi = _dpi(image)
        image.load()
        upright = ImageOps.exif_transpose(image)
        if dpi and (upright.width == image.height != image.width):
            dpi = dpi[1], dpi[0]
        size = square_size(upright.size, dpi)
        check_size(*size, limits, page)
        square = square_pixels(to_page_mode(upright, bits=bits, white_is_zero=white_is_zero), size)
    fitted = fit(square, limits.max_side)
    return RenderedPage(page=page, image=fitted, dpi=round(max(dpi) * fitted.width / square.width) if dpi else None)


def _depth(image: Image.Image) -> tuple[int, bool]:
    """Bits of a sample, and whether the file counts darkness (which Pillow turns round itself up to 8 bits)."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16, False
    bits = image.tag_v2.get(_BITS, 16)
    deepest = max(bits) if isinstance(bits, tuple) else int(bits)
    return deepest, image.tag_v2.get(_PHOTOMETRIC) == 0


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    found = image.info.get("dpi")
    if not found or not all(1 < float(value) < 10_000 for value in found):
        return None
    return float(found[0]), float(found[1])
