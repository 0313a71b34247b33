"""The renderer: one class for every format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import PIL
import pypdfium2

from dsdc.errors import UnsupportedType
from dsdc.processors import media_type as types
from dsdc.processors.contract import DamagedPage, EncodedPage, Renderer
from dsdc.processors.mail.body import body_as_pdf, engines
from dsdc.processors.render.codec import encode
from dsdc.processors.render.dhash import difference_hash
from dsdc.processors.render.frames import FORMATS, frame_count, frames
from dsdc.processors.render.page import RenderedPage
from dsdc.processors.render.pdf import pdf_page_count, pdf_pages
from dsdc.settings import Render


class PageRenderer(Renderer):
    """PDF, e-mail, TIFF, PNG, JPEG, WebP and BMP to page images; limits and resolution come from the settings."""

    name: ClassVar[str] = "page-renderer"
    version: ClassVar[str] = "2"

    def __init__(self, config: Render) -> None:
        self._config = config

    @property
    def params(self) -> Mapping[str, Any]:
        """The settings that shape pixels, and the engines. `max_pages` refuses documents and changes no pixel."""
        return {
            "dpi": self._config.dpi,
            "max_pixels": self._config.max_pixels,
            "max_side": self._config.max_side,
            "pdfium": str(pypdfium2.version.PDFIUM_INFO),
            "pillow": PIL.__version__,
            **engines(),
        }

    def page_count(self, source: Path, media_type: str) -> int:
        if media_type == types.PDF:
            return pdf_page_count(source, self._config)
        if media_type == types.EMAIL:
            with body_as_pdf(source) as body:
                return pdf_page_count(body, self._config)
        return frame_count(source, _image_type(media_type), self._config)

    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
        for page in self.draw(source, media_type, first=first):
            yield page if isinstance(page, DamagedPage) else _encoded(page)

    def draw(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[RenderedPage | DamagedPage]:
        """As `pages`, before they are encoded."""
        if media_type == types.PDF:
            return pdf_pages(source, self._config, first)
        if media_type == types.EMAIL:
            return self._body(source, first)
        return frames(source, _image_type(media_type), self._config, first)

    def _body(self, source: Path, first: int) -> Iterator[RenderedPage | DamagedPage]:
        with body_as_pdf(source) as body:
            yield from pdf_pages(body, self._config, first)


def _encoded(page: RenderedPage) -> EncodedPage:
    width, height = page.image.size
    return EncodedPage(
        page=page.page,
        data=encode(page.image, page.dpi),
        width=width,
        height=height,
        mode=page.image.mode,
        dpi=page.dpi,
        dhash=difference_hash(page.image),
    )


def _image_type(media_type: str) -> str:
    if media_type not in FORMATS:
        raise UnsupportedType(f"There is no renderer for {media_type}.", hint="Send PDF, TIFF, PNG, JPEG or .eml.")
    return media_type
