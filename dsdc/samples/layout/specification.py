"""Specifications: what a material or product has to be, line by line."""

from __future__ import annotations

from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand
from dsdc.samples.layout.correspondence import letterhead
from dsdc.samples.layout.flow import Flow, heading, sheet
from dsdc.samples.layout.tables import grid, number
from dsdc.samples.page import Page
from dsdc.samples.text import Tongue

_UNITS = ("MM", "%", "MG", "G", "CORESTA", "MM H2O", "LB/GAL", "SEC", "CM3", "PPM", "mg/cig.", "deg C")


def specification(tongue: Tongue) -> list[Page]:
    """A specification sheet, a safety data sheet, or numbered requirements."""
    rng = tongue.rng
    build = rng.choice((_sheet, _sheet, _sheet, _safety, _safety, _limits, _clauses))
    family = rng.choice(("courier", "courier", "teletype", "mono", "helvetica", "times"))
    flow = sheet(
        tongue, font=Font(family, rng.uniform(8.2, 10.4)), limit=rng.choice((1, 1, 2)), spacing=rng.choice((1.15, 1.3))
    )
    build(flow, tongue)
    _footer(flow, tongue)
    return flow.pages


def _value(tongue: Tongue) -> str:
    return f"{number(tongue, tongue.rng.choice((0.3, 8, 27, 100)))}"


def _sheet(flow: Flow, tongue: Tongue) -> None:
    """Keys, dots or colons, values, in sections."""
    rng = tongue.rng
    title = tongue.pick(
        (
            "{product} SPECIFICATION",
            "BASIC WEIGHT SPECIFICATION",
            "{material} SPECIFICATION",
            "MANUFACTURING SPECIFICATION",
            "PRODUCT DESCRIPTION - {brand}",
        )
    )
    flow.row([(0.0, tongue.town().upper(), "l"), (flow.measure, f"EFFECTIVE DATE: {tongue.shortdate().upper()}", "r")])
    flow.line(title.upper(), anchor="c", underline=rng.random() < 0.6)
    flow.lines(
        [f"BRAND: {tongue.say('{brand}').upper()}", f"BRAND CODE: {tongue.code()}", f"SUPERSEDES: {tongue.code()}"][
            : rng.randint(1, 3)
        ]
    )
    flow.space()
    link = rng.choice((":", ".", " "))
    for part in rng.sample(
        (
            "PHYSICAL MEASUREMENTS",
            "DESCRIPTION",
            "MIXTURE",
            "FILTER DATA",
            "TARGETS",
            "TARGET WEIGHTS",
            "RAW MATERIALS",
            "PACKAGING",
        ),
        rng.randint(2, 4),
    ):
        flow.line(part, underline=True)
        flow.space(flow.leading * 0.3)
        for _ in range(rng.randint(3, 8)):
            _entry(flow, tongue, link)
        flow.space()


def _entry(flow: Flow, tongue: Tongue, link: str) -> None:
    rng = tongue.rng
    if not flow.take(flow.leading):
        return
    name = tongue.pick(("{quantity}", "{material}", "{quantity}", "{process} rate")).upper()
    value = (
        f"{_value(tongue)} {rng.choice(_UNITS)}"
        if rng.random() < 0.75
        else tongue.pick(("{code} OR EQUIVALENT", "{material}", "REFER TO {code}")).upper()
    )
    tab = flow.measure * 0.48
    flow.page.text(flow.left + 20, flow.y, name[:30], flow.font)
    if link == ".":
        flow.page.text(flow.left + tab - 46, flow.y, "......", flow.font)
    elif link == ":":
        flow.page.text(flow.left + tab - 14, flow.y, ":", flow.font)
    flow.page.text(flow.left + tab, flow.y, value, flow.font)


def _safety(flow: Flow, tongue: Tongue) -> None:
    """A material safety data sheet."""
    rng = tongue.rng
    tongue.lexicon = {**tongue.lexicon, **{"product": ("adhesive", "resin", "solvent")}}
    letterhead(flow, tongue)
    flow.line("MATERIAL SAFETY DATA SHEET", anchor="c", font=heading(tongue, flow.font, grow=1.2))
    flow.lines(
        [
            f"PRODUCT NAME: {tongue.say('{material}').upper()} {tongue.code()}",
            f"EMERGENCY TELEPHONE: {tongue.phone()}",
            f"CAS NUMBER: {rng.randint(50, 9999)}-{rng.randint(10, 99)}-{rng.randint(1, 9)}",
        ]
    )
    rule = rng.choice(("-", "=", ""))
    for count, part in enumerate(
        rng.sample(
            (
                "IDENTIFICATION",
                "HAZARDOUS INGREDIENTS",
                "PHYSICAL DATA",
                "FIRE AND EXPLOSION HAZARD DATA",
                "HEALTH HAZARD DATA",
                "REACTIVITY DATA",
                "SPILL OR LEAK PROCEDURES",
                "SPECIAL PRECAUTIONS",
            ),
            rng.randint(4, 7),
        ),
        1,
    ):
        flow.space(flow.leading * 0.6)
        flow.line(
            f"{rule * 12} {part} {rule * 12}" if rule else f"SECTION {count}: {part}", anchor="c" if rule else "l"
        )
        for _ in range(rng.randint(1, 4)):
            if rng.random() < 0.5:
                _entry(flow, tongue, ":")
            else:
                flow.para(tongue.pick(_HAZARDS), after=2)


