"""What a model is worth on documents it has not seen: one class a metric, one list of them, and a result to keep.

To add a metric, write a class and put it in `METRICS`: training, MLflow and the pages read that list. A metric that
has no meaning for the documents at hand (the AUROC of being right where nothing is wrong) is NaN, never 0 or 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Bools, Ints

#: Of the reliability diagram and of both calibration errors.
BINS = 15
_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Scored:
    """n documents with their right class `[n]`, probabilities `[n, classes]` and prediction sets `[n, classes]`.

    `accepted` `[n]` says which answers stand without a person's look; None where nobody decided.
    """

    classes: tuple[str, ...]
    labels: Ints
    probabilities: Doubles
    sets: Bools
    accepted: Bools | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> Ints:
        return self.probabilities.argmax(axis=1).astype(np.int64)

    @cached_property
    def confidence(self) -> Doubles:
        """`[n]` probability of the predicted class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def correct(self) -> Bools:
        hits: Bools = self.predicted == self.labels
        return hits

    @cached_property
    def covered(self) -> Bools:
        """`[n]` whether the right class is in the set."""
        return self.sets[np.arange(len(self)), self.labels]

    @cached_property
    def confusion(self) -> Ints:
        """`[classes, classes]` counts: rows are right classes, columns predicted ones."""
        k = len(self.classes)
        return np.bincount(self.labels * k + self.predicted, minlength=k * k).reshape(k, k)

    def take(self, rows: Ints) -> Scored:
        accepted = None if self.accepted is None else self.accepted[rows]
        return Scored(self.classes, self.labels[rows], self.probabilities[rows], self.sets[rows], accepted)


class Metric(ABC):
    """One number about scored documents, of which there is at least one."""

    name: ClassVar[str]
    #: Whether the report gives a bootstrap interval for it.
    interval: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, scored: Scored) -> float:
        """The value, or NaN where it has no meaning."""


class Accuracy(Metric):
    """Share of documents whose likeliest class is the right one."""

    name = "accuracy"
    interval = True

    def __call__(self, scored: Scored) -> float:
        return float(scored.correct.mean())


class MacroF1(Metric):
    """Mean F1 over the classes that are a right answer or a prediction of some document, as scikit-learn's default."""

    name = "macro_f1"
    interval = True

    def __call__(self, scored: Scored) -> float:
        hits = np.diag(scored.confusion)
        involved = scored.confusion.sum(axis=0) + scored.confusion.sum(axis=1)
        seen = involved > 0
        return float((2 * hits[seen] / involved[seen]).mean())


class ExpectedCalibrationError(Metric):
    """Mean gap between confidence and accuracy over 15 bins of equal width, weighted by documents (Guo et al. 2017).

    It has no interval: drawing with replacement adds gaps of its own, so that every draw is above the value.
    """

    name = "ece"

    def __call__(self, scored: Scored) -> float:
        return _gap(scored, _equal_width(scored.confidence))


class AdaptiveCalibrationError(Metric):
    """The same over 15 bins of equally many documents, which sure models do not crowd into one bin."""

    name = "ece_adaptive"

    def __call__(self, scored: Scored) -> float:
        order = np.argsort(scored.confidence, kind="stable")
        bins = np.empty(len(scored), dtype=np.int64)
        bins[order] = np.arange(len(scored)) * BINS // len(scored)
        return _gap(scored, bins)


class CorrectnessAuroc(Metric):
    """Chance that a right answer has more confidence than a wrong one; NaN where all are right or all wrong."""

    name = "auroc_correct"
    interval = True

    def __call__(self, scored: Scored) -> float:
        right, wrong = int(scored.correct.sum()), int((~scored.correct).sum())
        if not right or not wrong:
            return math.nan
        ranks = rankdata(scored.confidence)[scored.correct].sum()
        return float((ranks - right * (right + 1) / 2) / (right * wrong))


class NegativeLogLikelihood(Metric):
    """Mean surprise at the right class, in nats."""

    name = "nll"
    interval = True

    def __call__(self, scored: Scored) -> float:
        right = scored.probabilities[np.arange(len(scored)), scored.labels]
        return float(-np.log(np.maximum(right, _LEAST_PROBABILITY)).mean())


class Brier(Metric):
    """Mean squared distance of the probabilities to the truth, over all classes: from 0 to 2."""

    name = "brier"

    def __call__(self, scored: Scored) -> float:
        truth = np.eye(len(scored.classes))[scored.labels]
        return float(((scored.probabilities - truth) ** 2).sum(axis=1).mean())


