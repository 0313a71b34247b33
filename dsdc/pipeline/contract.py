"""What a stage is.

A stage applies one processor to every input that this version of it never met::

    inputs() -> claims -> load() -> compute() -> record()

`compute` is free of the database, so the very same code serves workers, the command line and the prediction service.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.processors.contract import Processor

Input = TypeVar("Input")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Produced(Generic[Row]):
    """What came of the input at `index` of a batch.

    `rows` may arrive in several pieces; the piece with `last` ends the input. `skipped` is a success without rows
    (nothing to embed on a blank page). `partial` says, with the last piece, what of the input could not be had.
    `error` ends the input as failed, or for a later attempt.
    """

    index: int
    rows: Sequence[Row] = ()
    last: bool = True
    skipped: bool = False
    partial: str | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class StageReport:
    """How a worker's run over a stage ended, in inputs; the `partial` ones are among the done."""

    stage: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    retried: int = 0
    lost: int = 0
    partial: int = 0
    seconds: float = 0.0
    categories: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return {
            "stage": self.stage,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "retried": self.retried,
            "lost": self.lost,
            "partial": self.partial,
            "seconds": round(self.seconds, 3),
            "categories": dict(self.categories),
        }


class Stage(ABC, Generic[Input, Row]):
    """One step of the pipeline with its processor, already registered under `processor_id`."""

    name: Literal["unpack", "render", "text", "clean", "embed-image", "embed-text"]

    def __init__(self, processor: Processor, processor_id: int) -> None:
        self.processor = processor
        self.processor_id = processor_id

    @abstractmethod
    def inputs(self) -> Select[str, str]:
        """Every input there could be: (input id, document id). The queue leaves out what it knows."""

    @abstractmethod
    def load(self, session: Session, input_ids: Sequence[str]) -> list[Input]:
        """The inputs in the order of their ids."""

    @abstractmethod
    def compute(self, inputs: Sequence[Input]) -> Generator[Produced[Row], None, None]:
        """Results as they come, in any order. An error of one input is yielded, not raised."""

    @abstractmethod
    def record(self, session: Session, source: Input, rows: Sequence[Row]) -> None:
        """Store rows; those that exist already stay as they are."""

    def committed(self, rows: Sequence[Row]) -> None:
        """Told after the rows' transaction is committed; what is done here may be done again."""

    def lost(self, source: Input, rows: Sequence[Row]) -> None:
        """Told that rows were refused, for their claim is somebody else's by now.

        Where the document was forgotten meanwhile, bytes that were stored for them, and that no row names, go.
        """
