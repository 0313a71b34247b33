"""Scientific reports, as a laboratory types them, and scientific publications, as a journal prints them."""

from __future__ import annotations

from dsdc.samples import words
from dsdc.samples.fonts import TYPEWRITERS, Font, width, wrap
from dsdc.samples.layout.flow import Flow, Margins, body_font, heading, heads, paper, sheet
from dsdc.samples.layout.tables import figures, grid, number
from dsdc.samples.page import Anchor, Page
from dsdc.samples.pictures import chart, circle
from dsdc.samples.text import Tongue

_PARTS = (
    "INTRODUCTION",
    "OBJECTIVE",
    "MATERIALS AND METHODS",
    "EXPERIMENTAL",
    "RESULTS",
    "RESULTS AND DISCUSSION",
    "SUMMARY",
    "CONCLUSIONS",
    "BACKGROUND",
    "PROCEDURE",
    "RECOMMENDATIONS",
    "DISCLOSURE",
)


def report(tongue: Tongue) -> list[Page]:
    """Pages of a research report."""
    rng = tongue.rng
    spacing = rng.choice((1.2, 1.25, 1.9, 2.0))
    flow = sheet(
        tongue, font=body_font(tongue), limit=rng.choices((1, 2, 3, 4), weights=(5, 3, 2, 1))[0], spacing=spacing
    )
    flow.on_turn = heads(lambda page: f"-{page}-", "c")
    build = rng.choice((_cover, _contents, _sections, _sections, _sections, _data, _data, _plot, _printed_results))
    build(flow, tongue)
    if build in (_cover, _contents) and flow.limit > 1:
        flow.y = flow.page.height
        _sections(flow, tongue)
    return flow.pages