class Coverage(Metric):
    """Share of documents whose prediction set holds the right class."""

    name = "coverage"
    interval = True

    def __call__(self, scored: Scored) -> float:
        return float(scored.covered.mean())


class MeanSetSize(Metric):
    """Mean number of classes in a prediction set."""

    name = "mean_set_size"

    def __call__(self, scored: Scored) -> float:
        return float(scored.sets.sum(axis=1).mean())


class RiskCoverageArea(Metric):
    """Mean error rate over all shares accepted, surest first (AURC, Geifman et al. 2019); less is better."""

    name = "aurc"

    def __call__(self, scored: Scored) -> float:
        return float(risk_coverage(scored)[1].mean())


class ErrorsCaught(Metric):
    """Share of the errors found by reviewing this share of the documents, least sure first; NaN without errors."""

    share: ClassVar[float]

    def __call__(self, scored: Scored) -> float:
        errors = int((~scored.correct).sum())
        if not errors:
            return math.nan
        reviewed = np.argsort(scored.confidence, kind="stable")[: int(self.share * len(scored) + 1e-9)]
        return float((~scored.correct[reviewed]).sum() / errors)


class ErrorsCaught5(ErrorsCaught):
    name = "errors_caught_at_5"
    share = 0.05


class ErrorsCaught11(ErrorsCaught):
    name = "errors_caught_at_11"
    share = 0.11


class ErrorsCaught20(ErrorsCaught):
    name = "errors_caught_at_20"
    share = 0.20


class ReviewedShare(Metric):
    """Share of the documents that a person is to look at; NaN where nobody decided."""

    name = "reviewed"

    def __call__(self, scored: Scored) -> float:
        return math.nan if scored.accepted is None else float((~scored.accepted).mean())


class AcceptedAccuracy(Metric):
    """Accuracy of the answers that stand without a person's look; NaN where there are none."""

    name = "accuracy_accepted"
    interval = True

    def __call__(self, scored: Scored) -> float:
        accepted = scored.accepted
        return float(scored.correct[accepted].mean()) if accepted is not None and accepted.any() else math.nan


METRICS: tuple[Metric, ...] = (
    Accuracy(),
    MacroF1(),
    ExpectedCalibrationError(),
    AdaptiveCalibrationError(),
    CorrectnessAuroc(),
    NegativeLogLikelihood(),
    Brier(),
    Coverage(),
    MeanSetSize(),
    RiskCoverageArea(),
    ErrorsCaught5(),
    ErrorsCaught11(),
    ErrorsCaught20(),
    ReviewedShare(),
    AcceptedAccuracy(),
)


