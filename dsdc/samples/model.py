"""The words of this room: a sample, its kind, and the classes that it can draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["pdf-text", "pdf-scan", "tiff-g4", "scan", "photo"]

#: RVL-CDIP's classes, in the order of the data set.
LABELS: tuple[str, ...] = (
    "letter",
    "form",
    "email",
    "handwritten",
    "advertisement",
    "scientific_report",
    "scientific_publication",
    "specification",
    "file_folder",
    "news_article",
    "budget",
    "invoice",
    "presentation",
    "questionnaire",
    "resume",
    "memo",
)

#: Called after every document with (done, total).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """One generated file.

    `file` is relative to the target folder, with forward slashes. `pages` holds the text that stands on each page:
    for `pdf-text` exactly the text layer, for the others what a perfect reader would read, handwriting included.
    """

    file: str
    label: str
    kind: Kind
    media_type: str
    pages: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """A line of `ground_truth.jsonl`."""
        return asdict(self)
