"""Small pieces of HTML. Whatever comes from a file, a user or a service goes through `escape`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def percent(share: float) -> str:
    """`0.973` -> `97.3 %`; nothing short of certainty is written as 100 % and nothing above zero as 0 %."""
    if share in (0, 1):
        return f"{share * 100:.0f}\u00a0%"
    return f"{min(max(share * 100, 0.1), 99.9):.1f}\u00a0%"


def brand() -> str:
    return '<div class="brand"><i></i><div>DSDC<small>Document classification</small></div></div>'


def verdict(name: str, probability: float) -> str:
    return (
        f'<div class="verdict"><span class="class">{escape(name)}</span>'
        f'<span class="share">{percent(probability)}</span></div>'
    )


def decision(kind: str, title: str, reason: str) -> str:
    """`kind` is accept or review."""
    css = "accept" if kind == "accept" else "review"
    return f'<div class="decision {css}"><b>{escape(title)}</b><span>{escape(reason)}</span></div>'


def bars(rows: Sequence[tuple[str, float]]) -> str:
    """Names with shares from 0 to 1; the first is set off."""
    return '<div class="bars">' + "".join(_bar(*row, top=i == 0) for i, row in enumerate(rows)) + "</div>"


def _bar(name: str, share: float, *, top: bool) -> str:
    width = min(max(share, 0.0), 1.0) * 100
    return (
        f'<div class="row{" top" if top else ""}"><span>{escape(name)}</span>'
        f'<span class="track"><span class="fill" style="width:{width:.1f}%"></span></span>'
        f'<span class="number">{percent(share)}</span></div>'
    )


def chips(names: Iterable[str]) -> str:
    return '<div class="chips">' + "".join(f'<span class="chip">{escape(name)}</span>' for name in names) + "</div>"


def quiet(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'


def facts(rows: Mapping[str, str]) -> str:
    inner = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows.items())
    return f'<dl class="facts">{inner}</dl>'


def empty(title: str, text: str) -> str:
    return f'<div class="empty"><b>{escape(title)}</b>{escape(text)}</div>'


def neighbours(rows: Sequence[tuple[str, float, str, str]]) -> str:
    """(class, cosine similarity, who said so, document id) of each, nearest first."""
    return '<div class="near">' + "".join(_neighbour(*row) for row in rows) + "</div>"


def _neighbour(name: str, similarity: float, source: str, document_id: str) -> str:
    width = min(max(similarity, 0.0), 1.0) * 100
    return (
        f'<span>{escape(name)}</span><span class="track"><span class="fill" style="width:{width:.1f}%"></span></span>'
        f'<span class="number">{similarity:.3f}</span><span class="quiet">{escape(source)}</span>'
        f'<span class="mono" title="{escape(document_id)}">{escape(document_id[:10])}</span>'
    )


def steps(rows: Sequence[tuple[str, str]]) -> str:
    """A list of (what, which) along a line."""
    return (
        '<ol class="steps">'
        + "".join(f"<li><b>{escape(k)}</b><span>{escape(v)}</span></li>" for k, v in rows)
        + "</ol>"
    )
