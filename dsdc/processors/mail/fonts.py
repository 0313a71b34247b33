"""DejaVu Sans, which comes with matplotlib, embedded by ReportLab so that every character can be read back."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.pdfdoc import PDFDocument
from reportlab.pdfbase.ttfonts import TTFont

from dsdc.errors import SetupError

TEXT, BOLD = "DSDC-Mail", "DSDC-Mail-Bold"
_FILES = {TEXT: "DejaVuSans.ttf", BOLD: "DejaVuSans-Bold.ttf"}
_FOLDER = Path("mpl-data", "fonts", "ttf")

#: ReportLab writes characters beyond U+FFFF as plain numbers; a ToUnicode map has them in UTF-16.
_ASTRAL = re.compile(r"(?<= <)[0-9A-F]{5,6}(?=>)")


class _Glyphs(dict[int, int]):
    """Character -> glyph; what the font lacks has glyph 0, a box, instead of losing its identity."""

    def __contains__(self, code: object) -> bool:
        return True

    def __missing__(self, code: int) -> int:
        return 0


class _Font(TTFont):
    """A font whose text layer holds all of Unicode."""

    def __init__(self, name: str, file: Path) -> None:
        super().__init__(name, str(file), shapable=False)
        # ReportLab gives all names of one face to the font that came first: another user of the same file, or us to it.
        self.face.name = name.encode("ascii")
        self.face.charToGlyph = _Glyphs(self.face.charToGlyph)

    def addObjects(self, doc: PDFDocument) -> None:  # noqa: N802 - ReportLab's name
        super().addObjects(doc)
        for key, value in doc.idToObject.items():
            if str(key).startswith("toUnicodeCMap:"):
                value.content = _ASTRAL.sub(_utf16, value.content)


def _utf16(match: re.Match[str]) -> str:
    return chr(int(match.group(), 16)).encode("utf-16-be").hex().upper()


@lru_cache(maxsize=2)
def font(name: str) -> _Font:
    """The font of that name, known to ReportLab from the first call on."""
    made = _Font(name, _file(name))
    pdfmetrics.registerFont(made)
    return made


def width(ch: str, name: str, size: float) -> float:
    """How far a character moves on, in points."""
    face = font(name).face
    return float(face.charWidths.get(ord(ch), face.defaultWidth)) * size / 1000


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """SHA-256 of the font files, in hexadecimal."""
    return hashlib.sha256(b"".join(_file(name).read_bytes() for name in _FILES)).hexdigest()


def _file(name: str) -> Path:
    package = find_spec("matplotlib")  # does not import it
    if package is None or package.origin is None:
        raise SetupError("The fonts of the Python package matplotlib are missing.", hint="Install matplotlib.")
    return Path(package.origin).parent / _FOLDER / _FILES[name]
