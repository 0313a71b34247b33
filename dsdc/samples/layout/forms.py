"""Forms and questionnaires: blanks, boxes and grids, filled in by hand, by machine or not at all."""

from __future__ import annotations

from dsdc.samples.fonts import Font, width
from dsdc.samples.handwriting import Hand, loop, tick
from dsdc.samples.layout.flow import Flow, heading, sheet
from dsdc.samples.layout.tables import grid, number
from dsdc.samples.page import Page
from dsdc.samples.pictures import emblem
from dsdc.samples.text import Tongue

_FIELDS: dict[str, tuple[str, ...]] = {
    "Name": ("{name}",),
    "Company": ("{company}",),
    "Date": ("{date}", "{shortdate}"),
    "Department": ("{department}",),
    "Telephone": ("{phone}",),
    "Fax No.": ("{phone}",),
    "Subject": ("{doc}", "{activity}"),
    "Project No.": ("{code}",),
    "Amount": ("${money}",),
    "Brand": ("{brand}",),
    "Cost Center": ("{code}",),
    "Requested By": ("{name}",),
    "Approved By": ("{lastname}",),
    "Purpose": ("{action}",),
    "Location": ("{town}",),
    "Vendor": ("{company}",),
    "Product Name": ("{product}",),
    "Material": ("{material}",),
    "Test Requested": ("{quantity}",),
    "Lot No.": ("{code}",),
    "Number of Samples": ("{samples}",),
    "Date Completed": ("{shortdate}",),
    "Title of Manuscript": ("{doc}",),
    "Quantity": ("{number}",),
    "Start Date": ("{shortdate}",),
    "Account": ("{code}",),
    "Supervisor": ("{name}",),
    "Variety Description": ("{product}",),
    "Market": ("{town}",),
    "Remarks": ("{finding}",),
    "Period": ("{month} {year}",),
    "Job Title": ("{ordinal} shift supervisor",),
    "Report No.": ("{code}",),
    "No. of Pages": ("{digit}",),
}

_FORM_TITLES = (
    "REQUEST FOR ANALYSIS",
    "CHECK REQUEST",
    "TRAVEL AUTHORIZATION",
    "PROPOSED CHANGE FORM",
    "PURCHASE REQUISITION",
    "SAMPLE SUBMISSION FORM",
    "APPLICATION FOR RESEARCH GRANT",
    "MANUSCRIPT CLEARANCE",
    "EMPLOYEE STATUS CHANGE",
    "PROMOTION REPORT",
    "LABORATORY REPORT",
    "CONSUMER COMPLAINT RECORD",
    "RECORDS TRANSFER LIST",
    "TEST MARKET REPORT FORM",
    "CONTRACT APPROVAL",
    "DAILY PRODUCTION LOG",
    "PUBLICATION VERIFICATION",
    "MEETING REGISTRATION",
    "COMPETITIVE ACTIVITY REPORT",
    "PROJECT AUTHORIZATION",
    "SAMPLING REPORT",
)


class Filler:
    """How the blanks of one form are filled: by hand, by machine, or left open."""

    def __init__(self, tongue: Tongue) -> None:
        rng = tongue.rng
        self.tongue = tongue
        self.way = rng.choices(("hand", "machine", "open"), weights=(5, 4, 2))[0]
        self.hand = Hand.draw(rng, rng.uniform(7.5, 10.5))
        self.machine = Font(rng.choice(("courier", "teletype", "courier", "helvetica")), 9.5)
        self.care = rng.uniform(0.6, 1.0)

    def fill(self, page: Page, x: float, y: float, room: float, text: str) -> None:
        """Enter a value on the baseline, if it fits and if this writer bothers."""
        rng = self.tongue.rng
        if self.way == "open" or rng.random() > self.care:
            return
        while text and (self.hand.width(text) if self.way == "hand" else width(text, self.machine)) > room:
            text = text.rpartition(" ")[0]
        if not text:
            return
        if self.way == "hand":
            self.hand.write(page, x, y - 1, text, rng)
        else:
            page.text(x + 1, y - 1.5, text, self.machine)

    def check(self, page: Page, x: float, y: float, size: float) -> None:
        if self.way == "hand":
            tick(page, x, y, size, self.tongue.rng)
        elif self.way == "machine":
            page.text(x + size * 0.1, y - size * 0.1, "X", self.machine.sized(size))

    def value(self, label: str) -> str:
        return self.tongue.pick(_FIELDS[label])


def _labels(tongue: Tongue, count: int) -> list[str]:
    return tongue.rng.sample(tuple(_FIELDS), count)


def form(tongue: Tongue) -> list[Page]:
    """A form of one of several builds."""
    rng = tongue.rng
    build = rng.choice(
        (_fax_cover, _fax_cover, _ruled_blanks, _ruled_blanks, _boxes, _boxes, _numbered, _log_sheet, _checklist)
    )
    family = rng.choice(("helvetica", "helvetica", "times", "courier", "stix", "teletype"))
    flow = sheet(tongue, font=Font(family, rng.uniform(8.2, 11)), limit=1, spacing=1.3)
    build(flow, tongue, Filler(tongue))
    if rng.random() < 0.5:
        flow.page.text(
            flow.left,
            flow.page.height - 30,
            f"Form {tongue.code()} Rev. {rng.randint(1, 12)}/{tongue.year % 100:02d}",
            Font("helvetica", 6.5),
        )
    return flow.pages


def _title(flow: Flow, tongue: Tongue, text: str) -> None:
    rng = tongue.rng
    if rng.random() < 0.4:
        emblem(flow.page, flow.left, flow.y - 10, 24, rng)
    if rng.random() < 0.6:
        flow.line(
            tongue.ours.upper() if rng.random() < 0.5 else tongue.ours,
            anchor="c",
            font=heading(tongue, flow.font, grow=1.1),
        )
    flow.line(
        text, anchor="c", font=heading(tongue, flow.font, grow=rng.uniform(1.1, 1.7)), underline=rng.random() < 0.3
    )
    flow.space(flow.leading * rng.uniform(0.8, 1.8))


def _blank(flow: Flow, label: str, x: float, room: float, filler: Filler, *, dotted: bool = False) -> None:
    """A label with a line to write on, on the present baseline; `x` from the left margin."""
    page = flow.page
    wide = page.text(flow.left + x, flow.y, f"{label}:" if not dotted else label, flow.font) + 5
    start, end = flow.left + x + wide, flow.left + x + room
    if dotted:
        page.text(start, flow.y, "." * max(3, int((end - start) / width(".", flow.font) - 22)), flow.font)
        start = end - 90
    page.line(start, flow.y + 1.5, end, flow.y + 1.5, 0.6)
    filler.fill(page, start + 3, flow.y, end - start - 4, filler.value(label))