@dataclass(frozen=True)
class ClassReport:
    """One class; shares are NaN where they have no meaning: precision without predictions, the rest without support."""

    precision: float
    recall: float
    f1: float
    coverage: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Every metric by name, 95 % intervals of some, a report of each class, and the documents they are of."""

    scored: Scored
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_class: dict[str, ClassReport] = field(default_factory=dict)

    def flat(self, prefix: str = "") -> dict[str, float]:
        """Name to finite number, for a tracker: what has no meaning is left out."""
        numbers = dict(self.values, n=float(len(self.scored)))
        for name, (low, high) in self.intervals.items():
            numbers |= {f"{name}_low": low, f"{name}_high": high}
        for slug, report in self.per_class.items():
            numbers |= {f"class_{slug}_{part}": float(value) for part, value in vars(report).items()}
        return {prefix + name: value for name, value in numbers.items() if math.isfinite(value)}

    def as_json(self) -> dict[str, Any]:
        """JSON values, null where there is no meaning: n, every metric, intervals, per_class, classes, confusion."""
        return {
            "n": len(self.scored),
            **{name: _finite(value) for name, value in self.values.items()},
            "intervals": {name: [_finite(low), _finite(high)] for name, (low, high) in self.intervals.items()},
            "per_class": {
                slug: {part: _finite(value) for part, value in vars(report).items()}
                for slug, report in self.per_class.items()
            },
            "classes": list(self.scored.classes),
            "confusion": self.scored.confusion.tolist(),
        }

    def markdown(self) -> str:
        """The report as people read it."""
        rows = ["| metric | value | 95 % interval |", "| --- | --- | --- |", f"| documents | {len(self.scored)} | |"]
        for name, value in self.values.items():
            low, high = self.intervals.get(name, (math.nan, math.nan))
            rows.append(f"| {name} | {_shown(value)} | {'' if math.isnan(low) else f'{low:.3f} to {high:.3f}'} |")
        rows += [
            "",
            "| class | precision | recall | F1 | coverage | documents |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for slug, r in self.per_class.items():
            shares = " | ".join(_shown(share) for share in (r.precision, r.recall, r.f1, r.coverage))
            rows.append(f"| {slug} | {shares} | {r.support} |")
        return "\n".join(rows) + "\n"


def evaluate(scored: Scored, *, groups: Ints | None = None, resamples: int = 1000, seed: int = 0) -> Evaluation:
    """Every metric of `METRICS`, with bootstrap intervals over documents, or over whole groups of duplicates.

    Raises:
        ValueError: when there is no document.
    """
    if not len(scored):
        raise ValueError("there are no documents to evaluate on")
    values = {metric.name: metric(scored) for metric in METRICS}
    if groups is not None:
        alone = scored.take(np.sort(np.unique(groups, return_index=True)[1]))
        values |= {"accuracy_without_duplicates": Accuracy()(alone), "documents_without_duplicates": float(len(alone))}
    return Evaluation(
        scored=scored,
        values=values,
        intervals=_intervals(scored, groups, resamples, seed) if resamples else {},
        per_class={slug: _class_report(scored, index) for index, slug in enumerate(scored.classes)},
    )


def bootstrap(n: int, *, groups: Ints | None = None, resamples: int, seed: int) -> Iterator[Ints]:
    """Row numbers drawn with replacement, one array a resample; with `groups` `[n]` whole groups are drawn.

    Two models scored on the same rows and compared on the same draws make a paired test.
    """
    random = np.random.default_rng(seed)
    members = None if groups is None else _members(groups)
    for _ in range(resamples):
        if members is None:
            yield random.integers(0, n, size=n)
        else:
            drawn = random.integers(0, len(members), size=len(members))
            yield np.concatenate([members[group] for group in drawn])


def risk_coverage(scored: Scored) -> tuple[Doubles, Doubles]:
    """Share of documents accepted, surest first, and the error rate among them: two arrays `[n]`."""
    order = np.argsort(-scored.confidence, kind="stable")
    accepted = np.arange(1, len(scored) + 1)
    return accepted / len(scored), np.cumsum(~scored.correct[order]) / accepted


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of the reliability diagram: confidence from `low` to `high`, and what was true of its documents."""

    low: float
    high: float
    confidence: float
    accuracy: float
    documents: int


def reliability(scored: Scored) -> list[ReliabilityBin]:
    """The 15 bins of equal width that hold documents."""
    bins = _equal_width(scored.confidence)
    return [
        ReliabilityBin(
            low=number / BINS,
            high=(number + 1) / BINS,
            confidence=float(scored.confidence[bins == number].mean()),
            accuracy=float(scored.correct[bins == number].mean()),
            documents=int((bins == number).sum()),
        )
        for number in np.unique(bins)
    ]


def _equal_width(confidence: Doubles) -> Ints:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def _gap(scored: Scored, bins: Ints) -> float:
    """Sum over bins of |confidence - accuracy|, weighted by their share of documents."""
    gaps = np.bincount(bins, weights=scored.confidence - scored.correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scored))


def _members(groups: Ints) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(groups, kind="stable")
    return list(np.split(order, np.flatnonzero(np.diff(groups[order])) + 1))


def _intervals(scored: Scored, groups: Ints | None, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Percentile intervals from the 2.5th to the 97.5th; draws in which a metric has no meaning do not count."""
    chosen = [metric for metric in METRICS if metric.interval]
    draws = [
        [metric(sample) for metric in chosen]
        for sample in map(scored.take, bootstrap(len(scored), groups=groups, resamples=resamples, seed=seed))
    ]
    found = {}
    for metric, values in zip(chosen, np.array(draws).T, strict=True):
        if np.isfinite(values).any():
            low, high = np.nanpercentile(values, [2.5, 97.5])
            found[metric.name] = (float(low), float(high))
    return found


def _class_report(scored: Scored, index: int) -> ClassReport:
    hits, support = int(scored.confusion[index, index]), int(scored.confusion[index].sum())
    predicted = int(scored.confusion[:, index].sum())
    covered = scored.covered[scored.labels == index]
    return ClassReport(
        precision=hits / predicted if predicted else math.nan,
        recall=hits / support if support else math.nan,
        f1=2 * hits / (support + predicted) if support else math.nan,
        coverage=float(covered.mean()) if support else math.nan,
        support=support,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"
