"""News clippings and advertisements."""

from __future__ import annotations

from dsdc.samples.fonts import Font, width, wrap
from dsdc.samples.handwriting import Hand
from dsdc.samples.layout.flow import Flow, Margins, body_font, paper, sheet
from dsdc.samples.page import Page, Point
from dsdc.samples.pictures import circle, emblem, pack, photograph
from dsdc.samples.text import Tongue


def headline(tongue: Tongue) -> str:
    """A line that could stand over a news story."""
    text = tongue.pick(
        (
            "{company} to {action}",
            "{material} Prices Fall {percent} Percent",
            "{town} Weighs New Rules",
            "Study Questions {process}",
            "Growers protest in {town}",
            "Senate panel backs {activity}",
            "{product} sales {moved} sharply",
            "Is {material} next?",
            "A fight over {product}s",
            "{town} plant to close by {month}",
            "{lastname} named to head {company}",
            "Smoke, mirrors and {material}",
            "Doctors split on {quantity}",
        )
    )
    return text[0].upper() + text[1:]


def news(tongue: Tongue) -> list[Page]:
    """A clipping on a sheet, a whole page of a paper, or a retyped story."""
    rng = tongue.rng
    kind = rng.random()
    if kind < 0.15:
        return _retyped(tongue)
    if kind < 0.55:
        return [_clipping(tongue)]
    return [_newspaper(tongue)]


def _retyped(tongue: Tongue) -> list[Page]:
    rng = tongue.rng
    flow = sheet(tongue, font=body_font(tongue), limit=rng.choice((1, 2)))
    flow.line(headline(tongue), anchor=rng.choice(("c", "l")), font=flow.font.strong())
    flow.line(
        f"({rng.choice(('Reprinted from', 'From'))} {tongue.paper()}, {tongue.date()})", anchor=rng.choice(("c", "l"))
    )
    flow.space()
    for _ in range(rng.randint(3, 9)):
        flow.para(tongue.paragraph("press", low=1, high=3), first=rng.choice((0, 24)))
    return flow.pages


def _print_font(tongue: Tongue) -> Font:
    return Font(tongue.rng.choice(("times", "times", "stix", "serif")), tongue.rng.uniform(7.6, 9.6))


def _head_font(tongue: Tongue, size: float) -> Font:
    return Font(tongue.rng.choice(("times", "times", "helvetica", "serif")), size, bold=tongue.rng.random() < 0.8)


def _story(
    flow: Flow, tongue: Tongue, box: tuple[float, float, float, float], *, columns: int, big: float, picture: bool
) -> None:
    """A story in the box (x, y, w, h): headline over columns, perhaps a photograph."""
    rng = tongue.rng
    x, y, w, h = box
    font = _head_font(tongue, big)
    text = headline(tongue)
    lines = wrap(text, font, w) or [text]
    while len(lines) > 4 or any(width(line, font) > w for line in lines):
        font = font.sized(font.size * 0.85)
        lines = wrap(text, font, w)
    at = y
    for line in lines:
        at += font.size * 1.05
        flow.page.text(x, at, line, font)
    at += 6
    if rng.random() < 0.6:
        at += 10
        flow.page.text(
            x,
            at,
            f"By {tongue.name().upper()}" if rng.random() < 0.6 else f"{tongue.town().upper()}, {tongue.shortdate()}",
            flow.font.strong(),
        )
    at += 4
    if picture:
        high = min(h * 0.4, w * 0.66)
        flow.page.picture(x, at, w, high, photograph(rng, int(w * 1.3), int(high * 1.3)))
        at += high + 9
        flow.page.text(
            x,
            at,
            tongue.name() + rng.choice((" speaks in ", ", of ", " at ")) + tongue.town(),
            flow.font.sized(7).strong(),
        )
        at += 6
    wide = (w - 10 * (columns - 1)) / columns
    for column in range(columns):
        left = x + column * (wide + 10)
        flow.margins = Margins(left, at, flow.page.width - left - wide, flow.page.height - y - h)
        flow.y, flow.full = at, False
        while flow.room > flow.leading * 2:
            flow.para(tongue.paragraph("press", low=1, high=3), first=9, justify=True, after=0)


