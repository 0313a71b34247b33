"""Whether a challenger may replace the champion: the written rule, the decision, and the report that explains it.

The rule, on the labelled documents of the challenger's snapshot, each new to both models:

1. With fewer than `LEAST_DOCUMENTS` of them no interval means much: the challenger serves unless it is less accurate.
2. Refused where it is worse with confidence: the 95 % interval of the gain in accuracy lies wholly below 0.
3. Refused where it has lost more accuracy than `TOLERATED_LOSS`, however wide the interval is.
4. Refused where its calibration is clearly worse: the interval of the change in negative log-likelihood lies wholly
   above 0, the change is over `TOLERATED_NLL`, and it is not more accurate with confidence.
5. Promoted otherwise, for it has learnt from all that is known now.

Without any labelled document nothing can be compared: a challenger then replaces no champion but one that has learnt
from no label (zero-shot), for it knows the classes and the archive as they are now.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsdc.ml.comparison import Champion, Comparison, Difference, align
from dsdc.ml.comparison import compare as compare_on
from dsdc.ml.features import Ints
from dsdc.ml.heldout import HeldOut

#: Fewer shared documents than this make no interval.
LEAST_DOCUMENTS = 20
#: Accuracy that a challenger may lose where nobody can tell whether it is chance.
TOLERATED_LOSS = 0.02
#: Nats that it may lose. Two trainings that differ in their seed alone are a few thousandths apart.
TOLERATED_NLL = 0.01
_PAIRS_SHOWN = 20


@dataclass(frozen=True)
class GateReport:
    """The decision in words, and the numbers behind it: of all documents compared, and by the source of their labels.

    `unfair` counts documents left out because the champion has learnt from a duplicate of theirs, or cannot be asked.
    """

    promote: bool
    reason: str
    comparison: Comparison | None = None
    by_source: Mapping[str, Comparison] = field(default_factory=dict)
    unfair: int = 0

    @property
    def documents(self) -> int:
        """How many were compared on."""
        return 0 if self.comparison is None else self.comparison.documents

    def as_dict(self) -> dict[str, Any]:
        """Flat, finite values; those of `Comparison.as_dict` are missing where nothing was compared."""
        numbers = {} if self.comparison is None else self.comparison.as_dict()
        return {"promote": self.promote, "reason": self.reason, "documents": 0, "unfair": self.unfair} | numbers

    def markdown(self) -> str:
        """The report as people read it."""
        verdict = "promoted" if self.promote else "refused"
        lines = ["# Challenger against champion", "", f"**The challenger is {verdict}.** {self.reason}", ""]
        if self.comparison is not None:
            lines += [*_scope(self.comparison, self.unfair), *_metrics(self.comparison)]
            lines += _sources(self.by_source)
            lines += [*_classes(self.comparison), *_flips(self.comparison)]
        return "\n".join(lines) + "\n"


def first(reason: str) -> GateReport:
    """There is nothing to compare with."""
    return GateReport(promote=True, reason=reason)


def compare(
    challenger: HeldOut, champion: Champion, *, groups: Ints, sources: Sequence[str] | None = None, seed: int
) -> GateReport:
    """Judge a challenger by its held-out answers against what the champion says to the same documents.

    Args:
        groups: `[n]` group numbers of the challenger's documents; duplicates share one.
        sources: who each label is from (`human`, `import`), for a comparison on each source's labels alone.

    Raises:
        ValueError: when the champion was not asked about all of the challenger's documents.
    """
    if not len(groups):
        return _unjudged(champion)
    aligned = align(challenger, champion, groups)
    unfair = len(groups) - len(aligned.rows)
    if not len(aligned.rows):
        return GateReport(True, "There is no document on which the champion can be judged fairly.", unfair=unfair)
    found = compare_on(aligned.both, seed=seed)
    promote, reason = _decide(found)
    given = np.array(sources or [""] * len(groups))[aligned.rows]
    parts = {str(source): np.flatnonzero(given == source) for source in np.unique(given)}
    by_source = {
        source: compare_on(aligned.both.take(rows), seed=seed) for source, rows in parts.items() if len(parts) > 1
    }
    return GateReport(promote, reason, found, by_source, unfair)


def _unjudged(champion: Champion) -> GateReport:
    if champion.learnt is None:
        return first("No document has a label to judge by. The champion has learnt from none either.")
    return GateReport(False, "No document has a label to judge the challenger by; the champion has learnt from some.")


def _decide(found: Comparison) -> tuple[bool, str]:
    """The rule at the head of this file."""
    accuracy, nll = found.accuracy, found.nll
    if found.documents < LEAST_DOCUMENTS:
        promote = accuracy.gain >= 0
        who = "it serves, for it is no less accurate" if promote else "the champion stays, for it was more accurate"
        return promote, f"{_measured(found)}. That is too few to be sure; {who}."
    if accuracy.high < 0:
        return False, f"{_measured(found)}: worse, and not by chance."
    if accuracy.gain < -TOLERATED_LOSS:
        return False, f"{_measured(found)}: a loss of more than {TOLERATED_LOSS:.3f}."
    if nll is not None and nll.low > 0 and nll.gain > TOLERATED_NLL and accuracy.low <= 0:
        change = f"negative log-likelihood {nll.gain:+.3f} ({_interval(nll)})"
        return False, f"{_measured(found)}, but its probabilities are clearly worse: {change}."
    verdict = "better" if accuracy.low > 0 else "no worse than chance explains"
    return True, f"{_measured(found)}: {verdict}."


def _measured(found: Comparison) -> str:
    accuracy = found.accuracy
    shown = f"{accuracy.champion:.3f} to {accuracy.challenger:.3f}, {accuracy.gain:+.3f} ({_interval(accuracy)})"
    return f"On {found.documents} documents new to both, accuracy goes from {shown}"


def _interval(difference: Difference) -> str:
    return f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}"


def _scope(found: Comparison, unfair: int) -> Iterator[str]:
    left_out = f"; {unfair} more left out, on which the champion cannot be judged fairly" if unfair else ""
    yield f"{found.documents} documents in {found.groups} groups of duplicates{left_out}."
    yield ""


def _metrics(found: Comparison) -> Iterator[str]:
    yield from ("| metric | champion | challenger | difference | 95 % interval |", "| --- | --- | --- | --- | --- |")
    rows = {"accuracy": found.accuracy, "NLL": found.nll, "ECE": found.ece, "AUROC of being right": found.auroc}
    for name, row in rows.items():
        if row is not None:
            interval = "" if math.isnan(row.low) else f"{row.low:+.3f} to {row.high:+.3f}"
            yield f"| {name} | {_number(row.champion)} | {_number(row.challenger)} | {_change(row.gain)} | {interval} |"
    yield from ("", "NLL and ECE are of the documents whose class both models know.", "")


def _sources(by_source: Mapping[str, Comparison]) -> Iterator[str]:
    if not by_source:
        return
    yield from ("## By the source of the labels", "")
    yield "| source | documents | champion | challenger | difference | 95 % interval |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for source, part in by_source.items():
        row = part.accuracy
        accuracies = f"{_number(row.champion)} | {_number(row.challenger)} | {_change(row.gain)}"
        yield f"| {source} | {part.documents} | {accuracies} | {row.low:+.3f} to {row.high:+.3f} |"
    yield ""


def _classes(found: Comparison) -> Iterator[str]:
    yield from ("## Share right, by class", "")
    yield from ("| class | documents | champion | challenger | difference |", "| --- | --- | --- | --- | --- |")
    for row in found.classes:
        before = "not known" if math.isnan(row.champion) else _number(row.champion)
        change = _change(row.challenger - row.champion)
        yield f"| {row.label} | {row.documents} | {before} | {_number(row.challenger)} | {change} |"
    yield ""


def _flips(found: Comparison) -> Iterator[str]:
    yield from ("## Flips", "")
    yield f"{found.changed} answers change: {found.flips_to_right} to right, {found.flips_to_wrong} to wrong,"
    yield "the others from one wrong answer to another."
    if not found.flips:
        return
    yield from (
        "",
        "| right class | champion said | challenger says | documents | |",
        "| --- | --- | --- | --- | --- |",
    )
    for flip in found.flips[:_PAIRS_SHOWN]:
        way = "to right" if flip.to_right else "to wrong"
        yield f"| {flip.label} | {flip.champion} | {flip.challenger} | {flip.documents} | {way} |"
    if len(found.flips) > _PAIRS_SHOWN:
        rest = sum(flip.documents for flip in found.flips[_PAIRS_SHOWN:])
        yield f"| {len(found.flips) - _PAIRS_SHOWN} other pairs | | | {rest} | |"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"


def _change(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else ""
