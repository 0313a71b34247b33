"""Presentations: slides, title pages, speech scripts and press releases."""

from __future__ import annotations

from dsdc.samples.fonts import Font, wrap
from dsdc.samples.layout.flow import Flow, Margins, body_font, paper, sheet
from dsdc.samples.layout.tables import figures
from dsdc.samples.page import Page
from dsdc.samples.pictures import chart, emblem
from dsdc.samples.text import Tongue


def presentation(tongue: Tongue) -> list[Page]:
    """A deck, a speech or a release."""
    rng = tongue.rng
    kind = rng.random()
    if kind < 0.62:
        return _deck(tongue)
    if kind < 0.82:
        return _speech(tongue)
    return _release(tongue)


def _deck(tongue: Tongue) -> list[Page]:
    rng = tongue.rng
    tongue.year = max(tongue.year, 1968)
    width, height = paper(rng)
    wide = rng.random() < 0.65
    size = (height, width) if wide else (width, height)
    upright = not wide or rng.random() < 0.6
    family = rng.choice(("helvetica", "times", "helvetica", "sans", "stix", "courier"))
    frame = rng.choice(("none", "none", "box", "rule", "band"))
    pages: list[Page] = []
    for _ in range(rng.choices((1, 2, 3, 5), weights=(4, 3, 2, 1))[0]):
        page = Page(size, upright=upright)
        _frame(page, tongue, frame)
        build = (
            rng.choice((_title, _bullets, _bullets, _bullets, _chart, _table, _agenda))
            if pages
            else rng.choice((_title, _bullets, _bullets, _chart, _agenda))
        )
        build(page, tongue, family)
        pages.append(page)
    return pages


def _frame(page: Page, tongue: Tongue, frame: str) -> None:
    rng = tongue.rng
    if frame == "box":
        page.rect(40, 40, page.width - 80, page.height - 80, weight=rng.choice((1, 2.5)))
    elif frame == "rule":
        page.line(50, 112, page.width - 50, 112, 2)
        page.line(50, page.height - 50, page.width - 50, page.height - 50, 1)
    elif frame == "band":
        page.rect(0, 0, 26, page.height, fill=rng.choice((0, 120, 200)), grey=None)
        emblem(page, page.width - 80, page.height - 80, 34, rng)


def _slide_title(page: Page, tongue: Tongue, family: str) -> float:
    text = (
        tongue.subject()
        if tongue.rng.random() < 0.7
        else tongue.pick(
            ("Objectives", "Background", "Summary", "Strategies", "Next Steps", "Key Issues", "Conclusions")
        )
    )
    font = Font(family, tongue.rng.uniform(20, 30), bold=True)
    y = tongue.rng.uniform(70, 92)
    for line in wrap(text.upper() if tongue.rng.random() < 0.3 else text, font, page.width - 140)[:2]:
        page.text(page.width / 2, y, line, font, anchor="c", underline=tongue.rng.random() < 0.2)
        y += font.size * 1.1
    return y + 16


def _title(page: Page, tongue: Tongue, family: str) -> None:
    rng = tongue.rng
    y = page.height * rng.uniform(0.25, 0.4)
    font = Font(family, rng.uniform(20, 34), bold=rng.random() < 0.8)
    for line in wrap(
        tongue.pick(
            (
                "{brand} {doc}",
                "{department} Review",
                "Quarterly Review Meeting",
                "A Presentation to {company}",
                "{year} Operating Plan",
                "{activity}: A Proposal",
            )
        ).title(),
        font,
        page.width - 150,
    ):
        page.text(page.width / 2, y, line, font, anchor="c")
        y += font.size * 1.2
    small = Font(family, rng.uniform(12, 17))
    for text in (tongue.ours, tongue.name(), tongue.date())[rng.randint(0, 1) :]:
        y += small.size * 2
        page.text(page.width / 2, y, text, small, anchor="c")