def _clipping(tongue: Tongue) -> Page:
    """One or two stories cut out and pasted on a sheet, with the paper's name and a date beside them."""
    rng = tongue.rng
    flow = Flow(_print_font(tongue), size=paper(rng), leading=9.6)
    flow.leading = flow.font.size * 1.1
    page = flow.page
    style = rng.choice(("stamp", "typed", "hand", "head"))
    y = rng.uniform(50, 110)
    if style == "hand":
        hand = Hand.draw(rng)
        hand.write(page, 60, y - 24, tongue.paper(), rng)
        hand.write(page, 60, y - 24 + hand.size * 1.7, tongue.shortdate(), rng)
        y += hand.size * 1.6
    elif style == "head":
        page.text(
            page.width / 2,
            y - 14,
            f"{tongue.paper().upper()}, {tongue.date().upper()}",
            Font("times", 10, bold=True),
            anchor="c",
        )
    else:
        typed = Font("courier" if style == "typed" else "helvetica", 10)
        for i, text in enumerate((tongue.paper(), tongue.town(), tongue.date())):
            page.text(rng.choice((60, 64)), y - 30 + i * 12, text, typed)
        y += 16
    columns = rng.choice((1, 1, 2, 3))
    w = columns * rng.uniform(125, 160)
    x = rng.uniform(50, max(52, page.width - w - 50))
    h = rng.uniform(0.45, 0.95) * (page.height - y - 60)
    _story(flow, tongue, (x, y, w, h), columns=columns, big=rng.uniform(14, 30), picture=rng.random() < 0.35)
    if rng.random() < 0.5:
        page.rect(x - 8, y - 4, w + 16, h + 12, weight=0.7, grey=rng.choice((0, 120)))
    if columns == 1 and x + w + 170 < page.width and rng.random() < 0.6:
        _story(flow, tongue, (x + w + 24, y + rng.uniform(0, 200), 135, h * 0.5), columns=1, big=13, picture=False)
    return page


def _newspaper(tongue: Tongue) -> Page:
    """Stories side by side over the whole sheet."""
    rng = tongue.rng
    flow = Flow(_print_font(tongue), size=paper(rng), leading=9.0)
    flow.font = flow.font.sized(rng.uniform(6.8, 8.2))
    flow.leading = flow.font.size * 1.1
    page, top = flow.page, rng.uniform(30, 60)
    if rng.random() < 0.5:
        page.text(page.width / 2, top, tongue.paper(), Font("times", rng.uniform(18, 34), bold=True), anchor="c")
        page.line(40, top + 6, page.width - 40, top + 6, 1)
        page.text(page.width / 2, top + 17, tongue.date().upper(), Font("times", 8), anchor="c")
        page.line(40, top + 22, page.width - 40, top + 22, 1)
        top += 30
    left, w, bottom = 38.0, page.width - 76, page.height - rng.uniform(30, 60)
    if rng.random() < 0.55:
        split = rng.uniform(0.35, 0.65)
        upper = (bottom - top) * split
        _story(flow, tongue, (left, top, w, upper), columns=rng.choice((3, 4)), big=rng.uniform(24, 44), picture=False)
        half = w * rng.choice((0.33, 0.5, 0.66))
        _story(
            flow,
            tongue,
            (left, top + upper + 16, half - 10, bottom - top - upper - 16),
            columns=2,
            big=17,
            picture=rng.random() < 0.6,
        )
        rest = (left + half + 10, top + upper + 16, w - half - 10, bottom - top - upper - 16)
        if rng.random() < 0.35:
            _display(page, tongue, rest)
        else:
            _story(flow, tongue, rest, columns=2, big=15, picture=rng.random() < 0.4)
    else:
        _story(
            flow,
            tongue,
            (left, top, w, bottom - top),
            columns=rng.choice((3, 4, 4)),
            big=rng.uniform(26, 50),
            picture=rng.random() < 0.6,
        )
    return page


