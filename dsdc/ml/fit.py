"""From labelled documents to a head that knows how sure it is: train, calibrate, promise a coverage, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsdc.ml import calibrate, conformal
from dsdc.ml.evaluate import Evaluation, Scored, evaluate
from dsdc.ml.features import DocumentSet, Floats, Ints
from dsdc.ml.split import Split
from dsdc.ml.train import Progress, TrainingRun, logits, train
from dsdc.settings import Train


@dataclass(frozen=True)
class Fitted:
    """A training run, its calibration on the validation part, and what it is worth on validation and test parts."""

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
    """Train on one split, calibrate on its validation part, evaluate on its test part.

    The validation part also chose the epoch, so its own figures flatter; the test part's do not.

    Args:
        coverage: share of new documents whose prediction set is to hold the right class.
        resamples: bootstrap draws for the intervals; 0 leaves them out.

    Raises:
        NotEnoughLabels: when there is too little to train, validate or test with.
    """
    run = train(data, split, config, progress)
    scores, labels = logits(run.head, data, split.valid), data.labels[split.valid]
    temperature = calibrate.fit_temperature(scores, labels)
    floor = conformal.fit_floor(calibrate.probabilities(scores, temperature), labels, coverage)
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