def _bullets(page: Page, tongue: Tongue, family: str) -> None:
    rng = tongue.rng
    font = Font(family, rng.uniform(13, 19))
    flow = Flow(font, size=page.size, margins=Margins(rng.uniform(70, 110), 0, 70, 60), leading=font.size * 1.2)
    flow.pages, flow.y = [page], _slide_title(page, tongue, family)
    mark = rng.choice(("-", "*", "o", "1.", ">", "\u2022"))
    for count, text in enumerate(tongue.sentences("bullets", rng.randint(3, 7)), 1):
        flow.para(text, hanging=f"{count}." if mark == "1." else mark, after=font.size * rng.uniform(0.4, 0.9))
        if rng.random() < 0.25:
            for sub in tongue.sentences("bullets", 2):
                flow.para(sub, indent=34, hanging="-", font=font.sized(font.size * 0.82), after=4)


def _chart(page: Page, tongue: Tongue, family: str) -> None:
    y = _slide_title(page, tongue, family)
    labels = [tongue.pick(("{year}", "{month}", "{brand}", "Q{digit}"))[:12] for _ in range(tongue.rng.randint(4, 8))]
    chart(page, (110, y + 10, page.width - 220, page.height - y - 120), tongue.rng, labels)
    page.text(80, page.height - 50, f"Source: {tongue.company()}, {tongue.say('{year}')}", Font(family, 9))


def _table(page: Page, tongue: Tongue, family: str) -> None:
    flow = Flow(Font(family, 12), size=page.size, margins=Margins(80, 0, 80, 60), leading=18)
    flow.pages, flow.y = [page], _slide_title(page, tongue, family)
    figures(flow, tongue, rows=tongue.rng.randint(4, 9), columns=3)


def _agenda(page: Page, tongue: Tongue, family: str) -> None:
    rng = tongue.rng
    font = Font(family, rng.uniform(13, 18))
    page.text(
        page.width / 2,
        92,
        rng.choice(("AGENDA", "Table of Contents", "Overview", "TOPICS")),
        font.strong().sized(font.size * 1.5),
        anchor="c",
    )
    y = 150.0
    for count in range(1, rng.randint(4, 8)):
        page.text(100, y, tongue.subject(), font)
        page.text(page.width - 100, y, str(count) if rng.random() < 0.5 else tongue.lastname(), font, anchor="r")
        y += font.size * 2


def _speech(tongue: Tongue) -> list[Page]:
    """Remarks to be read aloud: large type, or double-spaced typing, with cues for the slides."""
    rng = tongue.rng
    font = body_font(tongue).sized(rng.choice((12.5, 14, 17)))
    flow = sheet(tongue, font=font, limit=rng.choice((1, 2, 3)), spacing=rng.choice((1.3, 2.0)))
    if rng.random() < 0.5:
        flow.lines(
            [f"REMARKS BY {tongue.name().upper()}", tongue.say("{activity} {meeting}").upper(), tongue.date().upper()],
            anchor="c",
        )
        flow.space()
    else:
        flow.line(str(rng.randint(2, 30)), anchor="c")
    flow.para(
        tongue.pick(
            (
                "Good morning. It is a pleasure to be here today to talk about {activity}.",
                "Thank you, {lastname}. As this slide shows, {finding}.",
                "Let's begin with {brand}.",
            )
        )
    )
    for _ in range(rng.randint(2, 6)):
        if rng.random() < 0.35:
            flow.line(f"(SLIDE {rng.randint(1, 40)})", anchor=rng.choice(("l", "r")))
        flow.para(tongue.paragraph("business", "press", low=1, high=3), first=rng.choice((0, 30)))
    return flow.pages


def _release(tongue: Tongue) -> list[Page]:
    """A news release as its sender typed it."""
    rng = tongue.rng
    flow = sheet(tongue, font=body_font(tongue), limit=rng.choice((1, 2)), spacing=rng.choice((1.3, 1.9)))
    flow.line(tongue.ours.upper(), font=flow.font.strong())
    flow.row(
        [
            (0.0, "FOR IMMEDIATE RELEASE" if rng.random() < 0.6 else tongue.date().upper(), "l"),
            (flow.measure, f"Contact: {tongue.name()}", "r"),
        ]
    )
    flow.row([(flow.measure, tongue.phone(), "r")])
    flow.space()
    flow.para(tongue.say("{company} to {action}").upper() if rng.random() < 0.6 else tongue.title(), after=flow.leading)
    for _ in range(rng.randint(3, 6)):
        flow.para(tongue.paragraph("press", "business", low=1, high=3), first=30)
    flow.line(rng.choice(("# # #", "-30-", "- more -")), anchor="c")
    return flow.pages
