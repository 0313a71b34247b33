"""What the reader needs of an OCR engine."""

from __future__ import annotations

from typing import Any, Protocol

from PIL import Image

from dsdc.errors import DocumentError
from dsdc.processors.ocr.tsv import Recognised
from dsdc.settings import Ocr


class Engine(Protocol):
    """Reads a greyscale image; may be called by several threads at once."""

    name: str
    #: Whether small scans are enlarged for it.
    enlarges: bool
    #: Whether it finds out by itself which way up a page lies.
    turns: bool

    @property
    def params(self) -> dict[str, Any]:
        """Engine, its version and the hashes of its language data."""

    def recognise(self, image: Image.Image, dpi: int, scale: float, timeout_s: float | None = None) -> Recognised:
        """Words and text of `image` (mode L); boxes divided by `scale`; `timeout_s` is `ocr.timeout_s` unless given.

        Raises:
            DocumentError: not read within `timeout_s`, or refused by the engine.
        """


def too_slow(config: Ocr) -> DocumentError:
    """What an engine raises that was not done in time."""
    return DocumentError(
        f"The page was not read within {config.timeout_s} s.", hint="Raise ocr.timeout_s, or lower render.max_side."
    )
