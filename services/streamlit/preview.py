"""Page images to look at, by the platform's own renderer at a lower resolution."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from PIL import Image

from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.processors.render import PageRenderer
from dsdc.settings import Render

DPI = 110  # an A4 page of 1,300 px: sharp in half a window
MAX_SIDE = 1400
MAX_PAGES = 12  # shown of one document; the answer counts all of them


@dataclass(frozen=True)
class Preview:
    """The first pages as PNG, and how many the document has."""

    pages: tuple[bytes, ...]
    total: int


def render(data: bytes, config: Render) -> Preview:
    """Images of the first `MAX_PAGES` pages.

    Raises:
        DocumentError: the file is of no supported type, or no page of it can be read.
    """
    media_type = detect(data[:HEAD_BYTES])
    renderer = PageRenderer(config.model_copy(update={"dpi": DPI, "max_side": MAX_SIDE}))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        total = renderer.page_count(path, media_type)
        pages = tuple(_png(page.image) for page in islice(renderer.pages(path, media_type), MAX_PAGES))
    return Preview(pages, total)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
