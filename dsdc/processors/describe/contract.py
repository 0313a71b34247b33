"""What a describer takes and gives: the read pages of one document, and numbers for the head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dsdc.processors.contract import Processor, Word

Described = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ReadPage:
    """A page as the text stage read it: its text with line breaks, its words, and the page image's size in pixels."""

    text: str
    words: tuple[Word, ...]
    width: int
    height: int


class Describer(Processor):
    """Pure and quick (milliseconds a page), so that nothing of it is stored: the texts that it starts from are."""

    stage = "describe"
    #: What the head calls these numbers.
    modality: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers a document."""


class VectorDescriber(Describer):
    @abstractmethod
    def describe(self, pages: Sequence[ReadPage]) -> Described:
        """`[width]` of a document with at least one page."""


class CountDescriber(Describer):
    @abstractmethod
    def count(self, pages: Sequence[ReadPage]) -> Mapping[int, int]:
        """How often each of `width` kinds occurs, those that do not occur left out; positions ascend."""
