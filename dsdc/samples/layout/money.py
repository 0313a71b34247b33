"""Invoices and budgets: columns of dollars, billed or planned."""

from __future__ import annotations

from dsdc.samples import words
from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand, loop
from dsdc.samples.layout.correspondence import letterhead
from dsdc.samples.layout.flow import Flow, heading, sheet
from dsdc.samples.layout.tables import grid, number
from dsdc.samples.page import Page
from dsdc.samples.pictures import emblem
from dsdc.samples.text import Tongue

_SERVICES = (
    "{process} of {material}",
    "Art and layout, {brand}",
    "Photostats",
    "{material}, lot {code}",
    "Consulting services, {month}",
    "Engraving and plates",
    "Agency commission",
    "Shipping and handling",
    "{product} samples",
    "Media space, {town}",
    "Typesetting",
    "{quantity} tests, {samples} samples",
    "Travel expenses, {lastname}",
    "Retainer for {month}",
    "Data processing",
    "Copies of {doc}",
    "Video production",
    "Rental of equipment",
    "Subscription, one year",
    "Freight",
)


def invoice(tongue: Tongue) -> list[Page]:
    """A bill: printed form, computer output, or a letter that asks for money."""
    rng = tongue.rng
    family = rng.choice(("courier", "courier", "helvetica", "times", "teletype", "mono"))
    flow = sheet(tongue, font=Font(family, rng.uniform(8.4, 10.6)), limit=1, spacing=1.2)
    build = rng.choice((_bill_form, _bill_form, _bill_plain, _bill_letter, _printout, _voucher))
    build(flow, tongue)
    if rng.random() < 0.45:
        _approval(flow.page, tongue)
    return flow.pages


def _items(tongue: Tongue, count: int) -> list[tuple[str, int, float]]:
    """(what, how many, price each in dollars)."""
    rng = tongue.rng
    about = rng.choice((4.0, 40.0, 600.0))
    return [
        (tongue.say(rng.choice(_SERVICES)), rng.choice((1, 1, 2, 5, 12, 144)), about * rng.lognormvariate(0, 0.9))
        for _ in range(count)
    ]


def _address(tongue: Tongue) -> list[str]:
    return [tongue.company(), f"Attn: {tongue.name()}", tongue.street(), tongue.city()]


