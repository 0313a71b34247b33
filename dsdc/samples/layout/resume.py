"""Resumes, curricula vitae and biographical sketches."""

from __future__ import annotations

from dsdc.samples import words
from dsdc.samples.fonts import Font
from dsdc.samples.layout.flow import Flow, body_font, heading, sheet
from dsdc.samples.layout.tables import grid
from dsdc.samples.page import Page
from dsdc.samples.text import Tongue


def resume(tongue: Tongue) -> list[Page]:
    """The life of one person, in one of several customs."""
    rng = tongue.rng
    flow = sheet(
        tongue,
        font=body_font(tongue, rng.uniform(9, 11)),
        limit=rng.choices((1, 2, 3), weights=(5, 4, 1))[0],
        spacing=1.2,
    )
    build = rng.choices(
        (_dated, _sections, _grant_form, _narrative, _divider, _later_page), weights=(4, 5, 3, 1.5, 0.7, 1)
    )[0]
    build(flow, tongue)
    return flow.pages


class Life:
    """Dates that follow each other: born, taught, employed."""

    def __init__(self, tongue: Tongue) -> None:
        rng = tongue.rng
        self.tongue = tongue
        self.name = tongue.name()
        self.born = tongue.year - rng.randint(28, 62)
        self.field = rng.choice(words.FIELDS)

    def education(self) -> list[tuple[str, str, str, str]]:
        """(school, degree, year, field), in order of years."""
        rng, at = self.tongue.rng, self.born + 21
        rows = []
        for degree in (
            "B.S." if rng.random() < 0.6 else "B.A.",
            *rng.sample(("M.S.", "Ph.D.", "M.D.", "M.B.A."), rng.randint(0, 2)),
        ):
            rows.append(
                (
                    self.tongue.institute(),
                    degree,
                    str(at),
                    self.field if rng.random() < 0.7 else rng.choice(words.FIELDS),
                )
            )
            at += rng.randint(2, 4)
        return rows

    def posts(self) -> list[tuple[str, str, str]]:
        """(years, post, employer), the latest first."""
        rng, at = self.tongue.rng, self.born + 25
        rows: list[tuple[str, str, str]] = []
        while at < self.tongue.year - 2 and len(rows) < 8:
            end = at + rng.randint(1, 7)
            post = rng.choice(
                (
                    f"Assistant Professor of {self.field}",
                    f"Professor of {self.field}",
                    "Research Associate",
                    "Postdoctoral Fellow",
                    self.tongue.job(),
                    f"{self.tongue.job()}, {self.tongue.department()}",
                )
            )
            where = self.tongue.institute() if rng.random() < 0.6 else self.tongue.company()
            rows.append((f"{at}-{end if end < self.tongue.year else 'present'}", post, where))
            at = end
        return rows[::-1]

    def papers(self, count: int) -> list[str]:
        rng, tongue = self.tongue.rng, self.tongue
        mine = f"{self.name.split()[-1]}, {self.name[0]}."
        return [
            f"{mine} and {tongue.lastname()}, {tongue.initials()}: {tongue.title()}. "
            f"{rng.choice(words.JOURNALS)} {rng.randint(2, 99)}:{rng.randint(1, 900)}, {tongue.say('{year}')}."
            for _ in range(count)
        ]

    def honors(self) -> list[str]:
        rng = self.tongue.rng
        return [f"{name}, {self.born + rng.randint(22, 50)}" for name in rng.sample(words.SOCIETIES, rng.randint(2, 5))]


def _top(flow: Flow, tongue: Tongue, life: Life) -> None:
    rng = tongue.rng
    title = rng.choice(("CURRICULUM VITAE", "RESUME", "BIOGRAPHICAL SKETCH", "Curriculum Vitae", "VITA", ""))
    place = rng.choice(("c", "c", "l"))
    font = heading(tongue, flow.font, grow=rng.uniform(1.1, 1.6))
    if title:
        flow.line(title, font=font, anchor=place, underline=rng.random() < 0.3)  # type: ignore[arg-type]
        flow.space(flow.leading * 0.6)
    degree = f", {rng.choice(words.DEGREES)}" if rng.random() < 0.5 else ""
    flow.line(life.name + degree, font=font if not title else flow.font, anchor=place)  # type: ignore[arg-type]
    for text in (tongue.street(), tongue.city(), tongue.phone())[: rng.randint(0, 3)]:
        flow.line(text, anchor=place)  # type: ignore[arg-type]
    flow.space()
    if rng.random() < 0.5:
        facts = [
            f"Born: {tongue.say('{month} {digit}')}, {life.born}, {tongue.town()}",
            "Citizenship: U.S.A.",
            rng.choice(("Married, two children", "Single", "Married")),
            "Health: Excellent",
        ]
        flow.lines(facts[: rng.randint(1, 4)])
        flow.space()


