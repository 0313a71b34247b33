"""Tables of figures, with and without rules."""

from __future__ import annotations

from collections.abc import Sequence

from dsdc.samples.fonts import width, wrap
from dsdc.samples.layout.flow import Flow
from dsdc.samples.page import Anchor
from dsdc.samples.text import Tongue


def grid(
    flow: Flow,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    shares: Sequence[float],
    *,
    ruled: str = "none",
    indent: float = 0.0,
) -> None:
    """A table over the measure, columns by `shares`; `ruled`: none, head, rows, full. Figures go to the right."""
    total, usable = sum(shares), flow.measure - indent
    edges = [flow.left + indent]
    for share in shares:
        edges.append(edges[-1] + usable * share / total)
    top = flow.y + 3
    wrapped = [wrap(text, flow.font, edges[i + 1] - edges[i] - 6) or [""] for i, text in enumerate(head)]
    for number in range(max(map(len, wrapped), default=0)):
        _cells(flow, edges, [cell[number] if number < len(cell) else "" for cell in wrapped], centred=True)
    if ruled in ("head", "rows", "full") and any(head):
        flow.page.line(edges[0], flow.y + 4, edges[-1], flow.y + 4, 1.0)
        flow.space(4)
    for row in rows:
        if flow.room < flow.leading * 1.3:
            break
        _cells(flow, edges, row)
        if ruled in ("rows", "full"):
            flow.page.line(edges[0], flow.y + 4, edges[-1], flow.y + 4, 0.5)
            flow.space(3.5)
    if ruled == "full":
        bottom = flow.y + 0.5
        for x in edges:
            flow.page.line(x, top, x, bottom, 0.6)
        flow.page.line(edges[0], top, edges[-1], top, 0.6)
    flow.space(flow.leading * 0.5)


def _cells(flow: Flow, edges: Sequence[float], texts: Sequence[str], *, centred: bool = False) -> None:
    if not flow.take(flow.leading):
        return
    for number, text in enumerate(texts):
        left, right = edges[number], edges[number + 1]
        while text and width(text, flow.font) > right - left - 2:
            text = text[:-1]  # noqa: PLW2901  a cell that is too long is cut, as a line printer would
        anchor: Anchor = "c" if centred and number else "r" if number and text[-1:].isdigit() else "l"
        x = {"l": left + 3, "c": (left + right) / 2, "r": right - 4}[anchor]
        flow.page.text(x, flow.y, text, flow.font, anchor=anchor)


def number(tongue: Tongue, about: float) -> str:
    """A figure of that order of magnitude, as people round it."""
    value = about * tongue.rng.lognormvariate(0, 0.5)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figures(flow: Flow, tongue: Tongue, *, rows: int, columns: int | None = None, caption: bool = False) -> None:
    """A table of measurements or sales."""
    rng = tongue.rng
    columns = columns or rng.randint(2, 5)
    about = [rng.choice((0.4, 8, 60, 900, 20000)) for _ in range(columns)]
    head = [
        "",
        *(
            tongue.pick(
                ("{year}", "{month}", "{quantity}", "Control", "Test {digit}", "{brand}", "%", "Std. Dev.", "Mean")
            )
            for _ in range(columns)
        ),
    ]
    label = rng.choice(("{quantity}", "{brand}", "{material}", "{town}", "{code}", "{department}"))
    body = []
    for _ in range(rows):
        name = tongue.say(label)
        body.append([name[0].upper() + name[1:], *(number(tongue, a) for a in about)])
    if caption:
        flow.line(f"Table {rng.randint(1, 6)}. {tongue.subject()}", anchor=rng.choice(("l", "c")))
    grid(flow, head, body, [2.2, *([1.0] * columns)], ruled=rng.choice(("none", "none", "head", "rows", "full")))
