"""From labelled documents to a head that knows how sure it is: cross-fit, calibrate, promise a coverage, train on all.

Every document is scored once by a head that has learnt from neither it nor a duplicate of it. Those held-out scores are
what calibration, prediction sets and the review threshold are learnt from, and what the model is judged by; the head
that serves then learns from all documents. It has a fifth more to learn from than the heads that were judged, so the
estimate errs on the cautious side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsdc.ml import calibrate, conformal
from dsdc.ml.calibrate import EVIDENCE, Evidence, Weights
from dsdc.ml.cascade import Cascade, fit_cascade
from dsdc.ml.evaluate import Evaluation, Scored, evaluate
from dsdc.ml.features import DocumentSet, Floats, Ints
from dsdc.ml.split import Fold, make_folds
from dsdc.ml.train import AnyHead, Progress, TrainingRun, scores, train
from dsdc.settings import Train


@dataclass(frozen=True)
class Thresholds:
    """What turns scores into an answer.

    `weights` of the components and `floors` (the probability from which a class enters the prediction set) by what a
    document is judged by; under `review` a person is to look. `cascade` says when the image alone is enough, if ever;
    only a trained head has one.
    """

    weights: Weights
    floors: Mapping[Evidence, float]
    review: float
    #: False where there were too few labels, and cautious values stand instead.
    learnt: bool = True
    cascade: Cascade | None = None


#: Makes a head from labelled documents, and says how far it is.
Learn = Callable[[DocumentSet, Progress | None], AnyHead]


@dataclass(frozen=True)
class Fitted:
    """The head that serves, its thresholds, and what heads like it are worth on documents that they have not seen.

    `estimate` has one row a document, in the order of the dataset; `folds` say which documents were held out together.
    """

    run: TrainingRun
    thresholds: Thresholds
    coverage: float
    review_budget: float
    folds: tuple[Fold, ...]
    estimate: Evaluation

    @property
    def components(self) -> tuple[str, ...]:
        """Who judges, in the order of the weights."""
        return self.run.head.architecture.components


def fit(
    data: DocumentSet,
    config: Train,
    *,
    coverage: float,
    review_budget: float,
    folds: Sequence[Fold] | None = None,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Fitted:
    """Estimate by cross-fitting, then train on everything.

    Args:
        coverage: share of new documents whose prediction set is to hold the right class.
        review_budget: share of new documents that a person can look at.
        folds: made from the settings, unless given.
        resamples: bootstrap draws for the intervals; 0 leaves them out.

    Raises:
        NotEnoughLabels: when there are fewer different documents than folds, or fewer than two classes.
    """
    parts = tuple(folds or make_folds(data.labels, data.groups, folds=config.folds, seed=config.seed))
    told = Share(progress, len(parts) + 1)
    held_out = cross_fit(data, parts, config, told)
    estimate = judge(data, parts, held_out, coverage=coverage, review_budget=review_budget, resamples=resamples)
    kinds = calibrate.evidence(data.blocks())
    learnt = thresholds(data.labels, kinds, held_out, coverage, review_budget)
    return Fitted(
        run=train(data, config, told.part(len(parts))),
        thresholds=replace(learnt, cascade=_cascade(data.labels, kinds, held_out, learnt.weights)),
        coverage=coverage,
        review_budget=review_budget,
        folds=parts,
        estimate=estimate,
    )


def cross_fit(
    data: DocumentSet, folds: Sequence[Fold], config: Train, progress: Share | None = None
) -> dict[Evidence, Floats]:
    """Held-out scores of every document, by heads trained on the other folds; see `hold_out`."""
    return hold_out(data, folds, lambda known, told: train(known, config, told).head, progress)


def hold_out(
    data: DocumentSet, folds: Sequence[Fold], learn: Learn, progress: Share | None = None
) -> dict[Evidence, Floats]:
    """`[n, components, classes]` held-out scores of every document, by each kind of evidence alone and by all of it."""
    parts = []
    for number, fold in enumerate(folds):
        head = learn(data.take(fold.train), progress.part(number) if progress else None)
        parts.append(answers(head, data.take(fold.test)))
    return gather(parts, folds)


def answers(head: AnyHead, data: DocumentSet) -> dict[Evidence, Floats]:
    """`[n, components, classes]` scores of these documents, by each kind of evidence alone and by all of it."""
    blocks = data.blocks()
    return {kind: scores(head, calibrate.only(blocks, kind)) for kind in EVIDENCE}


def gather(parts: Sequence[Mapping[Evidence, Floats]], folds: Sequence[Fold]) -> dict[Evidence, Floats]:
    """Answers to the documents that each fold held out, in the order of the dataset."""
    order = np.argsort(np.concatenate([fold.test for fold in folds]))
    return {kind: np.concatenate([part[kind] for part in parts])[order] for kind in EVIDENCE}


def judge(
    data: DocumentSet,
    folds: Sequence[Fold],
    held_out: Mapping[Evidence, Floats],
    *,
    coverage: float,
    review_budget: float,
    resamples: int = 1000,
) -> Evaluation:
    """What held-out scores are worth: those of each fold with the thresholds that the other folds ask for."""
    kinds = calibrate.evidence(data.blocks())
    probabilities = np.empty((len(data), len(data.classes)))
    sets = np.empty((len(data), len(data.classes)), dtype=bool)
    accepted = np.empty(len(data), dtype=bool)
    for fold in folds:
        rows, others = fold.test, fold.train
        known = {kind: part[others] for kind, part in held_out.items()}
        learnt = thresholds(data.labels[others], kinds[others], known, coverage, review_budget)
        probabilities[rows] = calibrate.probabilities(held_out["both"][rows], learnt.weights, kinds[rows])
        sets[rows] = conformal.prediction_sets(probabilities[rows], floor_of(learnt.floors, kinds[rows]))
        accepted[rows] = probabilities[rows].max(axis=1) >= learnt.review
    scored = Scored(data.classes, data.labels, probabilities, sets, accepted)
    return evaluate(scored, groups=data.groups, resamples=resamples)


def floor_of(floors: Mapping[Evidence, float], kinds: Ints) -> conformal.Doubles:
    """`[n, 1]` floors of documents judged by `kinds`."""
    return np.array([floors[kind] for kind in EVIDENCE])[kinds][:, None]


def thresholds(
    labels: Ints, kinds: Ints, given: Mapping[Evidence, Floats], coverage: float, review_budget: float
) -> Thresholds:
    """From held-out scores of n documents: `[n]` right classes, `[n]` what each is judged by."""
    known = {kind: calibrate.usable(kinds, kind) for kind in EVIDENCE}
    if not len(known["both"]):
        known["both"] = np.arange(len(labels))
    weights = calibrate.fit_all(given, labels, known)
    floors: dict[Evidence, float] = {}
    for number, kind in enumerate(EVIDENCE):
        those = known[kind]
        judged_by = kinds if kind == "both" else np.full(len(labels), number)
        found = calibrate.probabilities(given[kind][those], weights, judged_by[those])
        floors[kind] = conformal.fit_floor(found, labels[those], coverage)
    confidence = calibrate.probabilities(given["both"], weights, kinds).max(axis=1)
    return Thresholds(weights, floors, conformal.fit_threshold(confidence, review_budget))


def _cascade(labels: Ints, kinds: Ints, given: Mapping[Evidence, Floats], weights: Weights) -> Cascade | None:
    """From the same, of those documents that have both image and text."""
    read = np.flatnonzero(kinds == 0)
    seen, whole = (
        calibrate.probabilities(given[kind][read], weights, np.full(len(read), EVIDENCE.index(kind)))
        for kind in ("image", "both")
    )
    return fit_cascade(seen, whole, labels[read])


class Share:
    """Progress of several trainings as that of one, in hundredths of a training: their lengths may differ."""

    def __init__(self, progress: Progress | None, parts: int) -> None:
        self._progress = progress
        self._parts = parts

    def part(self, number: int) -> Progress | None:
        """What training `number` reports to."""
        progress = self._progress
        if progress is None:
            return None

        def told(done: int, left: int) -> None:
            run = 100 * number + 100 * done // (done + left)
            progress(run, 100 * self._parts - run)

        return told