def _display(page: Page, tongue: Tongue, box: tuple[float, float, float, float]) -> None:
    """A display advertisement in the box."""
    rng = tongue.rng
    x, y, w, h = box
    page.rect(x, y, w, h, weight=1.5)
    brand = tongue.say("{brand}")
    _slogan(page, tongue, brand, (x + 8, y + 6, w - 16, h * 0.3))
    pack(page, (x + w * 0.3, y + h * 0.45, w * 0.25, h * 0.35), brand, rng)
    page.text(x + w / 2, y + h - 10, tongue.company(), Font("helvetica", 8), anchor="c")


def _slogan(page: Page, tongue: Tongue, brand: str, box: tuple[float, float, float, float], grey: int = 0) -> float:
    """Big type filling the width of the box; answers the y where it ends."""
    rng = tongue.rng
    x, y, w, h = box
    text = tongue.pick(
        (
            brand,
            f"{brand}. {{taste}} as ever.",
            "Taste the {taste} side.",
            "{taste} & {taste}",
            "Why settle for less?",
            "NOW! {percent}% LESS",
            "The {taste} one.",
            f"Come home to {brand}",
            "Win a {gift}!",
            "FREE {gift}",
            f"Meet the new {brand}",
            "Yes.",
            "{month} is {taste} month",
        )
    )
    text = text.upper() if rng.random() < 0.35 else text[0].upper() + text[1:]
    font = Font(
        rng.choice(("times", "helvetica", "serif", "sans", "stix")),
        60,
        bold=rng.random() < 0.75,
        italic=rng.random() < 0.25,
    )
    while True:
        lines = wrap(text, font, w)
        if (len(lines) * font.size * 1.05 <= h and max(width(line, font) for line in lines) <= w) or font.size < 12:
            break
        font = font.sized(font.size * 0.9)
    centred = rng.random() < 0.6
    for line in lines:
        y += font.size
        page.text(x + w / 2 if centred else x, y, line, font, anchor="c" if centred else "l", grey=grey)
    return y + font.size * 0.3


def advertisement(tongue: Tongue) -> list[Page]:
    """A printed advertisement, a coupon, a comic, or typed copy for one."""
    rng = tongue.rng
    build = rng.choices((_poster, _framed, _dark, _comic, _typed_copy, _coupon), weights=(5, 3, 2, 1.2, 1.6, 1.6))[0]
    return [build(tongue)]


def _fine_print(page: Page, tongue: Tongue, x: float, y: float, w: float, *, grey: int = 0) -> None:
    """The boxed notice that such pages carry."""
    font = Font("helvetica", 6.6)
    text = tongue.pick(
        (
            "NOTICE: Offer limited to adults. Void where prohibited or taxed. Allow {small} weeks for delivery.",
            "{digit} mg. {quantity}, 0.{digit} mg. {quantity2} av. per unit by standard method.",
            "(c) {year} {company}. All rights reserved.",
        )
    )
    lines = wrap(text, font, w)
    page.rect(x - 4, y - 9, w + 8, len(lines) * 8 + 5, weight=0.7, grey=grey)
    for i, line in enumerate(lines):
        page.text(x, y + i * 8, line, font, grey=grey)


