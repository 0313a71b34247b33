"""How a page image is stored: lossless PNG, the same bytes for the same pixels."""

from __future__ import annotations

import io

from PIL import Image

from dsdc.errors import CorruptFile
from dsdc.processors.render.damage import damage

MODES = ("1", "L", "RGB")

#: PNG because browsers show it; G4 TIFF would be a third smaller for 1-bit pages. Level 3 of zlib-ng: a 200 dpi
#: letter page takes 233 kB in 57 ms, against 238 kB in 99 ms at level 1, 208 kB in 100 ms at level 6, and
#: 472 kB in 550 ms as lossless WebP at its quickest.
_LEVEL = 3


def encode(image: Image.Image, dpi: int | None = None) -> bytes:
    """PNG bytes of a page image in mode 1, L or RGB; equal input gives equal bytes for one version of Pillow.

    Args:
        image: the page; metadata that it carries is left behind.
        dpi: pixels per inch, kept in the file so that text recognition knows the size of a letter.
    """
    if image.mode not in MODES:
        raise ValueError(f"a page image has mode {', '.join(MODES)}, not {image.mode}")
    out = io.BytesIO()
    resolution = {"dpi": (dpi, dpi)} if dpi else {}
    # Pillow writes ICC profiles, EXIF and transparency out of `info` unless told otherwise.
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    bare.save(out, "PNG", compress_level=_LEVEL, **resolution)
    return out.getvalue()


def decode(data: bytes) -> Image.Image:
    """The loaded page image; `info["dpi"]` is there where `encode` was told one.

    Raises:
        CorruptFile: the bytes are not a whole PNG.
    """
    with damage("The stored page image"):
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.load()
    if image.mode not in MODES:
        raise CorruptFile(f"The stored page image has mode {image.mode}; it was not written by this platform.")
    return image


def stored_dpi(image: Image.Image) -> int | None:
    """The resolution that `encode` kept: PNG counts pixels per metre, hence the rounding."""
    found = image.info.get("dpi")
    return round(found[0]) if found else None
