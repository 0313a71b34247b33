"""What the change is worth on labelled documents, by answers that are fair to both sides.

An answer is fair where the model gave it before it learnt from the document (its held-out answers, on the rows that it
was trained on), or where it has learnt neither from the document nor from a duplicate. How often the answers of today
are right is told too, but flatters whoever has learnt from the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsdc.db.repositories.labels import CurrentLabel
from dsdc.ml import gate
from dsdc.ml.calibrate import Doubles
from dsdc.ml.comparison import Both, Champion, Comparison, compare
from dsdc.ml.dataset import DUPLICATE_COSINE
from dsdc.ml.features import Bools, Floats, Ints
from dsdc.ml.gate import GateReport
from dsdc.ml.heldout import HeldOut
from dsdc.ml.split import duplicate_groups
from dsdc.pipeline.replay.sides import Side


@dataclass(frozen=True)
class Labelled:
    """n documents that have a standing label, as both sides answer them today; `hashes` are of their first pages."""

    labels: Sequence[CurrentLabel]
    before: Doubles
    after: Doubles
    images: Floats
    hashes: Sequence[int | None]

    @property
    def document_ids(self) -> tuple[str, ...]:
        return tuple(label.document_id for label in self.labels)


@dataclass(frozen=True)
class Verdict:
    """`gate` is by fair answers; `live` compares the answers of today on all labelled documents, None without any."""

    gate: GateReport
    live: Comparison | None
    labelled: int


def judge(before: Side, after: Side, found: Labelled, *, seed: int) -> Verdict:
    """Whether `after` may take the place of `before`, by the rule of `gate`."""
    n = len(found.labels)
    if not n:
        reason = "No document that was replayed has a label: what the change is worth cannot be said."
        return Verdict(GateReport(False, reason), None, 0)
    groups = duplicate_groups(perceptual=found.hashes, embeddings=found.images, min_cosine=DUPLICATE_COSINE)
    classes = _all_classes(after.head.classes, [label.label for label in found.labels])
    right = np.array([classes.index(label.label) for label in found.labels], dtype=np.int64)
    new, fair = _fair(after, found.document_ids, found.after, groups)
    live = compare(_live(before, after, found, classes, right, groups), seed=seed)
    rows = [int(row) for row in np.flatnonzero(fair)]
    if not rows:
        reason = (
            f"The model has learnt from each of the {n} labelled documents as they are now, or from a duplicate of it:"
            " its answers to them prove nothing. A model trained on the new rows can be judged (--retrain)."
        )
        return Verdict(GateReport(False, reason, unfair=n), live, n)
    challenger = HeldOut(
        tuple(found.document_ids[row] for row in rows),
        classes,
        right[rows],
        np.zeros(len(rows), dtype=np.int64),
        _widen(new, after.head.classes, classes)[rows],
    )
    champion = Champion(before.head.classes, found.before[rows], before.held_out)
    sources = [found.labels[row].source for row in rows]
    return Verdict(gate.compare(challenger, champion, groups=groups[rows], sources=sources, seed=seed), live, n)


def _all_classes(known: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The model's classes, and those that documents have without its knowing them."""
    return (*known, *sorted(set(labels) - set(known)))


def _fair(side: Side, document_ids: Sequence[str], live: Doubles, groups: Ints) -> tuple[Doubles, Bools]:
    """`[n, classes]` of a side's answers, and `[n]` which of them are fair."""
    answers = live.copy()
    learnt = np.array([document_id in side.learnt for document_id in document_ids])
    fair = ~learnt & ~np.isin(groups, groups[learnt])
    if side.held_out is not None:
        at = {document_id: row for row, document_id in enumerate(side.held_out.document_ids)}
        rows = np.array([at[document_id] for document_id in np.array(document_ids)[learnt]], dtype=np.int64)
        answers[learnt] = _widen(side.held_out.probabilities, side.held_out.classes, side.head.classes)[rows]
        fair |= learnt
    return answers, fair


def _widen(probabilities: Doubles, given: Sequence[str], wanted: Sequence[str]) -> Doubles:
    """The columns in another order, zeros for classes that were not given."""
    found = np.zeros((len(probabilities), len(wanted)))
    for column, slug in enumerate(given):
        found[:, wanted.index(slug)] = probabilities[:, column]
    return found


def _live(before: Side, after: Side, found: Labelled, classes: Sequence[str], right: Ints, groups: Ints) -> Both:
    every = (*classes, *(slug for slug in before.head.classes if slug not in classes))
    known = set(before.head.classes) & set(after.head.classes)
    return Both(
        every,
        right,
        groups,
        _widen(found.before, before.head.classes, every),
        _widen(found.after, after.head.classes, every),
        np.array([every[row] in known for row in right]),
    )
