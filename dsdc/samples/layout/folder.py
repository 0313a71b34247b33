"""File folders: a scan of the jacket itself, nearly empty but for its tab."""

from __future__ import annotations

from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand
from dsdc.samples.page import LETTER, Page, Point
from dsdc.samples.text import Tongue


def folder(tongue: Tongue) -> list[Page]:
    """The outside of a folder, light or dark, with its tab at a side."""
    rng = tongue.rng
    page = Page((LETTER[0] * rng.uniform(1.0, 1.12), LETTER[1]), upright=True)
    kind = rng.choices(("light", "dark", "blank", "spine", "cover"), weights=(5, 3, 2, 2, 1.5))[0]
    if kind == "cover":
        _cover(page, tongue)
    elif kind == "blank":
        _stray(page, tongue)
    else:
        _jacket(page, tongue, dark=kind == "dark", spine=kind == "spine")
    if kind != "blank" and rng.random() < 0.3:
        _stray(page, tongue)
    return [page]


def _subject(tongue: Tongue) -> list[str]:
    lines = [
        tongue.pick(
            (
                "{department}",
                "{brand}",
                "{activity}",
                "{lastname}, {name}",
                "{company}",
                "{year} {doc}",
                "CORRESPONDENCE",
                "{material}",
                "BUDGET {year}",
                "REPORTS {year}",
                "{product} tests",
            )
        )
    ]
    if tongue.rng.random() < 0.6:
        lines.append(
            tongue.pick(("{year}", "{month} {year}", "{code}", "FILE {digit} OF {digit}", "GENERAL", "CORRESPONDENCE"))
        )
    return [text.upper() for text in lines] if tongue.rng.random() < 0.7 else lines


def _jacket(page: Page, tongue: Tongue, *, dark: bool, spine: bool) -> None:
    rng = tongue.rng
    w, h = page.size
    edge = w - rng.uniform(40, 110)
    top, bottom = rng.uniform(0, 60), h - rng.uniform(0, 60)
    tab_top = rng.uniform(0.1, 0.65) * h
    tab_end, out = tab_top + rng.uniform(110, 190), rng.uniform(18, 40)
    fill = rng.choice((0, 25, 60)) if dark else rng.choice((None, None, 238, 222))
    start = rng.uniform(0, 80) if dark else -5.0
    shape = [
        (start, top),
        (edge, top),
        (edge, tab_top),
        (edge + out, tab_top + 12),
        (edge + out, tab_end - 12),
        (edge, tab_end),
        (edge, bottom),
        (start, bottom),
    ]
    page.polygon(shape, weight=rng.uniform(0.8, 2.2), fill=fill)
    if spine:
        for i in range(rng.randint(1, 4)):
            page.line(edge - 8 - 7 * i, 0, edge - 6 - 7 * i, h, rng.uniform(0.5, 3), grey=rng.choice((0, 60, 120)))
    _label(page, tongue, edge + out, tab_top, tab_end, dark=dark)


def _label(page: Page, tongue: Tongue, right: float, top: float, bottom: float, *, dark: bool) -> None:
    rng = tongue.rng
    size = rng.uniform(7.5, 11)
    lines = _subject(tongue)
    if dark or rng.random() < 0.4:
        page.rect(
            right - size * 1.5 * len(lines) - 8,
            top + 14,
            size * 1.5 * len(lines) + 5,
            bottom - top - 28,
            fill=255,
            weight=0.7,
        )
    if rng.random() < 0.3:
        hand = Hand.draw(rng, rng.uniform(9, 13))
        for i, text in enumerate(lines):
            _upright_ink(page, hand, (right - (i + 1) * size * 1.5, top + 20), text, tongue)
        return
    font = Font(rng.choice(("courier", "helvetica", "courier", "teletype")), size, bold=rng.random() < 0.4)
    for i, text in enumerate(lines):
        page.text(
            right - (i + 1) * size * 1.45 - 3, top + 18, text[: int((bottom - top - 30) / size / 0.6)], font, angle=270
        )


def _upright_ink(page: Page, hand: Hand, at: Point, text: str, tongue: Tongue) -> None:
    """Writing that runs down the tab: written flat elsewhere, then turned."""
    x, y = at
    flat = Page(page.size)
    hand.write(flat, 0, 0, text, tongue.rng)
    for item in flat.items:
        strokes = [[(x - py, y + px) for px, py in stroke] for stroke in item.strokes]  # type: ignore[union-attr]
        page.ink(strokes, hand.weight, hand.grey, text, y)


def _stray(page: Page, tongue: Tongue) -> None:
    """A note or a stamped word somewhere on the empty sheet."""
    rng = tongue.rng
    kind = rng.random()
    if kind < 0.4:
        Hand.draw(rng).write(
            page, page.width * rng.uniform(0.1, 0.6), page.height * rng.uniform(0.2, 0.8), _subject(tongue)[0], rng
        )
    elif kind < 0.7:
        page.text(
            page.width * 0.8,
            page.height * rng.uniform(0.05, 0.4),
            rng.choice(("CENTRAL FILES", "CONFIDENTIAL", "CLOSED", "LEGAL")),
            Font("helvetica", rng.uniform(14, 22), bold=True),
            angle=270,
        )
    if rng.random() < 0.4:
        page.line(page.width * 0.06, 0, page.width * 0.065, page.height, rng.uniform(0.6, 2.5))


def _cover(page: Page, tongue: Tongue) -> None:
    """A binder's front: a title set large, perhaps down the side."""
    rng = tongue.rng
    font = Font(rng.choice(("helvetica", "times", "courier")), rng.uniform(14, 26), bold=True)
    turned = rng.random() < 0.5
    for i, text in enumerate((tongue.ours.upper(), *_subject(tongue))):
        if turned:
            page.text(page.width * 0.5 - i * font.size * 2, page.height * 0.3, text, font, angle=270)
        else:
            page.text(page.width / 2, page.height * 0.4 + i * font.size * 2, text, font, anchor="c")
    page.line(page.width - 46, 0, page.width - 44, page.height, 1.6)