_HAZARDS = (
    "DO NOT BREATHE DUST OR VAPOR. WEAR RUBBER GLOVES AND CHEMICAL SAFETY GOGGLES.",
    "In case of contact, immediately flush eyes with water for at least 15 minutes. Call a physician.",
    "MAY BE HARMFUL BY INHALATION, INGESTION, OR SKIN ABSORPTION.",
    "Extinguishing media: carbon dioxide, dry chemical powder or foam.",
    "STORE IN A COOL, DRY PLACE. KEEP CONTAINER TIGHTLY CLOSED.",
    "Incompatible with strong oxidizing agents and {material}.",
    "Not established. Treat as a nuisance dust; limit {number} ppm.",
    "APPEARANCE AND ODOR: MILKY WHITE LIQUID, FAINT ODOR OF {material}.",
    "SWEEP UP, PLACE IN A BAG AND HOLD FOR WASTE DISPOSAL. VENTILATE AREA.",
)


def _limits(flow: Flow, tongue: Tongue) -> None:
    """A ruled table of targets and tolerances."""
    rng = tongue.rng
    flow.line(tongue.ours.upper(), anchor="c", font=heading(tongue, flow.font, grow=1.2))
    flow.line(
        tongue.pick(
            (
                "{material} - Purchase Specification {code}",
                "{brand} Product Specifications",
                "Quality limits for {product}s",
            )
        ),
        anchor="c",
    )
    flow.space()
    rows = []
    for _ in range(rng.randint(6, 20)):
        value = rng.uniform(0.5, 120)
        rows.append(
            [
                tongue.say("{quantity}").capitalize(),
                rng.choice(_UNITS).lower(),
                f"{value:.1f}",
                f"{value * 0.92:.1f}",
                f"{value * 1.08:.1f}",
                f"M-{rng.randint(1, 80)}",
            ]
        )
    grid(
        flow,
        ["Property", "Unit", "Target", "Min.", "Max.", "Method"],
        rows,
        [2.6, 1, 1, 1, 1, 1],
        ruled=rng.choice(("full", "rows", "head")),
    )
    for text in tongue.sentences("business", rng.randint(0, 3)):
        flow.para(text)


def _clauses(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    flow.line(tongue.pick(("SPECIFICATION {code}", "STANDARD METHOD {code}")), font=flow.font.strong())
    flow.line(tongue.say("{material} for {process}").upper())
    flow.space()
    must = (
        "The {material} shall have a {quantity} of not less than {percent} percent.",
        "Each shipment shall be accompanied by a certificate of {quantity}.",
        "Samples shall be drawn at random from {percent} percent of the containers.",
        "The {quantity} shall not exceed {number} when tested by Method {code}.",
        "Containers shall be marked with lot number, net weight and date of manufacture.",
        "Material failing any test shall be rejected and returned to {company}.",
        "No change in {process} shall be made without written approval.",
    )
    for count, part in enumerate(
        rng.sample(
            ("SCOPE", "REQUIREMENTS", "SAMPLING", "TESTING", "PACKAGING", "MARKING", "REJECTION"), rng.randint(3, 6)
        ),
        1,
    ):
        flow.line(f"{count}.0  {part}")
        for sub in range(1, rng.randint(2, 5)):
            flow.para(tongue.pick(must), indent=44, hanging=f"{count}.{sub}", after=4)


def _footer(flow: Flow, tongue: Tongue) -> None:
    rng = tongue.rng
    page = flow.page
    if flow.room > 80 and rng.random() < 0.6:
        flow.line("COMMENTS:" if rng.random() < 0.5 else "REASON FOR CHANGE:")
        flow.para(tongue.sentence("business").upper() if rng.random() < 0.5 else tongue.sentence("business"), indent=60)
    if rng.random() < 0.7:
        y = page.height - rng.uniform(48, 62)
        page.text(flow.left, y, f"PREPARED BY: {tongue.name().upper()}", flow.font)
        page.text(flow.left + flow.measure * 0.55, y, f"DATE: {tongue.shortdate().upper()}", flow.font)
        page.text(flow.left, y + 20, "APPROVED BY:", flow.font)
        if rng.random() < 0.7:
            Hand.draw(rng).sign(page, flow.left + 90, y + 20, tongue.name(), rng)
