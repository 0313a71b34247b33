"""Page images to look at, by the platform's own renderer at a lower resolution."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dsdc.processors.contract import EncodedPage
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.processors.sandbox import Parsers, SandboxedRenderer
from dsdc.settings import Settings

DPI = 110  # an A4 page of 1,300 px: sharp in half a window
MAX_SIDE = 1400
MAX_PAGES = 12  # shown of one document; the answer counts all of them


@dataclass(frozen=True)
class Preview:
    """The first pages as PNG, and how many the document has."""

    pages: tuple[bytes, ...]
    total: int


def render(data: bytes, config: Settings) -> Preview:
    """Images of the first `MAX_PAGES` pages; damaged ones are left out.

    Raises:
        DocumentError: the file is of no supported type, or no page of it can be read.
    """
    media_type = detect(data[:HEAD_BYTES])
    smaller = config.render.model_copy(update={"dpi": DPI, "max_side": MAX_SIDE})
    parsers = Parsers(config.parsing, smaller, config.ocr)
    renderer = SandboxedRenderer(smaller, parsers)
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            path = Path(file.name)
            total = renderer.page_count(path, media_type)
            pages = tuple(islice(renderer.pages(path, media_type), MAX_PAGES))
    finally:
        parsers.close()
    return Preview(tuple(page.data for page in pages if isinstance(page, EncodedPage)), total)
