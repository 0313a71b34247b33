"""A page image to a model's pixels: the whole page, its aspect ratio kept, white around it.

open_clip's own evaluation transform crops the centre for most models; on a page that cuts off the letterhead and the
signature, so every model gets the whole page here, whatever its `resize_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from dsdc.errors import CorruptFile

Pixels = npt.NDArray[np.uint8]
WHITE = 255
#: Filters for which open_clip's `interpolation` stands.
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
#: Large pages are first reduced by whole factors (box filter, fast) to no less than this many times the target.
REDUCING_GAP = 2.0


@dataclass(frozen=True)
class PageFit:
    """Fits pages into `height` x `width` pixels."""

    height: int
    width: int
    interpolation: str = "bicubic"

    def __call__(self, image: Image.Image) -> Pixels:
        """`[height, width]` of a grey page, `[height, width, 3]` of a coloured one; the input stays as it was.

        Raises CorruptFile where the image was opened but its pixels cannot be decoded.

        No JPEG draft mode: it would make the vector depend on whether somebody had looked at the image before.
        """
        try:
            page = _plain(image)
            page.load()
        except (OSError, SyntaxError) as error:  # Pillow decodes late, and calls a broken PNG a syntax error
            raise CorruptFile(f"The page image cannot be decoded: {error}") from error
        scale = min(self.width / page.width, self.height / page.height)
        size = (max(1, round(page.width * scale)), max(1, round(page.height * scale)))
        # Convolving with the filter costs per input pixel; on one channel instead of three it costs a third.
        page = page.resize(size, FILTERS[self.interpolation], reducing_gap=REDUCING_GAP)
        sheet = Image.new(page.mode, (self.width, self.height), WHITE if page.mode == "L" else (WHITE,) * 3)
        sheet.paste(page, ((self.width - size[0]) // 2, (self.height - size[1]) // 2))
        return np.asarray(sheet)


def stack(pages: Sequence[Pixels]) -> Pixels:
    """`[n, 1, height, width]` if all are grey, else `[n, 3, height, width]`."""
    if all(page.ndim == 2 for page in pages):
        return np.stack(pages)[:, None]
    coloured = [page if page.ndim == 3 else np.repeat(page[:, :, None], 3, axis=2) for page in pages]
    return np.ascontiguousarray(np.stack(coloured).transpose(0, 3, 1, 2))


def _plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB. Transparency becomes white paper; 1-bit becomes grey, or reducing it would lose its strokes."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (WHITE,) * 4)
        return Image.alpha_composite(paper, layer).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
