"""From labelled documents to a head that knows how sure it is: train, calibrate, promise a coverage, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsdc.errors import NotEnoughLabels
from dsdc.ml import calibrate, conformal
from dsdc.ml.evaluate import Evaluation, Scored, evaluate
from dsdc.ml.features import DocumentSet, Floats, Ints
from dsdc.ml.split import Split, make_folds
from dsdc.ml.train import Progress, TrainingRun, logits, train
from dsdc.settings import Train

#: From this many validation documents on, they alone are enough to calibrate with.
ENOUGH_TO_CALIBRATE = 1000
CALIBRATION_FOLDS = 5


@dataclass(frozen=True)
class Fitted:
    """A training run, its calibration on held-out scores, and what it is worth on validation and test parts."""

    run: TrainingRun
    temperature: float
    coverage: float
    floor: float
    valid: Evaluation
    test: Evaluation


def fit(
    data: DocumentSet,
    split: Split,
    config: Train,
    *,
    coverage: float,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Fitted:
    """Train on one split, calibrate on held-out scores, evaluate on the test part.

    The validation part also chose the epoch, so its own figures flatter; the test part's do not. Where the validation
    part is small, calibration uses cross-fitted scores of everything but the test part (`_held_out`).

    Args:
        coverage: share of new documents whose prediction set is to hold the right class.
        resamples: bootstrap draws for the intervals; 0 leaves them out.

    Raises:
        NotEnoughLabels: when there is too little to train, validate or test with.
    """
    run = train(data, split, config, progress)
    scores = logits(run.head, data, split.valid)
    held_out, labels = _held_out(data, split, config, scores)
    temperature = calibrate.fit_temperature(held_out, labels)
    floor = conformal.fit_floor(calibrate.probabilities(held_out, temperature), labels, coverage)
    test = logits(run.head, data, split.test)
    return Fitted(
        run=run,
        temperature=temperature,
        coverage=coverage,
        floor=floor,
        valid=evaluate(
            _scored(data, split.valid, scores, temperature, floor),
            groups=data.groups[split.valid],
            resamples=resamples,
        ),
        test=evaluate(
            _scored(data, split.test, test, temperature, floor), groups=data.groups[split.test], resamples=resamples
        ),
    )


def _held_out(data: DocumentSet, split: Split, config: Train, validation: Floats) -> tuple[Floats, Ints]:
    """Scores `[n, classes]` of documents by heads that did not learn from them, and their labels.

    A handful of validation documents says little about how sure a head may be, so with fewer than
    `ENOUGH_TO_CALIBRATE` everything but the test part is scored in folds, each by a head trained on the others
    (cross-fitting). Those heads learn from a fifth less than the final one, which errs on the cautious side.
    """
    if len(split.valid) >= ENOUGH_TO_CALIBRATE:
        return validation, data.labels[split.valid]
    known = data.take(np.sort(np.concatenate([split.train, split.valid])))
    try:
        folds = make_folds(
            known.labels, known.groups, folds=CALIBRATION_FOLDS, valid_share=config.valid_share, seed=config.seed
        )
        parts = [(fold.test, logits(train(known, fold, config).head, known, fold.test)) for fold in folds]
    except NotEnoughLabels:
        return validation, data.labels[split.valid]
    rows = np.concatenate([rows for rows, _ in parts])
    return np.concatenate([part for _, part in parts]), known.labels[rows]


def cross_validate(data: DocumentSet, folds: Sequence[Split], config: Train, *, coverage: float) -> Evaluation:
    """Every document scored by a head that has seen neither it nor a duplicate: `fit` on each fold, tests together.

    Each fold's test rows are scored with its own head, temperature and floor, as a user would meet them.
    """
    parts = [fit(data, split, config, coverage=coverage, resamples=0).test.scored for split in folds]
    together = Scored(
        classes=data.classes,
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        sets=np.concatenate([part.sets for part in parts]),
    )
    return evaluate(together, groups=np.concatenate([data.groups[split.test] for split in folds]))


def _scored(data: DocumentSet, rows: Ints, scores: Floats, temperature: float, floor: float) -> Scored:
    found = calibrate.probabilities(scores, temperature)
    return Scored(data.classes, data.labels[rows], found, conformal.prediction_sets(found, floor))