def _poster(tongue: Tongue) -> Page:
    rng = tongue.rng
    page = Page(paper(rng), upright=rng.random() > 0.12)
    brand, w, h = tongue.say("{brand}"), page.width, page.height
    inset = rng.uniform(20, 120)
    y = _slogan(page, tongue, brand, (inset, rng.uniform(24, 90), w - 2 * inset, h * 0.25))
    high = rng.uniform(0.3, 0.45) * h
    if rng.random() < 0.7:
        page.picture(inset, y + 12, w - 2 * inset, high, photograph(rng, 420, 360))
        if rng.random() < 0.6:
            pack(page, (w * rng.uniform(0.5, 0.65), y + high * 0.6, w * 0.14, high * 0.5), brand, rng)
    else:
        pack(page, (w * 0.34, y + 40, w * 0.24, high * 0.85), brand, rng)
    y += high + 40
    font = Font(rng.choice(("times", "helvetica", "stix")), rng.uniform(9, 14))
    for text in tongue.sentences("claims", rng.randint(1, 5)):
        for line in wrap(text, font, w - 2 * inset - 20):
            page.text(w / 2, y, line, font, anchor="c")
            y += font.size * 1.25
    page.text(
        w / 2, y + 26, brand, Font("times", rng.uniform(18, 34), bold=True, italic=rng.random() < 0.4), anchor="c"
    )
    _fine_print(page, tongue, inset + 8, min(y + 60, h - 40), rng.uniform(110, 190))
    return page


def _framed(tongue: Tongue) -> Page:
    """All type in a heavy frame, as trade journals ran them."""
    rng = tongue.rng
    page = Page(paper(rng))
    inset = rng.uniform(40, 130)
    w = page.width - 2 * inset
    page.rect(inset, 50, w, page.height - 130, weight=rng.choice((1, 3, 5)))
    if rng.random() < 0.4:
        page.rect(inset + 6, 56, w - 12, page.height - 142, weight=0.7)
    y = _slogan(page, tongue, tongue.say("{brand}"), (inset + 20, 74, w - 40, 130)) + 24
    flow = Flow(
        Font(rng.choice(("times", "stix", "helvetica")), rng.uniform(10, 13)),
        size=page.size,
        margins=Margins(inset + 26, y, inset + 26, 150),
    )
    flow.pages = [page]
    flow.y = y
    for text in tongue.sentences(rng.choice(("claims", "science", "claims")), rng.randint(3, 6)):
        flow.para(text, justify=rng.random() < 0.5)
    emblem(page, page.width / 2 - 22, page.height - 170, 44, rng)
    page.text(
        page.width / 2,
        page.height - 104,
        f"{tongue.company()}, {tongue.city()}",
        Font("times", 9.5, bold=True),
        anchor="c",
    )
    return page


def _dark(tongue: Tongue) -> Page:
    """White type on a dark plate that bleeds over the sheet."""
    rng = tongue.rng
    page = Page(paper(rng), upright=rng.random() > 0.3)
    w, h = page.width, page.height
    x, y = rng.uniform(0, 60), rng.uniform(0, 80)
    page.rect(x, y, w - 2 * x, h - 2 * y, fill=rng.choice((0, 20, 50)), grey=None)
    brand = tongue.say("{brand}")
    below = _slogan(page, tongue, brand, (x + 40, y + 50, w - 2 * x - 80, h * 0.3), grey=255)
    if rng.random() < 0.7:
        page.picture(x + 50, below + 20, w - 2 * x - 100, h * 0.35, photograph(rng, 400, 280))
    else:
        pack(page, (w * 0.38, below + 50, w * 0.2, h * 0.28), brand, rng)
    page.text(w / 2, h - y - 70, brand, Font("times", 30, bold=True), anchor="c", grey=255)
    page.text(w / 2, h - y - 46, tongue.sentence("claims"), Font("helvetica", 9), anchor="c", grey=255)
    _fine_print(page, tongue, x + 40, h - y - 24, 150, grey=255)
    return page


def _balloon(page: Page, x: float, y: float, w: float, h: float) -> None:
    points: list[Point] = [
        (x + w / 2 + (px - x - w / 2), y + h / 2 + (py - y - h / 2) * h / w)
        for px, py in circle((x + w / 2, y + h / 2), w / 2)
    ]
    page.polygon(points, weight=1.1, fill=255)
    page.polygon(
        [(x + w * 0.4, y + h * 0.93), (x + w * 0.36, y + h * 1.25), (x + w * 0.55, y + h * 0.95)], weight=1.1, fill=255
    )


