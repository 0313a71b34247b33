"""What is known of one document -> a class, how sure it is, what else it may be, and whether a person should look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dsdc.ml.conformal import Decision
from dsdc.ml.features import Block
from dsdc.ml.recipe import Head, Origin, load


@dataclass(frozen=True)
class Verdict:
    """An answer in slugs; `top` and `prediction_set` are likeliest first, probabilities are calibrated."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    probabilities: Mapping[str, float]
    prediction_set: tuple[str, ...]
    decision: Decision


class Classifier:
    """A loaded head with its calibration, thresholds and class names."""

    def __init__(self, head: Head, *, top: int) -> None:
        self._head = head
        self._top = top

    @classmethod
    def load(cls, folder: Path, head_sha256: str, *, top: int) -> Self:
        """Read a head whose bytes must have the recorded hash.

        Raises:
            WeightsError: missing, changed or foreign bytes.
        """
        return cls(load(folder, head_sha256=head_sha256), top=top)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._head.classes

    @property
    def coverage(self) -> float:
        return self._head.recipe.conformal.coverage

    @property
    def review_threshold(self) -> float:
        return self._head.recipe.review.threshold

    @property
    def cascade_threshold(self) -> float | None:
        """The probability from which an answer from the images alone may be given; None: never."""
        cascade = self._head.recipe.cascade
        return None if cascade is None else cascade.threshold

    def sure(self, images: Mapping[str, Block]) -> bool:
        """Whether the images of one document are enough for an answer: blocks of one row, all but `image` missing."""
        threshold = self.cascade_threshold
        return threshold is not None and bool(self._head.predict_proba(images).max() >= threshold)

    @property
    def origin(self) -> Origin:
        return self._head.recipe.origin

    def classify(self, blocks: Mapping[str, Block]) -> Verdict:
        """The verdict on one document: blocks of one row."""
        probabilities = self._head.predict_proba(blocks)
        members = self._head.prediction_sets(probabilities, blocks)[0]
        order = probabilities[0].argsort(kind="stable")[::-1]
        named = [(self.classes[i], round(float(probabilities[0, i]), 6)) for i in order]
        return Verdict(
            label=named[0][0],
            probability=named[0][1],
            top=tuple(named[: self._top]),
            probabilities=dict(named),
            prediction_set=tuple(self.classes[i] for i in order if members[i]),
            decision=self._head.decide(named[0][1]),
        )
