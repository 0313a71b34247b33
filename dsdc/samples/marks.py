"""What offices and archives add to a page after it was written: numbers, stamps, fax lines, notes in the margin."""

from __future__ import annotations

import random

from dsdc.samples.fonts import Font
from dsdc.samples.handwriting import Hand, loop
from dsdc.samples.page import Page
from dsdc.samples.text import Tongue

_STAMPS = (
    "CONFIDENTIAL",
    "RECEIVED",
    "COPY",
    "FILE COPY",
    "PAID",
    "DRAFT",
    "APPROVED",
    "CENTRAL FILES",
    "FOR YOUR INFORMATION",
)
_NOTES = (
    "File",
    "pls file",
    "OK",
    "see me",
    "FYI",
    "Call re this",
    "Copy to {lastname}",
    "{lastname} - pls handle",
    "Noted {shortdate}",
    "Thanks!",
    "rec'd {shortdate}",
    "why?",
    "{department}",
)


class Archive:
    """The running number that an archive prints on every page of a document."""

    def __init__(self, rng: random.Random) -> None:
        self.number = rng.randint(10**7, 10**10)
        self.prefix = rng.choice(("", "", "", "TLX ", "AB", "M-"))
        self.where = rng.choices(("right", "corner", "foot", "none"), weights=(4, 2, 2, 4))[0]
        self.font = Font(
            rng.choice(("courier", "helvetica", "helvetica", "teletype")), rng.uniform(8, 13), bold=rng.random() < 0.6
        )

    def stamp(self, page: Page, rng: random.Random) -> None:
        text = f"{self.prefix}{self.number}"
        self.number += 1
        if self.where == "right":
            page.text(
                page.width - rng.uniform(20, 34), page.height * rng.uniform(0.55, 0.93), text, self.font, angle=270
            )
        elif self.where == "corner":
            page.text(page.width - 40, page.height - rng.uniform(18, 34), text, self.font, anchor="r")
        elif self.where == "foot":
            page.text(page.width / 2, page.height - rng.uniform(14, 26), text, self.font, anchor="c")


def fax_line(page: Page, tongue: Tongue) -> None:
    """The line that a fax machine prints along the top."""
    rng = tongue.rng
    time = f"{rng.randint(7, 18):02d}:{rng.randint(0, 59):02d}"
    text = f"{tongue.shortdate().upper()}  {time}   FAX {tongue.phone()}   "
    text += f"{tongue.ours.upper()[:22]}   P.{rng.randint(1, 9):02d}"
    page.text(rng.uniform(20, 60), rng.uniform(12, 20), text, Font("mono", 7.5))


def rubber_stamp(page: Page, tongue: Tongue) -> None:
    """A word in a box, set askew, perhaps with a date."""
    rng = tongue.rng
    text = rng.choice(_STAMPS)
    if text in ("RECEIVED", "PAID", "APPROVED") and rng.random() < 0.7:
        text += f" {tongue.shortdate().upper()}"
    font = Font(rng.choice(("helvetica", "sans", "times")), rng.uniform(11, 20), bold=True)
    grey, angle = rng.choice((0, 40, 90, 130)), rng.choice((0, 0, 8, -6, 14, 4))
    x, y = page.width * rng.uniform(0.45, 0.62), page.height * rng.choice((0.05, 0.07, 0.2, 0.88, 0.93))
    wide = page.text(x, y, text, font, grey=grey, angle=angle)
    if angle == 0 and rng.random() < 0.6:
        page.rect(x - 6, y - font.size, wide + 12, font.size * 1.45, weight=1.4, grey=grey)


def margin_note(page: Page, tongue: Tongue) -> None:
    """A few handwritten words near an edge, perhaps ringed."""
    rng = tongue.rng
    hand = Hand.draw(rng)
    text = tongue.pick(_NOTES)
    x = rng.choice((page.width * 0.06, page.width * 0.62, page.width * 0.7))
    y = rng.choice((rng.uniform(24, 60), page.height - rng.uniform(40, 110)))
    end = hand.write(page, x, y, text, rng)
    if rng.random() < 0.3:
        loop(page, (x - 6, y - hand.size * 1.4, end - x + 12, hand.size * 2.2), rng)


def dress(pages: list[Page], tongue: Tongue, *, tidy: bool = False) -> None:
    """Add marks to the pages of one document. `tidy`: nothing that a printer would not print."""
    rng = tongue.rng
    archive = Archive(rng)
    for page in pages:
        if not tidy or rng.random() < 0.5:
            archive.stamp(page, rng)
    if tidy:
        return
    if rng.random() < 0.12 and tongue.year > 1982:
        fax_line(pages[0], tongue)
    if rng.random() < 0.14:
        rubber_stamp(pages[0], tongue)
    if rng.random() < 0.2:
        margin_note(pages[0], tongue)
