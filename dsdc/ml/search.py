"""Better settings for a training: a seeded search by cross-fitting, judged by the log score.

Each trial trains one network a fold, and is given up when it is worse after some folds than half of the trials before
it were. The folds are others than those that the final model is judged on, so that the estimate does not come from the
very draw that the settings were chosen on; it is still of the same documents, and flatters more with more trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsdc.log import get_logger
from dsdc.ml import calibrate
from dsdc.ml.calibrate import Evidence
from dsdc.ml.evaluate import Evaluation
from dsdc.ml.features import DocumentSet, Floats
from dsdc.ml.fit import Share, answers, gather, judge
from dsdc.ml.split import Fold, make_folds
from dsdc.ml.train import train
from dsdc.settings import Train

if TYPE_CHECKING:
    import optuna

log = get_logger(__name__)

#: Trials and folds before any is given up: half of the trials so far have to mean something.
_STARTUP_TRIALS, _WARMUP_FOLDS = 5, 1


@dataclass(frozen=True)
class Span:
    """What a setting may be; `log` where its size matters rather than its distance."""

    low: float
    high: float
    log: bool = False

    def around(self, value: float) -> Span:
        """Widened so that the value in use is one of them."""
        return Span(min(self.low, value), max(self.high, value), self.log)


#: Integers stay integers.
SPACE: Mapping[str, Span] = {
    "learning_rate": Span(0.0005, 0.008, log=True),
    "weight_decay": Span(0.005, 1.0, log=True),
    "hidden": Span(64, 512, log=True),
    "dropout": Span(0.1, 0.7),
    "modality_dropout": Span(0.0, 0.4),
    "label_smoothing": Span(0.0, 0.2),
    "epochs": Span(20, 120, log=True),
    "topics": Span(50, 600, log=True),
    "judge_c": Span(1.0, 100.0, log=True),
    "ngrams": Span(5_000, 60_000, log=True),
}


@dataclass(frozen=True)
class Trial:
    """One choice of settings. `nll` after each fold, of the documents held out so far; `estimate` of all of them.

    Without an estimate it was given up.
    """

    number: int
    config: Train
    nll: tuple[float, ...]
    estimate: Evaluation | None
    seconds: float

    @property
    def settings(self) -> dict[str, float]:
        """What was varied."""
        return {name: getattr(self.config, name) for name in SPACE}

    @property
    def value(self) -> float:
        """What is to be small; infinite for one that was given up."""
        return self.estimate.values["nll"] if self.estimate else math.inf


@dataclass(frozen=True)
class Found:
    """All trials in their order, the first of which has the settings as they were, and the best settings of all."""

    best: Train
    trials: tuple[Trial, ...]

    @property
    def winner(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.value)


def search(
    data: DocumentSet,
    config: Train,
    *,
    trials: int,
    told: Share | None = None,
    tell: Callable[[Trial], None] = lambda _: None,
) -> Found:
    """The best of `trials` settings; the same for the same data, seed and machine.

    `members` and what is not in `SPACE` stay as they are; while searching there is one member.

    Args:
        told: progress, of which each trial is one part.
        tell: called after each trial.

    Raises:
        NotEnoughLabels: when there are fewer different documents than folds, or fewer than two classes.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = make_folds(data.labels, data.groups, folds=config.folds, seed=config.seed + 1)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=config.seed % 2**32),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_WARMUP_FOLDS),
    )
    study.enqueue_trial({name: getattr(config, name) for name in SPACE})
    done: list[Trial] = []
    for number in range(trials):
        asked = study.ask()
        chosen = config.model_copy(update=_suggested(asked, config) | {"members": 1})
        found = _try(data, folds, chosen, asked, Share(told.part(number) if told else None, len(folds)))
        if found.estimate:
            study.tell(asked, found.value)
        else:
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        done.append(found)
        log.info("search.trial", number=number, nll=round(found.value, 4), seconds=round(found.seconds, 1))
        tell(found)
    best = min(done, key=lambda trial: trial.value)
    return Found(best.config.model_copy(update={"members": config.members}), tuple(done))


def _suggested(trial: optuna.Trial, config: Train) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name, span in SPACE.items():
        value = getattr(config, name)
        wide = span.around(value)
        if isinstance(value, int):
            chosen[name] = trial.suggest_int(name, int(wide.low), int(wide.high), log=wide.log)
        else:
            # No logarithm of 0, which a setting may be.
            chosen[name] = trial.suggest_float(name, wide.low, wide.high, log=wide.log and wide.low > 0)
    return chosen


def _try(data: DocumentSet, folds: list[Fold], config: Train, trial: optuna.Trial, told: Share) -> Trial:
    """Fold by fold, until it is through or not worth it."""
    started = time.perf_counter()
    parts: list[dict[Evidence, Floats]] = []
    nll: list[float] = []
    for number, fold in enumerate(folds):
        head = train(data.take(fold.train), config, told.part(number)).head
        parts.append(answers(head, data.take(fold.test)))
        nll.append(_so_far(data, folds[: number + 1], parts))
        trial.report(nll[-1], number)
        if number + 1 < len(folds) and trial.should_prune():
            return Trial(trial.number, config, tuple(nll), None, time.perf_counter() - started)
    estimate = judge(data, folds, gather(parts, folds), coverage=0.9, review_budget=0.0, resamples=0)
    return Trial(trial.number, config, tuple(nll), estimate, time.perf_counter() - started)


def _so_far(data: DocumentSet, folds: list[Fold], parts: list[dict[Evidence, Floats]]) -> float:
    """Mean surprise at the right class after the folds that have been held out, in nats, calibrated on the same."""
    rows = np.concatenate([fold.test for fold in folds])
    found, labels = np.concatenate([part["both"] for part in parts]), data.labels[rows]
    weights = dict.fromkeys(calibrate.EVIDENCE, calibrate.fit_weights(found, labels))
    probabilities = calibrate.probabilities(found, weights, np.zeros(len(rows), np.int64))
    return float(-np.log(probabilities[np.arange(len(rows)), labels]).mean())
