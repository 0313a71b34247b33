"""A model before there are labels enough to train one: references, and what can honestly be said of their answers.

Thresholds are learnt as in `fit`, from documents that were held out, as soon as there are a few of them whose class
has other documents too. Until then they are fixed on the cautious side: a person reviews every answer, and the
prediction set holds every class, which keeps any promise of coverage.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from dsdc.log import get_logger
from dsdc.ml import calibrate
from dsdc.ml.calibrate import EVIDENCE
from dsdc.ml.described import describe
from dsdc.ml.evaluate import Evaluation, Scored, evaluate
from dsdc.ml.features import Block, DocumentSet, Floats, pool_pages
from dsdc.ml.fit import Fitted, Share, Thresholds, hold_out, judge, thresholds
from dsdc.ml.neighbours import NeighbourHead, References, survey, with_references
from dsdc.ml.split import Fold, make_folds
from dsdc.ml.train import Progress, TrainingRun, reproducible
from dsdc.processors.describe import CountDescriber, ReadPage
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Train
from dsdc.taxonomy import LabelClass

log = get_logger(__name__)

#: Documents of the store, at most, that tell a model of references what documents have in common.
ARCHIVE = 1000
#: Groups of duplicates up to which each is held out by itself: with few documents, a fifth less is another model.
_ONE_BY_ONE = 100
#: Held-out documents from which thresholds are learnt; see `_telling`. A class's only document counts for none: without
#: it, its class cannot be found.
_LEAST_HELD_OUT = 20
#: A comparison's own scale is the best that is known then (see `neighbours`), nothing is accepted, nothing excluded.
CAUTIOUS = Thresholds(
    weights=dict.fromkeys(EVIDENCE, (1.0,)), floors=dict.fromkeys(EVIDENCE, 0.0), review=1.0, learnt=False
)

_NONE = References({}, np.empty(0, np.int64))

ColdMethod = Literal["neighbours", "zero-shot"]


def prompts_of(classes: Sequence[LabelClass], processors: ProcessorSet, *, aligned: bool) -> References:
    """The prompts of the classes, each class as if its prompts were the pages of one document.

    Args:
        aligned: whether the CLIP's two towers were trained together. If not, the similarity of an image to a text
            means nothing, and prompts are compared with texts alone.
    """
    vectors = pool_pages([processors.embedder.texts(list(c.prompts)) for c in classes])
    pages = [[ReadPage(prompt, (), 0, 0) for prompt in c.prompts] for c in classes]
    blocks = describe([d for d in processors.describers if isinstance(d, CountDescriber)], pages)
    seen = {"image": vectors} if aligned else {}
    return References(seen | {"text": vectors} | blocks, np.arange(len(classes)))


def hold_out_folds(data: DocumentSet, config: Train) -> list[Fold]:
    """Each group of duplicates by itself while they are few, else as for a trained head."""
    groups = np.unique(data.groups)
    if len(groups) > max(_ONE_BY_ONE, config.folds):
        return make_folds(data.labels, data.groups, folds=config.folds, seed=config.seed)
    return [Fold(np.flatnonzero(data.groups != group), np.flatnonzero(data.groups == group)) for group in groups]


def fit_cold(
    data: DocumentSet,
    config: Train,
    *,
    method: ColdMethod,
    prompts: References,
    archive: Mapping[str, Block],
    coverage: float,
    review_budget: float,
    folds: Sequence[Fold] | None = None,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Fitted:
    """As `fit.fit`, for a head of references; `data` may be empty, and its classes may have no documents.

    Args:
        method: `zero-shot` compares with prompts alone; labels then only tell how good that is.
        prompts: of the classes of `data`, in their order.
        archive: documents of the store, labelled or not. No label of theirs is looked at, so that it does not matter
            whether those that are held out are among them.
        folds: made by `hold_out_folds`, unless given.

    Raises:
        ValueError: when there is nothing to compare with, or the archive is empty.
    """
    started = time.perf_counter()
    parts = tuple(hold_out_folds(data, config) if folds is None else folds)
    told = Share(progress, len(parts) + 1)
    with reproducible(config.seed, torch.device("cpu"), threads=1):
        seen = survey(archive, config.ngrams)

        def learn(known: DocumentSet, report: Progress | None) -> NeighbourHead:
            labelled = References(known.blocks(), known.labels) if method == "neighbours" else _NONE
            head = with_references(labelled, prompts, seen, classes=len(data.classes))
            if report is not None:
                report(1, 0)
            return head

        held_out = hold_out(data, parts, learn, told) if parts else {}
        head = learn(data, told.part(len(parts)))
    run = TrainingRun(head, data.classes, config, epochs=(), device="cpu", seconds=time.perf_counter() - started)
    enough = _telling(data, method) >= _LEAST_HELD_OUT
    log.info("train.references", method=method, documents=len(data), learnt=enough, seconds=round(run.seconds, 2))
    kinds = calibrate.evidence(data.blocks())
    return Fitted(
        run=run,
        thresholds=thresholds(data.labels, kinds, held_out, coverage, review_budget) if enough else CAUTIOUS,
        coverage=coverage,
        review_budget=review_budget,
        folds=parts,
        estimate=judge(data, parts, held_out, coverage=coverage, review_budget=review_budget, resamples=resamples)
        if enough
        else _cautious(data, held_out.get("both"), resamples),
    )


def _telling(data: DocumentSet, method: ColdMethod) -> int:
    """Documents, duplicates counted once, that a held-out answer could be right about."""
    if method == "zero-shot":
        return len(np.unique(data.groups))
    return sum(n for n in data.originals().values() if n > 1)


def _cautious(data: DocumentSet, held_out: Floats | None, resamples: int) -> Evaluation:
    """What held-out scores are worth with fixed thresholds; of no documents, nothing can be said."""
    shape = (len(data), len(data.classes))
    sets, accepted = np.ones(shape, dtype=bool), np.zeros(len(data), dtype=bool)
    if held_out is None:
        return Evaluation(Scored(data.classes, data.labels, np.empty(shape), sets, accepted), values={})
    kinds = calibrate.evidence(data.blocks())
    found = calibrate.probabilities(held_out, CAUTIOUS.weights, kinds)
    return evaluate(Scored(data.classes, data.labels, found, sets, accepted), groups=data.groups, resamples=resamples)
