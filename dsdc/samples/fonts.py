"""Fonts that come with the Python environment, the same for pixels and for PDF, and how wide text is in them.

ReportLab carries Type 1 programs with the metrics of Courier, Helvetica and Times, so a page drawn with Pillow breaks
its lines where the PDF does. The DejaVu, STIX and Computer Modern files are matplotlib's. No system font is needed.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from dsdc.errors import SetupError

_MEASURE_PX = 200  # widths are measured once, large, and scaled


class Face(NamedTuple):
    """A font file; `pdf` is the standard font that has its metrics, or empty: the file itself is embedded."""

    package: str
    file: str
    pdf: str = ""


class Font(NamedTuple):
    """A face at a size in points."""

    family: str
    size: float
    bold: bool = False
    italic: bool = False

    def sized(self, size: float) -> Font:
        return self._replace(size=size)

    def strong(self) -> Font:
        return self._replace(bold=True)

    def slanted(self) -> Font:
        return self._replace(italic=True)


_MPL = ("matplotlib", "mpl-data/fonts/ttf/")
_RL = ("reportlab", "fonts/")


def _rl(*names: str, pdf: tuple[str, ...]) -> tuple[Face, ...]:
    return tuple(Face(_RL[0], _RL[1] + name, standard) for name, standard in zip(names, pdf, strict=True))


def _mpl(*names: str) -> tuple[Face, ...]:
    return tuple(Face(_MPL[0], f"{_MPL[1]}{name}.ttf") for name in names)


#: Regular, bold, italic, bold italic.
FAMILIES: dict[str, tuple[Face, ...]] = {
    "courier": _rl(
        "com_____.pfb",
        "cob_____.pfb",
        "coo_____.pfb",
        "cobo____.pfb",
        pdf=("Courier", "Courier-Bold", "Courier-Oblique", "Courier-BoldOblique"),
    ),
    "helvetica": _rl(
        "_a______.pfb",
        "_ab_____.pfb",
        "_ai_____.pfb",
        "_abi____.pfb",
        pdf=("Helvetica", "Helvetica-Bold", "Helvetica-Oblique", "Helvetica-BoldOblique"),
    ),
    "times": _rl(
        "_er_____.pfb",
        "_eb_____.pfb",
        "_ei_____.pfb",
        "_ebi____.pfb",
        pdf=("Times-Roman", "Times-Bold", "Times-Italic", "Times-BoldItalic"),
    ),
    "sans": _mpl("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "serif": _mpl("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "mono": _mpl("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    "stix": _mpl("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    "teletype": _mpl("cmtt10", "cmtt10", "cmtt10", "cmtt10"),
}

TYPEWRITERS = ("courier", "teletype", "mono")
_PITCH = {"courier": 0.6, "mono": 0.602, "teletype": 0.525}


def spelled(text: str, font: Font) -> str:
    """`text` as this face can set it: the teletype has no accents."""
    if font.family != "teletype" or text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text.replace("\u2022", "*"))
    return plain.encode("ascii", "ignore").decode()


def face(font: Font) -> Face:
    return FAMILIES[font.family][int(font.bold) + 2 * int(font.italic)]


@lru_cache(maxsize=8)
def _package(name: str) -> Path:
    spec = find_spec(name)  # does not import the package
    if spec is None or spec.origin is None:
        raise SetupError(f"The fonts of the Python package {name} are missing.", hint=f"Install {name}.")
    return Path(spec.origin).parent


@lru_cache(maxsize=512)
def pixels(which: Face, size_px: int) -> ImageFont.FreeTypeFont:
    """The face for Pillow at a height of `size_px` pixels."""
    path = _package(which.package) / which.file
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def pdf_name(which: Face) -> str:
    """The name by which ReportLab knows the face; registers it on first use."""
    if which.pdf:
        return which.pdf
    name = Path(which.file).stem
    pdfmetrics.registerFont(TTFont(name, str(_package(which.package) / which.file)))
    return name


@lru_cache(maxsize=60_000)
def _width(which: Face, text: str) -> float:
    return pixels(which, _MEASURE_PX).getlength(text) / _MEASURE_PX


def width(text: str, font: Font) -> float:
    """Width of a line in points."""
    pitch = _PITCH.get(font.family)
    if pitch is not None:
        return pitch * font.size * len(text)
    which = face(font)
    blanks = text.count(" ")
    return font.size * (sum(_width(which, word) for word in text.split(" ")) + blanks * _width(which, " "))


def wrap(text: str, font: Font, measure: float, first: float = 0.0) -> list[str]:
    """`text` in lines no wider than `measure` points; the first one is `first` points shorter."""
    lines: list[str] = []
    line, room, used = "", measure - first, 0.0
    blank = width(" ", font)
    for word in text.split():
        wide = width(word, font)
        if line and used + blank + wide > room:
            lines.append(line)
            line, room, used = word, measure, wide
        else:
            used += wide + (blank if line else 0.0)
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines
