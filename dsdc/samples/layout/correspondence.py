"""Letters, memoranda and e-mail: one kind of prose, three kinds of head, and pages without any head at all."""

from __future__ import annotations

from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand
from dsdc.samples.layout.flow import Flow, heading, heads, sheet
from dsdc.samples.layout.tables import figures
from dsdc.samples.page import Anchor, Page
from dsdc.samples.pictures import emblem
from dsdc.samples.text import Tongue


def _prose(tongue: Tongue) -> tuple[str, ...]:
    return tongue.rng.choice(
        (
            ("business",),
            ("business",),
            ("business", "science"),
            ("business", "courtesy"),
            ("science",),
            ("business", "press"),
        )
    )


def body(flow: Flow, tongue: Tongue, *, low: int = 1, high: int = 5, first: float = 0.0) -> None:
    """A few paragraphs; now and then a list or a small table between them."""
    rng = tongue.rng
    kinds = _prose(tongue)
    justify = flow.font.family in ("times", "helvetica", "stix") and rng.random() < 0.25
    after = flow.leading * rng.choice((0.5, 0.9, 1.0))
    for _ in range(rng.randint(low, high)):
        flow.para(tongue.paragraph(*kinds), first=first, justify=justify, after=after)
        extra = rng.random()
        if extra < 0.1:
            _listing(flow, tongue)
        elif extra < 0.17 and flow.room > 120:
            figures(flow, tongue, rows=rng.randint(2, 6))


def _listing(flow: Flow, tongue: Tongue) -> None:
    marks = tongue.rng.choice(
        (("1.", "2.", "3.", "4.", "5."), ("-",) * 5, ("(a)", "(b)", "(c)", "(d)", "(e)"), ("*",) * 5)
    )
    for mark, text in zip(marks, tongue.sentences("business", tongue.rng.randint(2, 4)), strict=False):
        flow.para(text, indent=38, hanging=mark, after=flow.leading * 0.3)
    flow.space()


def letterhead(flow: Flow, tongue: Tongue) -> None:
    """The printed head of a sheet."""
    rng = tongue.rng
    page, style = flow.page, rng.choice(("centre", "left", "right", "emblem", "rule", "split"))
    family = rng.choice(("times", "times", "helvetica", "helvetica", "stix"))
    name = Font(family, rng.uniform(12, 21), bold=rng.random() < 0.6, italic=rng.random() < 0.15)
    small = Font(rng.choice((family, "helvetica")), rng.uniform(6, 8.2))
    company = tongue.ours.upper() if rng.random() < 0.5 else tongue.ours
    details = [f"{tongue.street()}, {tongue.city()}", f"Telephone {tongue.phone()}"]
    if rng.random() < 0.4:
        details.append(f"{tongue.name().upper()}, {tongue.job()}")
    anchor: Anchor = "r" if style == "right" else "c" if style in ("centre", "rule") else "l"
    x = {"l": flow.left, "c": page.width / 2, "r": flow.right}[anchor]
    y = rng.uniform(34, 52)
    if style in ("emblem", "centre") and rng.random() < 0.8:
        size = rng.uniform(22, 40)
        emblem(page, (x - size / 2) if anchor == "c" else x, y - 14, size, rng)
        x, y = (x, y + size + 2) if anchor == "c" else (x + size + 8, y + 6)
    page.text(x, y, company, name, anchor=anchor)
    for number, text in enumerate(details):
        at = y + 12 + number * small.size * 1.25
        if style == "split":
            page.text(flow.right, at, text, small, anchor="r")
        else:
            page.text(x, at, text, small, anchor=anchor)
    flow.y = y + 16 + len(details) * small.size * 1.25
    if style == "rule" or rng.random() < 0.2:
        flow.rule(rng.uniform(0.6, 2))
    flow.space(rng.uniform(14, 44))


def letter(tongue: Tongue) -> list[Page]:
    """A business letter; sometimes only its continuation page."""
    rng = tongue.rng
    flow = sheet(tongue, limit=rng.choices((1, 2, 3), weights=(7, 3, 1))[0])
    addressee = tongue.name()
    if rng.random() < 0.12:
        flow.line(f"{addressee}")
        flow.lines(["Page 2", tongue.date()])
        flow.space(flow.leading * 2)
    else:
        if rng.random() < 0.75:
            letterhead(flow, tongue)
        else:
            flow.space(rng.uniform(20, 90))
        _opening(flow, tongue, addressee)
    date = tongue.date()
    flow.on_turn = heads(lambda page: f"{addressee}   -{page}-   {date}")
    if rng.random() < 0.5:
        flow.para(tongue.sentence("courtesy"), first=_indent(tongue))
    body(flow, tongue, high=rng.choice((1, 3, 5, 8)), first=_indent(tongue))
    flow.para(tongue.sentence("courtesy"), first=_indent(tongue))
    _closing(flow, tongue)
    return flow.pages


def _indent(tongue: Tongue) -> float:
    return 36.0 if tongue.year % 3 == 0 else 0.0


def _opening(flow: Flow, tongue: Tongue, addressee: str) -> None:
    rng = tongue.rng
    title = rng.choice(("Mr.", "Dr.", "Ms.", "Mrs.", "Dr.", ""))
    where = rng.choice((0.0, 0.0, flow.measure * 0.55))
    flow.line(tongue.date(), indent=where, anchor=rng.choice(("l", "l", "l", "r")) if not where else "l")
    flow.space(flow.leading * rng.uniform(1, 3))
    if rng.random() < 0.12:
        flow.line(
            rng.choice(("VIA FACSIMILE", "PERSONAL AND CONFIDENTIAL", "REGISTERED MAIL", "VIA AIR COURIER")),
            underline=True,
        )
        flow.space()
    block = [f"{title} {addressee}".strip()]
    if rng.random() < 0.6:
        block.append(tongue.job())
    block += [tongue.company() if rng.random() < 0.75 else tongue.institute(), tongue.street(), tongue.city()]
    flow.lines(block)
    flow.space()
    if rng.random() < 0.2:
        flow.line(
            f"{rng.choice(('Re:', 'Subject:', 'RE:'))} {tongue.subject()}",
            indent=rng.choice((0, 36)),
            underline=rng.random() < 0.6,
        )
        flow.space()
    last = addressee.rpartition(" ")[2]
    who = rng.choice((f"{title} {last}".strip(), f"{title} {last}".strip(), tongue.firstname()))
    flow.line(
        rng.choice(
            (f"Dear {who}:", f"Dear {who}:", f"Dear {who},", "Gentlemen:", "To Whom It May Concern:", "Dear Sir:")
        )
    )
    flow.space()


def _closing(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    indent = rng.choice((0.0, flow.measure * 0.5))
    signer = tongue.name()
    flow.line(
        rng.choice(
            (
                "Sincerely,",
                "Sincerely yours,",
                "Very truly yours,",
                "Cordially,",
                "With kind regards,",
                "Yours very truly,",
            )
        ),
        indent=indent,
    )
    flow.space(flow.leading * rng.uniform(2.4, 3.6))
    if not flow.full and rng.random() < 0.8:
        Hand.draw(rng).sign(flow.page, flow.left + indent, flow.y, signer, rng)
    flow.line(signer, indent=indent)
    if rng.random() < 0.75:
        flow.line(tongue.job(), indent=indent)
    flow.space()
    if rng.random() < 0.5:
        initials = "".join(part[0] for part in signer.split())
        flow.line(f"{initials}{rng.choice(':/')}{rng.choice('abcdgjkmrs')}{rng.choice('bhlmpw')}")
    if rng.random() < 0.3:
        flow.line(rng.choice(("Enclosure", "Enclosures", "Encl.", "Attachment")))
    if rng.random() < 0.3:
        flow.line("cc:  " + tongue.name())
        flow.lines([tongue.name() for _ in range(rng.randint(0, 3))], indent=28)


def memo(tongue: Tongue) -> list[Page]:
    """An inter-office memorandum."""
    rng = tongue.rng
    flow = sheet(tongue, limit=rng.choices((1, 2, 3), weights=(7, 3, 1))[0])
    if rng.random() < 0.08:
        flow.line(f"Page {rng.randint(2, 4)}", anchor=rng.choice(("l", "r")))
        flow.space(flow.leading * 2)
    else:
        _memo_head(flow, tongue)
    flow.on_turn = heads(lambda page: f"- {page} -", "c")
    body(flow, tongue, high=rng.choice((1, 3, 5, 9)), first=_indent(tongue))
    _memo_foot(flow, tongue)
    return flow.pages


_MEMO_TITLES = (
    "MEMORANDUM",
    "M E M O R A N D U M",
    "INTER-OFFICE CORRESPONDENCE",
    "INTEROFFICE MEMORANDUM",
    "Memorandum",
    "INTER-OFFICE MEMO",
    "MEMO",
    "Office Correspondence",
    "",
)


def _memo_head(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    font = heading(tongue, flow.font, grow=rng.uniform(1.0, 1.5))
    place: Anchor = rng.choice(("c", "c", "l"))
    if rng.random() < 0.15:
        letterhead(flow, tongue)
    elif rng.random() < 0.5:
        flow.line(tongue.ours.upper(), font=font.sized(font.size * 0.95), anchor=place)
    title = rng.choice(_MEMO_TITLES)
    if title:
        flow.line(title, font=font, anchor=place, underline=rng.random() < 0.4)
    if rng.random() < 0.25:
        flow.line(tongue.town(), anchor=place, font=flow.font.sized(flow.font.size * 0.85))
    flow.space(flow.leading * rng.uniform(0.8, 2))
    if rng.random() < 0.12:
        flow.row([(0, tongue.name(), "l"), (flow.measure, tongue.date(), "r")])
        flow.line(tongue.name())
        flow.line(tongue.subject(), underline=True)
    else:
        _memo_fields(flow, tongue)
    flow.space(flow.leading * 0.6)
    if rng.random() < 0.35:
        flow.rule(rng.uniform(0.6, 1.6))
    flow.space(flow.leading * rng.uniform(0.5, 1.5))


def _memo_fields(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    case = rng.choice((str.upper, str.title))
    tab = rng.choice((52.0, 66.0, 80.0))
    gap = flow.leading * rng.choice((0.0, 0.4, 0.8))
    bold = heading(tongue, flow.font) if rng.random() < 0.4 else flow.font
    to = [tongue.name() for _ in range(rng.choices((1, 2, 4, 9), weights=(8, 3, 2, 1))[0])]
    fields = [
        ("to", to),
        ("from", [tongue.name()]),
        ("date", [tongue.date()]),
        (rng.choice(("subject", "re", "subject")), [tongue.subject()]),
    ]
    if rng.random() < 0.25:
        fields.insert(1, ("cc", [tongue.name() for _ in range(rng.randint(1, 4))]))
    if rng.random() < 0.3:
        fields.insert(0, fields.pop(next(i for i, f in enumerate(fields) if f[0] == "date")))
    beside = rng.random() < 0.3
    for label, values in fields:
        if beside and label == "date":
            continue
        cells: list[tuple[float, str, Anchor]] = [(tab, values[0], "l")]
        if beside and label == "to":
            cells.append((flow.measure, f"{case('date')}: {tongue.date()}", "r"))
        if flow.take(flow.leading):
            flow.page.text(flow.left, flow.y, f"{case(label)}:", bold)
            for x, text, anchor in cells:
                flow.page.text(flow.left + x, flow.y, text, flow.font, anchor=anchor)
        flow.lines(values[1:], indent=tab)
        flow.space(gap)


def _memo_foot(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.space(flow.leading * rng.uniform(0.5, 2))
    if rng.random() < 0.4 and not flow.full:
        signer = tongue.name()
        flow.space(flow.leading)
        indent = flow.measure * rng.choice((0.0, 0.5, 0.6))
        Hand.draw(rng).sign(flow.page, flow.left + indent, flow.y, signer, rng)
        flow.line(signer if rng.random() < 0.6 else "", indent=indent)
    if rng.random() < 0.4:
        flow.line(f"{tongue.initials().replace(' ', '')}:{rng.choice('abdjm')}{rng.choice('cdlr')}")
    if rng.random() < 0.4:
        flow.line("cc:")
        flow.lines([f"{tongue.initials()} {tongue.lastname()}" for _ in range(rng.randint(1, 6))], indent=26)


def email(tongue: Tongue) -> list[Page]:
    """A printed e-mail: short, top-heavy, with much white below."""
    rng = tongue.rng
    tongue.year = rng.randint(1988, 2003)
    style = rng.choice(("client", "client", "original", "notes", "host"))
    family = {"host": "courier", "notes": "helvetica"}.get(
        style, rng.choice(("helvetica", "helvetica", "times", "sans"))
    )
    flow = sheet(tongue, font=Font(family, rng.uniform(8.6, 10.8)), limit=rng.choice((1, 1, 2)), spacing=1.2)
    _email_head(flow, tongue, style)
    _email_body(flow, tongue)
    for _ in range(rng.choices((0, 1, 2), weights=(6, 3, 1))[0]):
        flow.space(flow.leading * 1.5)
        _quoted(flow, tongue)
    if rng.random() < 0.12:
        flow.page.text(flow.page.width / 2, flow.page.height - 40, "Page 1", flow.font.sized(8), anchor="c")
    return flow.pages


def _mailname(tongue: Tongue) -> str:
    rng = tongue.rng
    last, first = tongue.lastname(), tongue.firstname()
    domain = tongue.ours.split()[0].lower()
    return rng.choice(
        (
            f"{last}, {first}",
            f"{last}, {first} {rng.choice('ABCDEJLMR')}.",
            f"{first} {last}",
            f"{first.lower()}.{last.lower()}@{domain}.example",
            f"{first} {last}/{rng.choice(('HQ', 'RD', 'NY', 'LAW'))}",
        )
    )


def _stamp_time(tongue: Tongue) -> str:
    rng = tongue.rng
    time = f"{rng.randint(1, 12)}:{rng.randint(0, 59):02d} {rng.choice(('AM', 'PM'))}"
    return f"{_weekday(tongue)}, {tongue.date()} {time}" if rng.random() < 0.6 else f"{tongue.shortdate()} {time}"


def _weekday(tongue: Tongue) -> str:
    return tongue.pick(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Sunday"))


def _email_head(flow: Flow, tongue: Tongue, style: str) -> None:
    rng = tongue.rng
    if style == "client":
        flow.line(_mailname(tongue), font=flow.font.strong().sized(flow.font.size * 1.25))
        flow.space(3)
        flow.rule(rng.uniform(1.5, 3))
        flow.space(flow.leading * 0.4)
    elif style == "original":
        flow.line(f" -----{rng.choice(('Original Message', 'Forwarded Message', 'Original Appointment'))}-----")
    elif style == "notes":
        flow.line(f"Printed by: {_mailname(tongue)}")
        if rng.random() < 0.5:
            flow.line("CONFIDENTIAL - MAY CONTAIN PRIVILEGED COMMUNICATION", font=flow.font.strong(), anchor="c")
        flow.space()
        emblem(flow.page, flow.left, flow.y, 26, rng)
        flow.page.text(flow.left + 36, flow.y + 10, _mailname(tongue), flow.font)
        flow.page.text(flow.left + 36, flow.y + 22, _stamp_time(tongue), flow.font)
        flow.space(38)
    else:
        flow.line(
            f"*** {tongue.code()} *** {rng.choice(('MAIL', 'NOTE', 'MSG'))} "
            f"FROM: {tongue.lastname().upper()[:8]} --{tongue.code()}"
        )
    _mail_fields(flow, tongue, style)


def _mail_fields(flow: Flow, tongue: Tongue, style: str) -> None:
    rng = tongue.rng
    to = "; ".join(_mailname(tongue) for _ in range(rng.choices((1, 2, 6, 12), weights=(8, 3, 2, 1))[0]))
    fields = [("From", _mailname(tongue)), ("Sent", _stamp_time(tongue)), ("To", to)]
    if style in ("notes", "host"):
        fields = [("To", to), ("From", _mailname(tongue)), ("Date", _stamp_time(tongue))]
    if rng.random() < 0.4:
        fields.append((rng.choice(("Cc", "cc", "CC")), "; ".join(_mailname(tongue) for _ in range(rng.randint(1, 5)))))
    prefix = rng.choice(("", "RE: ", "FW: ", "Re: ", ""))
    fields.append(("Subject", prefix + tongue.subject()))
    if rng.random() < 0.15:
        fields.append(("Importance", "High"))
    bold = flow.font.strong() if rng.random() < 0.7 and style != "host" else flow.font
    tab = rng.choice((58.0, 76.0, 100.0))
    for label, value in fields:
        if flow.take(flow.leading):
            flow.page.text(flow.left, flow.y, f"{label.upper() if style == 'host' else label}:", bold)
            flow.y -= flow.leading
        flow.para(value, indent=tab, after=0)
    flow.space(flow.leading * rng.uniform(0.8, 1.6))


def _email_body(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    if rng.random() < 0.55:
        flow.line(
            rng.choice(
                (
                    f"{tongue.firstname()}:",
                    f"{tongue.firstname()},",
                    f"Hi {tongue.firstname()},",
                    f"{tongue.firstname()} -",
                )
            )
        )
        flow.space(flow.leading * 0.5)
    quick = (
        "Thanks.",
        "Please see attached.",
        "Let me know what you think.",
        "OK with me.",
        "Can we meet on {day}?",
        "I am out of the office until {shortdate}.",
        "Conference room {digit}A is booked for {day}.",
        "Please print and bring to the {meeting}.",
        "Any problem with this?",
    )
    for _ in range(rng.choices((1, 2, 4), weights=(6, 4, 1))[0]):
        flow.para(tongue.pick(quick) if rng.random() < 0.35 else tongue.paragraph(*_prose(tongue), low=1, high=3))
    if rng.random() < 0.5:
        flow.line(
            tongue.firstname() if rng.random() < 0.5 else rng.choice(("Thanks,", "Regards,")) + " " + tongue.firstname()
        )
    if rng.random() < 0.2:
        flow.lines([tongue.job(), tongue.department(), tongue.phone()])


def _quoted(flow: Flow, tongue: Tongue) -> None:
    flow.line(
        "-----Original Message-----" if tongue.rng.random() < 0.6 else f"{_mailname(tongue)} on {_stamp_time(tongue)}"
    )
    if tongue.rng.random() < 0.8:
        _mail_fields(flow, tongue, "original")
    mark = tongue.rng.choice(("", "", "> "))
    for text in tongue.sentences("business", tongue.rng.randint(1, 3)):
        flow.para(text, hanging=mark, indent=14 if mark else 0, after=4)
