"""Handwritten pages: letters, notes, laboratory books."""

from __future__ import annotations

from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand, loop
from dsdc.samples.layout.correspondence import letterhead
from dsdc.samples.layout.flow import Flow, Margins, paper
from dsdc.samples.layout.tables import number
from dsdc.samples.page import Page
from dsdc.samples.text import Tongue


class Quill:
    """A hand with a place on the page: writes lines downwards, none of them quite straight or quite full."""

    def __init__(self, tongue: Tongue, *, left: float, right: float, y: float, step: float | None = None) -> None:
        self.tongue = tongue
        self.hand = Hand.draw(tongue.rng)
        self.page = Page(paper(tongue.rng))
        self.left, self.right, self.y = left, right, y
        self.step = step or self.hand.size * tongue.rng.uniform(1.7, 2.4)

    @property
    def full(self) -> bool:
        return self.y > self.page.height - 60

    def line(self, text: str, *, indent: float = 0.0, mark: bool = False) -> None:
        if self.full:
            return
        rng = self.tongue.rng
        x = self.left + indent + rng.gauss(0, 3)
        end = self.hand.write(self.page, x, self.y, text, rng)
        if mark:
            self.page.line(x, self.y + 3, end, self.y + 3 + rng.uniform(-2, 2), self.hand.weight, grey=self.hand.grey)
        self.y += self.step

    def para(self, text: str, *, indent: float = 24.0) -> None:
        rng = self.tongue.rng
        lines = self.hand.wrap(text, self.right - self.left - indent)
        for count, part in enumerate(lines):
            self.line(part, indent=indent if count == 0 else 0.0)
            if rng.random() < 0.05:
                x = self.left + rng.uniform(20, 120)
                self.page.line(
                    x,
                    self.y - self.step - 3,
                    x + rng.uniform(20, 60),
                    self.y - self.step - 4,
                    self.hand.weight,
                    grey=self.hand.grey,
                )


def handwritten(tongue: Tongue) -> list[Page]:
    """One or two pages in one person's hand."""
    rng = tongue.rng
    build = rng.choices((_letter, _notes, _bench, _slip), weights=(5, 4, 3, 2))[0]
    quill = Quill(tongue, left=rng.uniform(36, 80), right=rng.uniform(500, 565), y=rng.uniform(50, 110))
    _ground(quill)
    build(quill)
    return [quill.page]


def _ground(quill: Quill) -> None:
    """Ruled paper, squares, a printed head, or nothing."""
    rng, page = quill.tongue.rng, quill.page
    kind = rng.choices(("plain", "ruled", "squares", "head", "pad"), weights=(5, 3, 1.5, 1.5, 1))[0]
    if kind == "ruled":
        grey = rng.randint(120, 200)
        for i in range(60):
            y = quill.y + 3 + i * quill.step
            if y < page.height - 20:
                page.line(0, y, page.width, y, 0.5, grey=grey)
        if rng.random() < 0.5:
            page.line(quill.left - 8, 0, quill.left - 8, page.height, 0.6, grey=grey)
    elif kind == "squares":
        for i in range(0, int(page.height), 14):
            page.line(0, i, page.width, i, 0.4, grey=175)
        for i in range(0, int(page.width), 14):
            page.line(i, 0, i, page.height, 0.4, grey=175)
    elif kind == "head":
        flow = Flow(Font("times", 10), size=page.size, margins=Margins())
        flow.pages = [page]
        letterhead(flow, quill.tongue)
        quill.y = flow.y + 20
    elif kind == "pad":
        page.text(
            quill.left,
            40,
            rng.choice(("MEMO", "NOTES", "Telephone message", "While you were out", "Office Correspondence")),
            Font("helvetica", 16, bold=True),
        )
        page.line(quill.left, 48, quill.right, 48, 1)
        quill.y = 80