def _comic(tongue: Tongue) -> Page:
    rng = tongue.rng
    page = Page(paper(rng))
    columns, rows = rng.choice(((3, 2), (2, 3), (4, 2)))
    x0, y0, w, h = 56.0, rng.uniform(80, 220), page.width - 112, rng.uniform(260, 420)
    page.text(
        page.width / 2,
        y0 - 16,
        tongue.say("{brand} and the {gift}").upper(),
        Font("helvetica", 18, bold=True),
        anchor="c",
    )
    font = Font("sans", 6.4)
    for i in range(columns * rows):
        cw, ch = w / columns, h / rows
        x, y = x0 + (i % columns) * cw, y0 + (i // columns) * ch
        page.rect(x + 2, y + 2, cw - 4, ch - 4, weight=1.6, fill=rng.choice((255, 255, 210)))
        for side in (0.28, 0.7)[: rng.randint(1, 2)]:
            page.polygon(circle((x + cw * side, y + ch * 0.68), ch * 0.1), weight=1, fill=rng.choice((255, 230)))
            page.polygon(
                [
                    (x + cw * side - 14, y + ch - 3),
                    (x + cw * side - 8, y + ch * 0.78),
                    (x + cw * side + 8, y + ch * 0.78),
                    (x + cw * side + 14, y + ch - 3),
                ],
                fill=rng.choice((0, 90)),
                grey=0,
            )
        _balloon(page, x + 8, y + 6, cw - 18, ch * 0.42)
        for j, line in enumerate(wrap(tongue.sentence("claims").upper(), font, cw - 50)[:4]):
            page.text(x + cw / 2, y + 22 + j * 8, line, font, anchor="c")
    pack(page, (page.width * 0.42, y0 + h + 40, 60, 90), tongue.say("{brand}"), rng)
    return page


def _typed_copy(tongue: Tongue) -> Page:
    """An agency's typed copy: no picture at all."""
    rng = tongue.rng
    flow = sheet(tongue, font=Font(rng.choice(("courier", "teletype")), 10.5), spacing=rng.choice((1.2, 2.0)))
    flow.lines(
        [
            tongue.company().upper(),
            f"CLIENT: {tongue.ours.upper()}",
            f"PRODUCT: {tongue.say('{brand}').upper()}",
            f"{rng.choice(('RADIO :60', 'TV :30', 'PRINT, PAGE B/W', 'OUTDOOR'))}  {tongue.code()}",
        ]
    )
    flow.space()
    for text in tongue.sentences("claims", rng.randint(4, 8)):
        flow.para(text, indent=rng.choice((0, 90)), hanging=rng.choice(("ANNCR:", "VO:", "SUPER:", "")))
    return flow.page


def _coupon(tongue: Tongue) -> Page:
    rng = tongue.rng
    page = Page(paper(rng))
    brand, inset = tongue.say("{brand}"), rng.uniform(50, 110)
    w = page.width - 2 * inset
    y = _slogan(page, tongue, brand, (inset, 60, w, 160)) + 16
    flow = Flow(Font("helvetica", 10.5), size=page.size, margins=Margins(inset, y, inset, 330))
    flow.pages, flow.y = [page], y
    for text in tongue.sentences("claims", 3):
        flow.para(text)
    pack(page, (inset + w * 0.4, flow.y + 30, 70, 100), brand, rng)
    top = page.height - 250
    for i in range(0, int(w), 9):
        page.line(inset + i, top, inset + i + 5, top, 1)
        page.line(inset + i, top + 190, inset + i + 5, top + 190, 1)
    page.text(inset + 10, top + 24, tongue.say("Yes! Send me my free {gift}."), Font("helvetica", 13, bold=True))
    for i, label in enumerate(("Name", "Address", "City", "State            Zip", "Signature")):
        page.text(inset + 10, top + 56 + i * 26, label, Font("times", 9))
        page.line(inset + 64, top + 58 + i * 26, inset + w - 20, top + 58 + i * 26, 0.6)
    return page