def _cover(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    font = heading(tongue, flow.font, grow=1.4)
    flow.space(rng.uniform(40, 150))
    flow.lines([tongue.institute() if rng.random() < 0.5 else tongue.ours], font=font, anchor="c")
    flow.space(rng.uniform(30, 90))
    flow.line(
        rng.choice(
            (
                "FINAL REPORT",
                "PROGRESS REPORT",
                f"REPORT {tongue.code()}",
                "QUARTERLY RESEARCH REPORT",
                "SPECIAL INVESTIGATION",
            )
        ),
        font=font,
        anchor="c",
    )
    flow.space()
    for text in wrap(tongue.title(), font, flow.measure * 0.75):
        flow.line(text, font=font, anchor="c")
    flow.space(rng.uniform(30, 110))
    flow.lines(
        [
            f"{rng.choice(('Author', 'Prepared by', 'Written by'))}: {tongue.name()}",
            f"Project: {tongue.code()}",
            f"Date: {tongue.date()}",
            f"Period covered: {tongue.say('{month} - {month} {year}')}",
        ][: rng.randint(2, 4)],
        anchor=rng.choice(("c", "l")),
    )


def _contents(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.line(tongue.title(), anchor="c", underline=True)
    flow.space()
    flow.line("TABLE OF CONTENTS", anchor="c")
    flow.space()
    page = 1
    for count, part in enumerate(rng.sample(_PARTS, rng.randint(5, 9)), 1):
        page += rng.randint(1, 6)
        name = f"{('I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX')[count - 1]}.  {part.title()}"
        dots = "." * max(4, int((flow.measure - width(name, flow.font) - 40) / width(".", flow.font)))
        flow.row([(0.0, f"{name} {dots}", "l"), (flow.measure, str(page), "r")])


def _sections(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    if rng.random() < 0.75:
        flow.lines(wrap(tongue.title(), flow.font, flow.measure * 0.8), anchor="c")
        flow.space()
    elif rng.random() < 0.5:
        flow.line(f"{rng.randint(2, 40)}", anchor=rng.choice(("c", "r")))
        flow.space()
    indent = rng.choice((0.0, 30.0))
    style = rng.choice(("centre", "left", "number", "none"))
    for count, part in enumerate(rng.sample(_PARTS, rng.randint(2, 4)), 1):
        if style != "none":
            text = f"{count}. {part.title()}" if style == "number" else part
            flow.line(text, anchor="c" if style == "centre" else "l", underline=style == "left")
            flow.space(flow.leading * 0.3)
        for _ in range(rng.randint(1, 3)):
            flow.para(tongue.paragraph("science", low=2, high=6), first=indent)
        if rng.random() < 0.25 and flow.room > 160:
            figures(flow, tongue, rows=rng.randint(3, 7), caption=True)


def _data(flow: Flow, tongue: Tongue) -> None:
    """A page that is all table."""
    rng = tongue.rng
    flow.leading = flow.font.size * 1.25
    flow.lines(wrap(f"TABLE {rng.randint(1, 12)}. {tongue.title()}", flow.font, flow.measure), anchor="c")
    flow.space()
    for _ in range(rng.choice((1, 1, 2))):
        figures(flow, tongue, rows=rng.randint(6, 24), columns=rng.randint(3, 6))
    for text in tongue.sentences("science", rng.randint(0, 2)):
        flow.para(f"* {text}")


def _printed_results(flow: Flow, tongue: Tongue) -> None:
    """A service laboratory's computer sheet; near to a form and to a specification."""
    rng = tongue.rng
    flow.font, flow.leading = Font(rng.choice(("courier", "mono", "teletype")), 8.8), 11.5
    flow.lines([tongue.department().upper(), "SERVICE REQUEST AND DATA SHEET"], anchor="c")
    flow.space()
    for left, right in (("Submitter", "Lot"), ("Project", "Request Code"), ("Submitted On", "Completed On")):
        flow.row(
            [
                (0.0, f"{left}: {tongue.pick(('{lastname}', '{code}', '{shortdate}'))}", "l"),
                (flow.measure * 0.5, f"{right}: {tongue.code()}", "l"),
            ]
        )
    flow.space()
    names = [tongue.code() for _ in range(rng.randint(2, 4))]
    rows = []
    for _ in range(rng.randint(4, 16)):
        about = rng.choice((0.5, 12, 300))
        rows.append(
            [
                tongue.say("{quantity}").capitalize(),
                rng.choice(("%", "mg", "mm", "ug/g", "mg/cig")),
                *(number(tongue, about) for _ in names),
            ]
        )
    grid(flow, ["Determination", "Units", *names], rows, [2.4, 0.8, *([1.0] * len(names))])
    flow.line(f"Determinations: A.I. = Analyzed by method {tongue.code()}")


def _plot(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.line(f"FIGURE {rng.randint(1, 14)}", anchor="c")
    flow.space(20)
    high = rng.uniform(200, 330)
    chart(
        flow.page,
        (flow.left + 30, flow.y, flow.measure - 40, high),
        rng,
        [str(10 * i) for i in range(rng.randint(5, 10))],
    )
    flow.y += high + 34
    flow.lines(wrap(tongue.title(), flow.font, flow.measure * 0.8), anchor="c")
    flow.page.text(
        flow.left + 4, flow.y - high * 0.5, tongue.say("{quantity}").upper()[:22], flow.font.sized(9), angle=90
    )
    if rng.random() < 0.6:
        flow.space()
        flow.para(tongue.paragraph("science"))


def publication(tongue: Tongue) -> list[Page]:
    """Pages of a journal article: the first, a later one, references, or a reprint's cover."""
    rng = tongue.rng
    family = rng.choices(("times", "stix", "serif", "helvetica", "courier"), weights=(6, 4, 0.6, 1, 0.5))[0]
    font = Font(family, rng.uniform(7.4, 9.2) if family not in TYPEWRITERS else 9)
    flow = Flow(
        font,
        size=paper(rng),
        margins=Margins(rng.uniform(40, 62), rng.uniform(34, 56), rng.uniform(40, 62), rng.uniform(40, 70)),
        leading=font.size * rng.uniform(1.08, 1.25),
    )
    kind = rng.random()
    if kind < 0.1:
        _reprint_cover(flow, tongue)
        return flow.pages
    journal = rng.choice(words.JOURNALS_LONG if rng.random() < 0.5 else words.JOURNALS)
    number_ = rng.randint(12, 940)
    _running_head(flow, tongue, journal, number_)
    if kind < 0.72:
        _masthead(flow, tongue)
    _columns(flow, tongue, references=kind > 0.85)
    for later in range(rng.choices((0, 1, 2), weights=(6, 3, 1))[0]):
        nxt = Flow(font, size=flow.page.size, margins=flow.margins, leading=flow.leading)
        _running_head(nxt, tongue, journal, number_ + later + 1)
        _columns(nxt, tongue, references=later == 1)
        flow.pages.append(nxt.page)
    return flow.pages


def _running_head(flow: Flow, tongue: Tongue, journal: str, page: int) -> None:
    rng = tongue.rng
    small = flow.font.sized(flow.font.size * 0.88)
    flow.row(
        [
            (0.0, f"{journal}, {rng.randint(2, 90)}, {page}-{page + rng.randint(4, 14)}, {tongue.year}", "l"),
            (flow.measure, str(page), "r"),
        ],
        font=small,
    )
    if rng.random() < 0.4:
        flow.space(3)
        flow.rule(0.6)
    flow.space(flow.leading * rng.uniform(0.8, 2))


def _masthead(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    anchor: Anchor = rng.choice(("c", "l"))
    big = Font(rng.choice((flow.font.family, "helvetica", "times")), rng.uniform(13, 18), bold=rng.random() < 0.75)
    for text in wrap(tongue.title(), big, flow.measure * 0.9):
        flow.line(text, font=big, anchor=anchor)
    flow.space(4)
    authors = ", ".join(f"{tongue.initials()} {tongue.lastname()}" for _ in range(rng.randint(1, 6)))
    for text in wrap(
        authors.upper() if rng.random() < 0.3 else authors, flow.font.sized(flow.font.size * 1.15), flow.measure * 0.9
    ):
        flow.line(text, font=flow.font.sized(flow.font.size * 1.15), anchor=anchor)
    flow.line(f"{tongue.department()}, {tongue.institute()}, {tongue.city()}", font=flow.font.slanted(), anchor=anchor)
    flow.space()
    if rng.random() < 0.8:
        inset = rng.choice((0.0, 24.0))
        saved = flow.margins
        flow.margins = Margins(saved.left + inset, saved.top, saved.right + inset, saved.bottom)
        head = rng.choice(("Abstract", "ABSTRACT", "Summary", ""))
        if head:
            flow.line(head, font=flow.font.strong(), anchor="c" if inset else "l")
        flow.para(tongue.paragraph("science", low=4, high=8), justify=True, font=flow.font.sized(flow.font.size * 0.95))
        if rng.random() < 0.4:
            flow.para("Key words: " + ", ".join(tongue.say("{material}") for _ in range(4)), font=flow.font.slanted())
        flow.margins = saved
    flow.space(flow.leading * 0.5)


def _columns(flow: Flow, tongue: Tongue, *, references: bool) -> None:
    """The rest of the page in one or two columns, with a figure or table somewhere."""
    rng = tongue.rng
    count = rng.choices((1, 2, 3), weights=(2, 8, 0.6))[0] if flow.font.family not in TYPEWRITERS else 1
    gutter, top, saved = 16.0, flow.y, flow.margins
    wide = (flow.measure - gutter * (count - 1)) / count
    left = flow.left
    for column in range(count):
        x = left + column * (wide + gutter)
        flow.margins = Margins(x, top, flow.page.width - x - wide, saved.bottom)
        flow.y, flow.full = top, False
        _column(flow, tongue, references=references and column == count - 1)
    flow.margins = saved


def _column(flow: Flow, tongue: Tongue, *, references: bool) -> None:
    rng = tongue.rng
    if rng.random() < 0.3:
        _plate(flow, tongue)
    while flow.room > flow.leading * 3:
        if rng.random() < 0.35:
            part = rng.choice(_PARTS)
            flow.line(
                part.title() if rng.random() < 0.6 else part, font=flow.font.strong(), anchor=rng.choice(("l", "c"))
            )
        if references:
            flow.line("REFERENCES", font=flow.font.strong(), anchor="c")
            _references(flow, tongue)
            return
        flow.para(tongue.paragraph("science", low=3, high=7), first=10, justify=True, after=0)


def _references(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    small, count = flow.font.sized(flow.font.size * 0.9), 0
    while flow.room > flow.leading * 4:
        count += 1
        title = tongue.title() + ". " if rng.random() < 0.6 else ""
        who = f"{tongue.lastname()}, {tongue.initials()}, and {tongue.lastname()}, {tongue.initials()}"
        text = f"{who} ({tongue.say('{year}')}). {title}"
        text += f"{rng.choice(words.JOURNALS)} {rng.randint(2, 200)}:{rng.randint(1, 900)}-{rng.randint(901, 1999)}."
        flow.para(text, indent=18, hanging=f"{count}.", font=small, after=1)


def _plate(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    small = flow.font.sized(flow.font.size * 0.88)
    if rng.random() < 0.5 and flow.measure > 180:
        high = rng.uniform(90, 150)
        chart(
            flow.page,
            (flow.left + 22, flow.y + 12, flow.measure - 30, high),
            rng,
            [str(i) for i in range(1, rng.randint(5, 8))],
        )
        flow.y += high + 30
        flow.para(f"FIG. {rng.randint(1, 8)}. {tongue.sentence('science')}", font=small)
    elif flow.measure > 180:
        keep, flow.font = flow.font, small
        flow.line(f"TABLE {rng.randint(1, 5)}", anchor="c")
        figures(flow, tongue, rows=rng.randint(4, 9), columns=2)
        flow.font = keep


def _reprint_cover(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.space(rng.uniform(20, 160))
    big = Font(rng.choice(("times", "helvetica")), rng.uniform(15, 24), bold=True)
    for text in wrap(rng.choice((tongue.title(), rng.choice(words.JOURNALS_LONG))), big, flow.measure * 0.7):
        flow.line(text, font=big, anchor="c")
    flow.space(30)
    if rng.random() < 0.5:
        middle = (flow.page.width / 2, flow.y + 90)
        flow.page.polygon(circle(middle, 84), weight=2)
        flow.page.polygon(circle(middle, 60, points=24, dent=0.7), weight=1)
        flow.y += 200
    flow.lines(
        [
            tongue.name(),
            tongue.institute(),
            f"Volume {rng.randint(2, 60)}   Number {rng.randint(1, 12)}   {tongue.say('{month} {year}')}",
            rng.choice(("Reprinted by permission", "A reprint from", "Printed in U.S.A.")),
        ],
        anchor="c",
        font=flow.font.sized(10),
    )