def _letter(quill: Quill) -> None:
    tongue, rng = quill.tongue, quill.tongue.rng
    quill.line(tongue.date(), indent=rng.uniform(180, 300))
    if rng.random() < 0.4:
        for text in (tongue.company(), tongue.city()):
            quill.line(text)
    quill.line(
        rng.choice(
            (
                "Dear Sirs,",
                f"Dear {tongue.firstname()},",
                "To whom it may concern:",
                "Dear Sir:",
                f"Dear Mr. {tongue.lastname()},",
            )
        )
    )
    kinds = rng.choice((("consumer",), ("consumer", "courtesy"), ("business", "courtesy")))
    for _ in range(rng.randint(1, 5)):
        quill.para(tongue.paragraph(*kinds, low=2, high=4))
    quill.line(rng.choice(("Sincerely,", "Yours truly,", "Thank you,", "Love to all,")), indent=rng.uniform(120, 280))
    quill.line(tongue.name(), indent=rng.uniform(120, 280))
    if rng.random() < 0.4:
        quill.line(tongue.street())
        quill.line(tongue.city())


def _notes(quill: Quill) -> None:
    """Points jotted down in a meeting."""
    tongue, rng = quill.tongue, quill.tongue.rng
    quill.line(tongue.subject(), mark=True)
    mark = rng.choice(("-", "*", "1", ""))
    for count in range(1, rng.randint(4, 13)):
        text = tongue.pick(
            (
                "{action}",
                "{finding}",
                "{brand} {moved} {percent}%",
                "call {lastname} re {doc}",
                "{department}: ${money}",
                "ask {lastname}",
                "{quantity}?",
                "{material} - {percent} %",
            )
        )
        head = f"{count}. " if mark == "1" else f"{mark} " if mark else ""
        before = quill.y
        quill.para(head + text, indent=rng.choice((0.0, 0.0, 24.0)))
        if rng.random() < 0.12 and not quill.full:
            loop(
                quill.page,
                (
                    quill.left - 8,
                    before - quill.hand.size * 1.5,
                    min(300, quill.hand.width(text) + 30),
                    quill.hand.size * 2.4,
                ),
                rng,
            )
        if rng.random() < 0.25:
            quill.y += quill.step * 0.6


def _bench(quill: Quill) -> None:
    """A laboratory notebook page: purpose, steps, a column of figures."""
    tongue, rng = quill.tongue, quill.tongue.rng
    quill.line(f"{tongue.title()[:44]}", mark=True)
    quill.line(f"{tongue.shortdate()}   Exp. {tongue.code()}")
    for part in rng.sample(("Object", "Procedure", "Results", "Conclusion", "Equipment"), rng.randint(2, 4)):
        quill.line(f"{part}:", mark=True)
        quill.para(tongue.paragraph("science", low=1, high=2))
    about = rng.choice((0.4, 12, 250))
    for _ in range(rng.randint(0, 9)):
        if quill.full:
            break
        rng_x = quill.left + 20
        quill.hand.write(quill.page, rng_x, quill.y, tongue.say("{material}")[:18], rng)
        quill.hand.write(quill.page, rng_x + 230, quill.y, number(tongue, about), rng)
        quill.hand.write(quill.page, rng_x + 320, quill.y, number(tongue, about), rng)
        quill.y += quill.step


def _slip(quill: Quill) -> None:
    """A short note, much of the sheet left white."""
    tongue, rng = quill.tongue, quill.tongue.rng
    quill.y += rng.uniform(0, 160)
    quill.line(rng.choice((f"{tongue.firstname()} -", f"RE: {tongue.name()}", f"To: {tongue.name()}", "NOTE:")))
    for _ in range(rng.randint(1, 3)):
        quill.para(tongue.sentence(rng.choice(("business", "courtesy", "consumer"))), indent=0)
    if rng.random() < 0.5:
        for text in (tongue.name(), f"P.O. Box {rng.randint(10, 9000)}", tongue.city()):
            quill.line(text, indent=60)
    quill.line(rng.choice(("Thank you", "THANKS", tongue.firstname())), indent=rng.uniform(40, 200))
