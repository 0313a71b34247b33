"""Figures of an evaluation and of a training, drawn without a display and without pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dsdc.ml.evaluate import Scored, reliability, risk_coverage
from dsdc.ml.train import Epoch

_INK, _SECOND, _FAINT = "#1f4e79", "#c55a11", "#b0b7bf"


def evaluation_figures(scored: Scored, names: Sequence[str]) -> dict[str, Figure]:
    """File name (without folder or ending) to figure; `names` are the classes' display names."""
    return {
        "confusion_matrix": confusion_matrix(scored, names),
        "reliability_diagram": reliability_diagram(scored),
        "risk_coverage": risk_coverage_curve(scored),
    }


def confusion_matrix(scored: Scored, names: Sequence[str]) -> Figure:
    """Counts, shaded by share of the right class; a class without documents is a blank row."""
    counts = scored.confusion
    side = 3.0 + 0.42 * len(names)
    figure, axes = _canvas(side + 0.6, side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="right", title=f"Confusion, {len(scored)} documents")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the right class")
    return figure


def reliability_diagram(scored: Scored) -> Figure:
    """Accuracy against confidence in bins of equal width, with the number of documents below."""
    figure = Figure(figsize=(5.6, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = reliability(scored)
    left, width = [b.low for b in bins], [b.high - b.low for b in bins]
    above.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="calibrated")
    above.bar(left, [b.accuracy for b in bins], width, align="edge", color=_INK, edgecolor="white", alpha=0.85)
    above.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o", color=_SECOND, label="mean of the bin")
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy", title=f"Reliability, {len(scored)} documents")
    above.legend(loc="upper left", frameon=False)
    below.bar(left, [b.documents for b in bins], width, align="edge", color=_FAINT, edgecolor="white")
    below.set(xlabel="confidence", ylabel="documents")
    return figure


def risk_coverage_curve(scored: Scored) -> Figure:
    """Error rate among the accepted against the share accepted, surest first."""
    figure, axes = _canvas(5.6, 4.2)
    accepted, risk = risk_coverage(scored)
    axes.step(accepted, risk, where="post", color=_INK)
    axes.axhline(float(risk[-1]), color=_FAINT, linestyle="--", label="everything accepted")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share accepted", ylabel="error rate", title="Risk and coverage")
    axes.legend(loc="lower right", frameon=False)
    return figure


def training_curve(epochs: Sequence[Epoch]) -> Figure:
    """Loss of the networks, one after the other, smoothing and class weights in."""
    figure, axes = _canvas(6.8, 4.2)
    axes.plot([point.epoch for point in epochs], [point.train_loss for point in epochs], color=_INK)
    axes.set(xlabel="epoch, counted through all networks", ylabel="training loss, nats", title="Training")
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