def _head(flow: Flow, text: str, style: str) -> None:
    flow.space(flow.leading * 0.4)
    if flow.room < flow.leading * 3 and len(flow.pages) < flow.limit:
        flow.y = flow.page.height
    shown = text.title() if style == "title" else text
    flow.line(
        f"{shown}:" if style == "colon" else shown,
        font=flow.font.strong() if style in ("title", "bold") else flow.font,
        underline=style == "line",
    )
    if style == "bold":
        flow.space(2)
        flow.rule(0.7)
    flow.space(flow.leading * 0.3)


def _dated(flow: Flow, tongue: Tongue) -> None:
    """Years on the left, what happened on the right."""
    rng, life = tongue.rng, Life(tongue)
    _top(flow, tongue, life)
    tab, style = rng.uniform(76, 130), rng.choice(("colon", "title", "bold", "line"))
    _head(flow, "EDUCATION", style)
    for school, degree, year, field in life.education():
        flow.row([(0.0, year, "l"), (tab, f"{degree}, {field}", "l")])
        flow.line(school, indent=tab)
    _head(
        flow,
        rng.choice(("EXPERIENCE", "PROFESSIONAL EXPERIENCE", "RESEARCH AND PROFESSIONAL EXPERIENCE", "EMPLOYMENT")),
        style,
    )
    for years, post, where in life.posts():
        flow.row([(0.0, years, "l"), (tab, post, "l")])
        flow.line(where, indent=tab)
        if rng.random() < 0.3:
            flow.para(
                tongue.pick(
                    (
                        "Responsible for {activity} and {process}.",
                        "Directed a staff of {small} in {department}.",
                        "Studied {quantity} of {material}.",
                    )
                ),
                indent=tab,
                after=2,
            )
        flow.space(flow.leading * 0.3)
    _rest(flow, tongue, life, style)


def _rest(flow: Flow, tongue: Tongue, life: Life, style: str) -> None:
    rng = tongue.rng
    if rng.random() < 0.7:
        _head(flow, rng.choice(("HONORS", "AWARDS AND FELLOWSHIPS", "SOCIETIES", "PROFESSIONAL SOCIETIES")), style)
        flow.lines(life.honors())
    if rng.random() < 0.6:
        _head(flow, rng.choice(("PUBLICATIONS", "SELECTED PUBLICATIONS", "BIBLIOGRAPHY")), style)
        for count, text in enumerate(life.papers(rng.randint(2, 12)), 1):
            flow.para(text, indent=20, hanging=f"{count}.", after=3)
    elif rng.random() < 0.4:
        _head(flow, "REFERENCES", style)
        flow.line("Available upon request.")


def _sections(flow: Flow, tongue: Tongue) -> None:
    rng, life = tongue.rng, Life(tongue)
    _top(flow, tongue, life)
    style = rng.choice(("colon", "title", "bold", "line"))
    if rng.random() < 0.3:
        _head(flow, "OBJECTIVE", style)
        flow.para(
            tongue.pick(
                (
                    "A position in {department} with responsibility for {activity}.",
                    "To apply my training in {process} with a growing firm.",
                )
            )
        )
    indent = rng.choice((0.0, 20.0, 40.0))
    order = ["EDUCATION", rng.choice(("APPOINTMENTS", "WORK EXPERIENCE", "ACADEMIC EMPLOYMENT"))]
    for part in order if rng.random() < 0.6 else order[::-1]:
        _head(flow, part, style)
        if part == "EDUCATION":
            for school, degree, year, field in life.education():
                flow.para(f"{school}, {degree} ({field}), {year}", indent=indent, after=2)
        else:
            for years, post, where in life.posts():
                flow.para(f"{post}, {where}, {years}", indent=indent, after=3)
    _rest(flow, tongue, life, style)


