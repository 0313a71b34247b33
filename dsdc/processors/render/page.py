"""A page as pixels: what the engines draw, before it is encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from dsdc.errors import CorruptFile, DocumentError
from dsdc.processors.contract import DamagedPage


@dataclass(frozen=True)
class RenderedPage:
    """`page` counts from 1; `image` is in mode 1, L or RGB; `dpi` where it is known."""

    page: int
    image: Image.Image
    dpi: int | None = None


#: A damaged page costs up to three attempts by two engines. After so many in a row the rest is not tried: a file of a
#: few bytes can declare ten thousand pages.
PATIENCE = 20


class Patience:
    """Counts damaged pages in a row, and tells when to stop trying."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def good(self) -> None:
        self._in_a_row = 0

    def damaged(self, page: int, error: DocumentError) -> DamagedPage:
        """The page as damaged; one more in a row."""
        self._in_a_row += 1
        return DamagedPage(page, error)

    @property
    def lost(self) -> bool:
        return self._in_a_row >= PATIENCE

    @staticmethod
    def not_tried(first: int, last: int) -> Iterator[DamagedPage]:
        """Pages from `first` to `last`, given up without a look."""
        error = CorruptFile(f"The {PATIENCE} pages before it were damaged; it was not tried.")
        return (DamagedPage(page, error) for page in range(first, last + 1))