def _bill_head(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    title = rng.choice(("INVOICE", "INVOICE", "Invoice", "STATEMENT", "* INVOICE *", "ORIGINAL INVOICE", "BILL"))
    font = heading(tongue, flow.font, grow=rng.uniform(1.3, 2.4))
    if rng.random() < 0.6:
        letterhead(flow, tongue)
    flow.line(title, font=font, anchor=rng.choice(("r", "c", "l")))
    flow.space(flow.leading * 0.6)
    left = ["SOLD TO:" if rng.random() < 0.4 else "TO:", *_address(tongue)]
    right = [
        f"Invoice No. {tongue.code()}",
        f"Date: {tongue.date()}",
        f"Your Order: {tongue.code()}",
        f"Terms: {rng.choice(('Net 30 days', 'Due upon receipt', '2% 10, Net 30'))}",
        f"Job: {tongue.code()}",
    ][: rng.randint(2, 5)]
    for i in range(max(len(left), len(right))):
        cells = [
            (0.0, left[i] if i < len(left) else "", "l"),
            (flow.measure * 0.6, right[i] if i < len(right) else "", "l"),
        ]
        flow.row(cells)  # type: ignore[arg-type]
    flow.space()


def _totals(flow: Flow, tongue: Tongue, subtotal: float) -> None:
    rng = tongue.rng
    tax = subtotal * rng.choice((0.0, 0.0, 0.045, 0.06))
    rows = [("Subtotal", subtotal), ("Sales tax", tax), ("TOTAL", subtotal + tax)] if tax else [("TOTAL DUE", subtotal)]
    for label, value in rows:
        if flow.take(flow.leading * 1.15):
            flow.page.text(flow.right - 90, flow.y, label, flow.font, anchor="r")
            wide = flow.page.text(flow.right - 4, flow.y, f"${value:,.2f}", flow.font, anchor="r")
    if not flow.full and rng.random() < 0.5:
        flow.page.line(flow.right - wide - 6, flow.y + 3, flow.right, flow.y + 3, 1)
        flow.page.line(flow.right - wide - 6, flow.y + 5, flow.right, flow.y + 5, 1)
    if rng.random() < 0.2:
        loop(flow.page, (flow.right - wide - 16, flow.y - 14, wide + 26, 20), rng)


def _bill_form(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    _bill_head(flow, tongue)
    items = _items(tongue, rng.randint(1, 11))
    rows = [[str(n), what, f"{price:,.2f}", f"{n * price:,.2f}"] for what, n, price in items]
    grid(
        flow,
        ["QTY", "DESCRIPTION", "UNIT PRICE", "AMOUNT"],
        rows,
        [0.7, 4, 1.3, 1.4],
        ruled=rng.choice(("full", "head", "rows", "full")),
    )
    _totals(flow, tongue, sum(n * price for _, n, price in items))
    flow.space(flow.leading * rng.uniform(1, 6))
    if rng.random() < 0.7:
        flow.line(
            rng.choice(
                (
                    "Please remit to the above address.",
                    "THANK YOU",
                    "PLEASE RETURN ONE COPY WITH YOUR REMITTANCE",
                    "A service charge of 1 1/2% per month is added to past due accounts.",
                    f"Federal I.D. No. {tongue.code()}",
                )
            ),
            anchor="c",
        )


def _bill_plain(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    _bill_head(flow, tongue)
    items = _items(tongue, rng.randint(1, 7))
    for what, _, price in items:
        if flow.take(flow.leading * 1.3):
            flow.page.text(flow.left + 20, flow.y, what, flow.font)
            flow.page.text(flow.right - 4, flow.y, f"{price:,.2f}", flow.font, anchor="r")
    flow.space()
    _totals(flow, tongue, sum(price for _, _, price in items))
    if rng.random() < 0.5:
        flow.space(flow.leading * 3)
        flow.para(tongue.paragraph("courtesy", low=1, high=2))


def _bill_letter(flow: Flow, tongue: Tongue) -> None:
    """A letter whose body is a charge; told from other letters by its figures alone."""
    rng = tongue.rng
    letterhead(flow, tongue)
    flow.line(tongue.date())
    flow.space()
    flow.lines(_address(tongue))
    flow.space()
    flow.line(f"RE: {tongue.subject()}")
    flow.space()
    flow.para(
        tongue.pick(
            (
                "For professional services rendered in connection with {activity} through {date}:",
                "To bill you for {process} of {material} as per our agreement of {shortdate}:",
                "In accordance with the contract between {company} and this laboratory, "
                "the {ordinal} payment is now due.",
            )
        )
    )
    items = _items(tongue, rng.randint(1, 4))
    for what, _, price in items:
        flow.row([(24.0, what, "l"), (flow.measure - 30, f"$ {price * 10:,.2f}", "r")])
    flow.space()
    _totals(flow, tongue, sum(price * 10 for _, _, price in items))
    flow.space(flow.leading * 2)
    flow.line(tongue.sentence("courtesy") if rng.random() < 0.5 else "Please make check payable to " + tongue.ours)


def _printout(flow: Flow, tongue: Tongue) -> None:
    """Line-printer output: capitals, no rules."""
    rng = tongue.rng
    flow.font = Font(rng.choice(("courier", "mono", "teletype")), 8.6)
    flow.row([(0.0, tongue.ours.upper(), "l"), (flow.measure, f"PAGE {rng.randint(1, 3)}", "r")])
    flow.row(
        [
            (0.0, f"TO: {tongue.company().upper()}", "l"),
            (flow.measure * 0.55, f"FROM: {tongue.company().upper()[:24]}", "l"),
        ]
    )
    for _ in range(2):
        flow.row([(22.0, tongue.street().upper(), "l"), (flow.measure * 0.55 + 30, tongue.city().upper(), "l")])
    flow.space()
    flow.line(f"{rng.choice(('PO#', 'ORDER', 'REF'))} {tongue.code()} DATED {tongue.shortdate().upper()}")
    flow.line("-" * int(flow.measure / 5.2))
    items = _items(tongue, rng.randint(3, 16))
    rows = [
        [f"{i:03d}", str(n), tongue.code(), what.upper(), f"{price:,.2f}", f"{n * price:,.2f}"]
        for i, (what, n, price) in enumerate(items, 1)
    ]
    grid(flow, ["LN", "QTY", "CATALOG #", "DESCRIPTION", "UNIT PR", "EXT PR"], rows, [0.6, 0.6, 1.2, 3.4, 1.2, 1.3])
    _totals(flow, tongue, sum(n * price for _, n, price in items))


def _voucher(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.line(tongue.ours, anchor="c", font=heading(tongue, flow.font, grow=1.4))
    flow.line(
        rng.choice(("VOUCHER", "CHECK VOUCHER", "EXPENSE VOUCHER", "REMITTANCE ADVICE")),
        anchor="c",
        font=heading(tongue, flow.font, grow=1.2),
    )
    flow.space()
    flow.line("PAYEE")
    flow.lines(_address(tongue), indent=24, font=Font("courier", 9.6))
    flow.space()
    items = _items(tongue, rng.randint(1, 5))
    rows = [[what, tongue.code(), f"{price:,.2f}"] for what, _, price in items]
    grid(flow, ["EXPLANATION OF PAYMENT", "ACCOUNT TO BE CHARGED", "AMOUNT"], rows, [3, 1.5, 1.2], ruled="full")
    _totals(flow, tongue, sum(price for _, _, price in items))
    flow.space(flow.leading * 2)
    flow.lines([f"Prepared by {tongue.name()}", f"Approved {'_' * 24}", f"Check date {tongue.shortdate()}"])


def _approval(page: Page, tongue: Tongue) -> None:
    """What accounting writes on a bill before it is paid."""
    rng = tongue.rng
    hand = Hand.draw(rng)
    x, y = page.width * rng.uniform(0.5, 0.7), page.height * rng.uniform(0.6, 0.85)
    hand.sign(page, x - 60, y - 20, tongue.name(), rng)
    for i in range(rng.randint(1, 3)):
        hand.write(
            page,
            x,
            y + i * hand.size * 1.6,
            tongue.pick(("Dept. {number}", "Acct. {code}", "{shortdate}", "OK to pay", "Chg. {code}", "PO {number}")),
            rng,
        )


def budget(tongue: Tongue) -> list[Page]:
    """A plan of spending: a table, an estimate form, a status chart, a ledger."""
    rng = tongue.rng
    build = rng.choice((_plan, _plan, _months, _months, _estimate, _status, _ledger, _prose))
    family = rng.choice(("courier", "helvetica", "times", "teletype", "mono", "helvetica"))
    flow = sheet(tongue, font=Font(family, rng.uniform(7.8, 10.4)), limit=1, spacing=1.25)
    if build is _months or (build is _plan and rng.random() < 0.3):
        width, height = flow.page.size
        flow.page.size = (height, width)
        flow.page.upright = rng.random() < 0.45
    build(flow, tongue)
    if rng.random() < 0.2:
        hand = Hand.draw(rng)
        hand.write(
            flow.page,
            flow.page.width * 0.55,
            flow.page.height - 60,
            tongue.pick(("see note", "revised {shortdate}", "+ ${money}", "over by {percent}%")),
            rng,
        )
    return flow.pages


def _head(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    lines = [
        tongue.ours.upper(),
        tongue.pick(
            (
                "{year} ORIGINAL BUDGET",
                "{department} BUDGET",
                "BUDGET VS. ACTUAL",
                "{brand} MARKETING BUDGET",
                "Proposed Budget {year}",
                "CAPITAL EXPENDITURES",
                "Estimated Expenses",
                "SPENDING SUMMARY",
            )
        ),
        tongue.pick(("($000)", "Through {month}", "Revised {shortdate}", "In Thousands of Dollars", "")),
    ]
    font = heading(tongue, flow.font, grow=1.2)
    for text in lines[rng.randint(0, 1) :]:
        if text:
            flow.line(text, anchor="c", font=font)
    flow.space()


def _accounts(tongue: Tongue, count: int) -> list[str]:
    pool = [
        "Salaries",
        "Travel",
        "Supplies",
        "Consumer Research",
        "Advertising",
        "Media",
        "Sampling",
        "Printing",
        "Postage",
        "Contract Research",
        "Equipment",
        "Overhead",
        "Fringe Benefits",
        "Training",
        "Telephone",
        "Point of Sale",
        "Promotion",
        "Maintenance",
        "Dues and Subscriptions",
        "Patient Costs",
        "Animal Care",
        "Outside Services",
        "Contingency",
        "Production",
        "Talent",
        "Display Payments",
    ]
    return tongue.rng.sample(pool, min(count, len(pool)))


def _plan(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    _head(flow, tongue)
    head = [
        "",
        *rng.sample(
            (
                "Budget",
                "Actual",
                "Variance",
                f"{tongue.year}",
                f"{tongue.year - 1}",
                "% Chg.",
                "Forecast",
                "Year to Date",
                "Balance",
            ),
            rng.randint(2, 5),
        ),
    ]
    about = rng.choice((80, 900, 12000, 240000))
    rows: list[list[str]] = []
    for _ in range(rng.randint(1, 4)):
        names = _accounts(tongue, rng.randint(3, 8))
        rows += [[name, *(_dollars(tongue, about) for _ in head[1:])] for name in names]
        rows.append(
            [
                "  Total" if rng.random() < 0.5 else "TOTAL " + tongue.department().upper(),
                *(_dollars(tongue, about * 5) for _ in head[1:]),
            ]
        )
        rows.append([""] * len(head))
    grid(flow, head, rows, [2.4, *([1.0] * (len(head) - 1))], ruled=rng.choice(("none", "head", "rows", "full")))


def _dollars(tongue: Tongue, about: float) -> str:
    if tongue.rng.random() < 0.06:
        return "-0-"
    text = number(tongue, about)
    return f"({text})" if tongue.rng.random() < 0.05 else text


def _months(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.font = flow.font.sized(min(flow.font.size, 7.6 if flow.font.family in ("courier", "mono") else 8.4))
    flow.leading = flow.font.size * 1.35
    _head(flow, tongue)
    head = ["ACCOUNT", *(m[:3].upper() for m in words.MONTHS), "TOTAL"]
    rows = [
        [name, *(_dollars(tongue, 300) for _ in range(12)), _dollars(tongue, 4000)]
        for name in _accounts(tongue, rng.randint(8, 24))
    ]
    rows.append(["TOTAL", *(_dollars(tongue, 3000) for _ in range(12)), _dollars(tongue, 40000)])
    grid(flow, head, rows, [2.6, *([1.0] * 12), 1.3], ruled=rng.choice(("none", "head", "full", "rows")))


def _estimate(flow: Flow, tongue: Tongue) -> None:
    """An agency's cost estimate on a printed form."""
    rng = tongue.rng
    emblem(flow.page, flow.left, flow.y, 26, rng)
    flow.page.text(flow.left + 34, flow.y + 14, tongue.ours.upper(), Font("times", 15, bold=True))
    typed = Font("courier", 9)
    for label in ("Estimate No.", "Date", "Media", "Budget Year", "Job Number", "Brand")[: rng.randint(3, 6)]:
        flow.row(
            [
                (flow.measure - 150, label, "r"),
                (flow.measure - 140, tongue.pick(("{code}", "{shortdate}", "{brand}", "{year}")), "l"),
            ]
        )
    flow.space()
    flow.line(
        f"Estimate of {rng.choice(('Art & Production Cost', 'Media Cost', 'Research Cost', 'Promotion Expense'))}",
        font=flow.font.strong(),
    )
    flow.space()
    for section in rng.sample(("ART", "PRODUCTION", "MEDIA", "RESEARCH", "MISCELLANEOUS"), rng.randint(2, 3)):
        flow.line(section, font=flow.font.strong())
        for name in _accounts(tongue, rng.randint(2, 5)):
            if not flow.take(flow.leading * 1.3):
                return
            flow.page.text(flow.left + 24, flow.y, name, flow.font)
            flow.page.line(
                flow.left + flow.measure * 0.45, flow.y + 2, flow.left + flow.measure * 0.75, flow.y + 2, 0.5
            )
            if rng.random() < 0.6:
                flow.page.text(flow.left + flow.measure * 0.74, flow.y, tongue.money(900), typed, anchor="r")
        flow.row([(flow.measure * 0.8, f"SUBTOTAL $ {tongue.money(4000)}", "r")])
    flow.row([(flow.measure, f"TOTAL $ {tongue.money(9000)}", "r")], font=flow.font.strong())
    flow.space(30)
    flow.line(f"Approved {'_' * 26}   Date {'_' * 12}")
    Hand.draw(rng).sign(flow.page, flow.left + 60, flow.y - 3, tongue.name(), rng)


def _status(flow: Flow, tongue: Tongue) -> None:
    """A project's monthly status: a framed head and a curve of money spent."""
    rng = tongue.rng
    flow.line(
        "MONTHLY MANAGEMENT STATUS REPORT" if rng.random() < 0.5 else "PROJECT COST REPORT", font=flow.font.strong()
    )
    top = flow.y + 4
    flow.space(6)
    flow.line(f"  PROJECT TITLE: {tongue.subject()}")
    flow.line(f"  BUDGET: ${tongue.money(90000, cents=False)}     DATE: {tongue.date()}")
    flow.para(tongue.paragraph("business", "science", low=1, high=2), indent=12)
    flow.page.rect(flow.left, top, flow.measure, flow.y - top)
    x, y, w, h = flow.left + 50, flow.y + 24, flow.measure - 70, 250.0
    columns, rows = 12, 12
    for i in range(columns + 1):
        flow.page.line(x + w * i / columns, y, x + w * i / columns, y + h, 0.5)
    for i in range(rows + 1):
        flow.page.line(x, y + h * i / rows, x + w, y + h * i / rows, 0.5)
        flow.page.text(x - 6, y + h * i / rows + 3, str(rows - i), flow.font.sized(7), anchor="r")
    spent = [0.0]
    for _ in range(rng.randint(4, 12)):
        spent.append(spent[-1] + rng.uniform(0, 0.12))
    flow.page.curve([(x + w * i / columns, y + h * (1 - min(1.0, v))) for i, v in enumerate(spent)], 1.6)
    flow.page.curve([(x, y + h), (x + w, y + h * 0.08)], 0.8)
    flow.page.text(x - 34, y + h / 2 + 50, "BUDGET VS ACTUAL M$", flow.font.sized(8), angle=90)
    flow.y = y + h + 20
    flow.para(tongue.paragraph("business", low=1, high=3))
    flow.line(f"PREPARED BY {tongue.name()}")


def _ledger(flow: Flow, tongue: Tongue) -> None:
    """A columnar pad filled in by hand."""
    rng = tongue.rng
    hand = Hand.draw(rng, rng.uniform(7.5, 10))
    hand.write(flow.page, flow.left + 40, flow.y, tongue.say("{year} {department} Budget"), rng)
    flow.space(14)
    columns, rows, top = rng.randint(4, 7), rng.randint(16, 30), flow.y
    high, first = min(20.0, (flow.room - 10) / rows), flow.measure * 0.3
    for i in range(rows + 1):
        flow.page.line(flow.left, top + i * high, flow.right, top + i * high, 0.5, grey=90)
    edges = [flow.left, *(flow.left + first + (flow.measure - first) * i / columns for i in range(columns + 1))]
    for x in edges:
        flow.page.line(x, top, x, top + rows * high, 0.8, grey=60)
    for row in range(1, rng.randint(8, rows)):
        y = top + row * high - 4
        hand.write(flow.page, flow.left + 4, y, rng.choice(_accounts(tongue, 5))[:16], rng)
        for column in range(columns):
            if rng.random() < 0.75:
                text = number(tongue, 900)
                hand.write(flow.page, edges[column + 2] - hand.width(text) - 4, y, text, rng)


def _prose(flow: Flow, tongue: Tongue) -> None:
    """A budget justification in words."""
    _head(flow, tongue)
    for name in _accounts(tongue, tongue.rng.randint(3, 6)):
        flow.row(
            [(0.0, name, "l"), (flow.measure, f"${tongue.money(20000, cents=False)}", "r")], font=flow.font.strong()
        )
        flow.para(tongue.paragraph("business", low=1, high=3), indent=18)
    flow.row(
        [(0.0, "TOTAL", "l"), (flow.measure, f"${tongue.money(160000, cents=False)}", "r")], font=flow.font.strong()
    )