def _grant_form(flow: Flow, tongue: Tongue) -> None:
    """The page that a granting agency prescribes; it looks like a form."""
    rng, life = tongue.rng, Life(tongue)
    flow.line("BIOGRAPHICAL SKETCH", anchor="c", font=heading(tongue, flow.font, grow=1.15))
    small = Font("helvetica", 6.8)
    flow.line(
        "Give the following information for key personnel and consultants. Copy this page for each person.",
        anchor="c",
        font=small,
    )
    flow.space(6)
    top, high = flow.y, 34.0
    for x, w, label, value in (
        (0.0, 0.45, "NAME", life.name),
        (0.45, 0.35, "TITLE", tongue.job()),
        (0.8, 0.2, "BIRTHDATE (Mo., Day, Yr.)", f"{rng.randint(1, 12)}/{rng.randint(1, 28)}/{life.born % 100:02d}"),
    ):
        left = flow.left + x * flow.measure
        flow.page.rect(left, top, w * flow.measure, high, weight=0.7)
        flow.page.text(left + 3, top + 8, label, small)
        flow.page.text(left + 6, top + 26, value[: int(w * 62)], flow.font)
    flow.y = top + high + 12
    flow.line("EDUCATION (Begin with baccalaureate training and include postdoctoral)", font=small)
    keep, flow.font = flow.font, flow.font.sized(flow.font.size * 0.9)
    grid(
        flow,
        ["INSTITUTION AND LOCATION", "DEGREE", "YEAR CONFERRED", "FIELD OF STUDY"],
        [list(row) for row in life.education()],
        [3, 0.9, 1, 1.6],
        ruled=rng.choice(("full", "head")),
    )
    flow.font = keep
    flow.line("RESEARCH AND/OR PROFESSIONAL EXPERIENCE", font=small)
    flow.space(4)
    for years, post, where in life.posts():
        flow.row([(0.0, years, "l"), (86.0, post, "l")])
        flow.line(where, indent=86)
    _rest(flow, tongue, life, "colon")


_DUTIES = (
    "There the work concerned {quantity} of {material}.",
    "Duties included {activity}.",
    "The group also worked on {process}.",
    "During this time {lastname} helped to {action}.",
)


def _narrative(flow: Flow, tongue: Tongue) -> None:
    rng, life = tongue.rng, Life(tongue)
    last = life.name.split()[-1]
    flow.line(
        rng.choice(("BIOGRAPHY", life.name.upper(), f"Background Information Concerning {life.name}")),
        anchor=rng.choice(("c", "l")),
        underline=rng.random() < 0.4,
    )
    flow.space()
    school, degree, year, field = life.education()[-1]
    flow.para(
        f"{life.name} is {tongue.job().lower()} of {tongue.company()}. Born in {tongue.town()} in "
        f"{life.born}, {last} received a {degree} in {field.lower()} from {school} in {year}."
    )
    for years, post, where in life.posts()[:4]:
        start, _, end = years.partition("-")
        flow.para(f"From {start} to {end} {last} was {post.lower()} at {where}. {tongue.pick(_DUTIES)}")
    flow.para(f"{last} is a member of the {rng.choice(words.SOCIETIES)} and lives in {tongue.town()}.")


def _divider(flow: Flow, tongue: Tongue) -> None:
    flow.space(tongue.rng.uniform(60, 300))
    flow.line(
        tongue.rng.choice(("BIOGRAPHICAL SKETCHES", "Biographies", "CURRICULA VITAE", "APPENDIX: PERSONNEL")),
        anchor="c",
    )
    flow.space(flow.leading * 2)
    if tongue.rng.random() < 0.5:
        for _ in range(tongue.rng.randint(3, 6)):
            flow.row([(60.0, f"{tongue.name()}, {tongue.rng.choice(words.DEGREES)}", "l"), (280.0, tongue.job(), "l")])


def _later_page(flow: Flow, tongue: Tongue) -> None:
    """Page two and after: only publications."""
    life = Life(tongue)
    flow.row([(0.0, life.name, "l"), (flow.measure, f"Page {tongue.rng.randint(2, 7)}", "r")])
    flow.space()
    flow.line("Publications (continued)", underline=True)
    first = tongue.rng.randint(8, 60)
    for count, text in enumerate(life.papers(tongue.rng.randint(8, 18)), first):
        flow.para(text, indent=26, hanging=f"{count}.", after=6)