def _fax_cover(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    rng = tongue.rng
    tongue.year = max(tongue.year, 1984)
    title = rng.choice(("FACSIMILE", "FAX COVER SHEET", "TELECOPY", "FACSIMILE TRANSMITTAL", "TELECOPIER COVER PAGE"))
    _title(flow, tongue, title)
    step = flow.leading * rng.uniform(1.3, 2.2)
    for part, labels in (("TO", ("Name", "Company", "Fax No.")), ("FROM", ("Name", "Telephone", "Fax No."))):
        flow.space(step * 0.5)
        flow.page.text(flow.left, flow.y + step, f"{part}:", heading(tongue, flow.font))
        for label in labels:
            if flow.take(step):
                _blank(flow, label, 70, flow.measure * 0.85, filler)
    for label in ("Date", "No. of Pages", "Subject"):
        if flow.take(step):
            _blank(flow, label, 0, flow.measure * 0.6, filler)
    flow.space(step)
    flow.line("COMMENTS:" if rng.random() < 0.5 else "MESSAGE:", font=heading(tongue, flow.font))
    for _ in range(rng.randint(1, 4)):
        flow.space(flow.leading * 1.5)
        flow.rule(0.5)
        filler.fill(flow.page, flow.left + 4, flow.y, flow.measure - 10, tongue.sentence("business"))
    flow.space(flow.leading * 2)
    flow.para(
        "This transmission is intended only for the person named above and may contain confidential information. "
        f"If you have received it in error, please notify us at {tongue.phone()} and return the original by mail.",
        font=flow.font.sized(flow.font.size * 0.85),
    )


def _ruled_blanks(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    rng = tongue.rng
    _title(flow, tongue, rng.choice(_FORM_TITLES))
    labels = _labels(tongue, rng.randint(8, 18))
    step = flow.leading * rng.uniform(1.2, 2.0)
    while labels:
        pair = labels[:2] if rng.random() < 0.5 else labels[:1]
        labels = labels[len(pair) :]
        if not flow.take(step):
            return
        each = flow.measure / len(pair)
        for column, label in enumerate(pair):
            _blank(flow, label, column * each, each - 12, filler)
    if rng.random() < 0.5:
        flow.space(flow.leading)
        flow.para(tongue.paragraph("business", low=1, high=3))
    _signatures(flow, tongue, filler)


def _signatures(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    if flow.room < 70:
        return
    flow.space(34)
    for column, label in enumerate(("Signature", "Approved", "Date")[: tongue.rng.randint(1, 3)]):
        x = flow.left + column * flow.measure * 0.36
        flow.page.line(x, flow.y, x + flow.measure * 0.3, flow.y, 0.6)
        flow.page.text(x, flow.y + 10, label, flow.font.sized(flow.font.size * 0.8))
        if filler.way != "open" and label != "Date":
            filler.hand.sign(flow.page, x + 8, flow.y - 2, tongue.name(), tongue.rng)


def _boxes(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    """Rows of boxes with a small label in the corner of each."""
    rng = tongue.rng
    _title(flow, tongue, rng.choice(_FORM_TITLES))
    labels = _labels(tongue, rng.randint(12, 26))
    small, high = Font("helvetica", 6.2), rng.uniform(22, 32)
    flow.page.rect(flow.left, flow.y, flow.measure, 0.1, weight=1.6)
    while labels and flow.room > high + 90:
        row = labels[: rng.randint(1, 4)]
        labels = labels[len(row) :]
        cuts = sorted([0.0, *(rng.uniform(0.12, 0.3) + i / len(row) * 0.8 for i in range(len(row) - 1)), 1.0])
        for left, right, label in zip(cuts, cuts[1:], row, strict=False):
            x, w = flow.left + left * flow.measure, (right - left) * flow.measure
            flow.page.rect(x, flow.y, w, high, weight=0.7, fill=225 if rng.random() < 0.06 else None)
            flow.page.text(x + 2, flow.y + 7, label.upper(), small)
            filler.fill(flow.page, x + 6, flow.y + high - 4, w - 10, filler.value(label))
        flow.y += high
    if rng.random() < 0.6:
        flow.font = flow.font.sized(min(flow.font.size, 8.5))
        flow.space(6)
        rows = [
            [tongue.say("{material}"), tongue.code(), number(tongue, 40), number(tongue, 300)]
            for _ in range(rng.randint(2, 8))
        ]
        blank = filler.way == "open"
        grid(
            flow,
            ["Description", "Code", "Quantity", "Amount"],
            [["", "", "", ""]] * 5 if blank else rows,
            [3, 1, 1, 1],
            ruled="full",
        )
    _signatures(flow, tongue, filler)


def _numbered(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    """Numbered items, each with dots and a blank."""
    rng = tongue.rng
    _title(flow, tongue, rng.choice(_FORM_TITLES))
    step = flow.leading * rng.uniform(1.1, 1.7)
    for count, label in enumerate(_labels(tongue, rng.randint(9, 20)), 1):
        if not flow.take(step):
            return
        flow.page.text(flow.left, flow.y, f"({count})", flow.font)
        _blank(flow, label, 34, flow.measure - 34, filler, dotted=rng.random() < 0.5)


def _log_sheet(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    """A wide grid of rows, mostly filled in by hand."""
    rng = tongue.rng
    _title(flow, tongue, rng.choice(_FORM_TITLES))
    for label in _labels(tongue, rng.randint(2, 4)):
        if flow.take(flow.leading * 1.3):
            _blank(flow, label, 0, flow.measure * 0.55, filler)
    flow.space(10)
    heads = ["No.", *_labels(tongue, rng.randint(3, 5))]
    wide, high = flow.measure / len(heads), rng.uniform(16, 24)
    rows = int(min(flow.room - 20, 460) / high)
    filled = rng.randint(0, rows - 1)
    for row in range(rows):
        for column, head in enumerate(heads):
            x = flow.left + column * wide
            flow.page.rect(x, flow.y, wide, high, weight=0.6)
            if row == 0:
                flow.page.text(x + 3, flow.y + high - 6, head, Font("helvetica", 7, bold=True))
            elif row <= filled:
                filler.fill(
                    flow.page, x + 3, flow.y + high - 4, wide - 5, str(row) if head == "No." else filler.value(head)
                )
        flow.y += high


def _checklist(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    rng = tongue.rng
    _title(flow, tongue, rng.choice(_FORM_TITLES))
    for label in _labels(tongue, rng.randint(2, 5)):
        if flow.take(flow.leading * 1.5):
            _blank(flow, label, 0, flow.measure * 0.8, filler)
    flow.space()
    for _ in range(rng.randint(5, 12)):
        if not flow.take(flow.leading * 1.5):
            break
        box(flow.page, flow.left, flow.y, 9)
        if rng.random() < 0.45:
            filler.check(flow.page, flow.left, flow.y, 9)
        action = tongue.say("{action}")
        flow.page.text(flow.left + 18, flow.y, action[0].upper() + action[1:], flow.font)
    _signatures(flow, tongue, filler)


def box(page: Page, x: float, y: float, size: float) -> None:
    page.rect(x, y - size + 1, size, size, weight=0.8)


_ANSWERS = (
    ("Yes", "No"),
    ("Yes", "No", "Don't know"),
    ("Strongly agree", "Agree", "Neither", "Disagree", "Strongly disagree"),
    ("Daily", "Weekly", "Monthly", "Less often", "Never"),
    ("Under 21", "21 - 34", "35 - 49", "50 - 64", "65 and over"),
    ("Excellent", "Good", "Fair", "Poor"),
    ("Much too strong", "Somewhat too strong", "Just about right", "Too mild"),
    ("Definitely would buy", "Probably would buy", "Might or might not", "Definitely would not buy"),
)


def questionnaire(tongue: Tongue) -> list[Page]:
    """A survey: self-completed, read out by an interviewer, a scale, or an interview in questions and answers."""
    rng = tongue.rng
    family = rng.choice(("courier", "courier", "helvetica", "times", "teletype", "stix"))
    flow = sheet(tongue, font=Font(family, rng.uniform(8.8, 11)), limit=rng.choice((1, 1, 2, 3)), spacing=1.2)
    if rng.random() < 0.7:
        _survey_head(flow, tongue)
    filler = Filler(tongue)
    if rng.random() < 0.55:
        filler.way = "open"
    if rng.random() < 0.12:
        _interview(flow, tongue)
        return flow.pages
    style = rng.choice(("box", "bracket", "paren", "code", "code"))
    first = rng.choice((1, 1, 1, rng.randint(5, 30)))
    questions = tongue.sentences("question", rng.randint(4, 12))
    for count, text in enumerate(questions, first):
        if flow.room < flow.leading * 4 and len(flow.pages) >= flow.limit:
            break
        flow.para(
            text.upper() if style == "code" and rng.random() < 0.2 else text, indent=30, hanging=f"{count}.", after=3
        )
        _answer(flow, tongue, filler, style)
        flow.space(flow.leading * rng.uniform(0.4, 1.1))
    return flow.pages


def _survey_head(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    if rng.random() < 0.4:
        flow.row([(0, tongue.company(), "l"), (flow.measure, f"Study #{tongue.code()}", "r")])
        flow.row([(0, f"{tongue.town()}", "l"), (flow.measure, tongue.date(), "r")])
        flow.space()
    title = tongue.pick(
        (
            "QUESTIONNAIRE",
            "CONSUMER SURVEY",
            "{brand} TRACKING STUDY",
            "SCREENING QUESTIONNAIRE",
            "PRODUCT TEST QUESTIONNAIRE",
            "OPINION SURVEY",
            "Employee Attitude Survey",
            "MEDIA REQUEST",
            "{activity} evaluation",
        )
    )
    flow.line(title, anchor="c", font=heading(tongue, flow.font, grow=1.25), underline=rng.random() < 0.4)
    flow.space()
    if rng.random() < 0.35:
        for label in rng.sample(("Name", "Date", "Telephone", "Location"), 3):
            if flow.take(flow.leading * 1.4):
                _blank(flow, label, 0, flow.measure * 0.7, Filler(tongue))
        flow.space()
    if rng.random() < 0.6:
        flow.para(
            tongue.pick(
                (
                    "Hello, I'm calling from {company}, an independent research firm. We are talking with people in "
                    "{town} about {product}s and would like your opinion.",
                    "Please take a few moments to answer the questions below and return this form in the "
                    "enclosed envelope. Postage is paid.",
                    "INTERVIEWER: RECORD START TIME. ASK FOR THE PERSON WHO BUYS {product}s. "
                    "IF NOT AT HOME, ARRANGE CALLBACK.",
                    "Your answers will be kept strictly confidential. There are no right or wrong answers; "
                    "we want to know what you think of {brand}.",
                )
            )
        )
        flow.space(flow.leading * 0.5)


def _answer(flow: Flow, tongue: Tongue, filler: Filler, style: str) -> None:
    rng = tongue.rng
    kind = rng.random()
    if kind < 0.15:
        for _ in range(rng.randint(1, 3)):
            if flow.take(flow.leading * 1.4):
                flow.rule(0.5, inset=30)
                filler.fill(flow.page, flow.left + 36, flow.y, flow.measure - 70, tongue.sentence("consumer"))
    elif kind < 0.28:
        _scale(flow, tongue, filler)
    else:
        _choices(flow, tongue, filler, style)


def _choices(flow: Flow, tongue: Tongue, filler: Filler, style: str) -> None:
    rng = tongue.rng
    answers = (
        list(rng.choice(_ANSWERS))
        if rng.random() < 0.7
        else [*sorted({tongue.say("{brand}") for _ in range(4)}), "Other (SPECIFY)"]
    )
    chosen = rng.randrange(len(answers))
    across = len(answers) <= 3 and rng.random() < 0.5
    indent = rng.choice((40.0, 70.0, 110.0))
    if across and not flow.take(flow.leading):
        return
    for number_, answer in enumerate(answers):
        if not across and not flow.take(flow.leading):
            return
        x = flow.left + indent + (number_ * 110 if across else 0)
        if style == "code":
            _coded(flow, x, answer, number_ + 1, across=across)
        elif style == "box":
            box(flow.page, x, flow.y, 8)
            flow.page.text(x + 14, flow.y, answer, flow.font)
        else:
            flow.page.text(x, flow.y, f"[ ] {answer}" if style == "bracket" else f"(  ) {answer}", flow.font)
        if number_ == chosen:
            filler.check(flow.page, x + 1, flow.y, 8)


def _coded(flow: Flow, x: float, answer: str, code: int, *, across: bool) -> None:
    """An answer, dots, and the figure an interviewer rings."""
    dots = "." * (3 if across else max(3, 34 - len(answer)))
    flow.page.text(x, flow.y, f"{answer} {dots} {code}", flow.font)


def _scale(flow: Flow, tongue: Tongue, filler: Filler) -> None:
    if not flow.take(flow.leading * 1.5):
        return
    count = tongue.rng.choice((5, 7, 9))
    step = (flow.measure - 150) / count
    flow.page.text(flow.left + 30, flow.y, "Not at all", flow.font.sized(flow.font.size * 0.85))
    for i in range(count):
        flow.page.text(flow.left + 96 + i * step, flow.y, str(i + 1), flow.font)
    flow.page.text(flow.left + 96 + count * step, flow.y, "Very", flow.font.sized(flow.font.size * 0.85))
    if filler.way == "hand":
        x = flow.left + 96 + tongue.rng.randrange(count) * step
        loop(flow.page, (x - 4, flow.y - 11, 14, 15), tongue.rng)


def _interview(flow: Flow, tongue: Tongue) -> None:
    for _ in range(tongue.rng.randint(4, 9)):
        flow.para(tongue.sentence("question"), indent=28, hanging="Q:")
        flow.para(tongue.paragraph("business", "press", low=1, high=3), indent=28, hanging="A:")
