"""What reads a page image: RapidOCR, or Tesseract inside this process (tesserocr) or a process a page (pytesseract).

Through the whole reader, 12 FUNSD forms and 12 archive pages of 1,000 px, seconds of processor time a page:

==================  =====  =====  ===========  ==================
engine              CER    WER    s a form     s an archive page
==================  =====  =====  ===========  ==================
tesserocr 5.5.4     0.180  0.273  0.63         0.88
pytesseract 5.3.0   0.182  0.274  1.03         1.44
==================  =====  =====  ===========  ==================

Two threads read the same pages 1.96 times as fast as one. No two texts were identical: another Tesseract is another
engine, and `params` says which. RapidOCR 3.10 on 50 forms: CER 0.110, WER 0.255, and 1.1 to 1.5 s an archive page; why
it is the first choice is in `dsdc/adr/0011-two-recognisers.md`.
"""

from __future__ import annotations

import importlib.util

from dsdc.errors import SettingsError
from dsdc.processors.ocr.engine import Engine
from dsdc.processors.ocr.rapid import LANGUAGES, RapidOcrEngine
from dsdc.processors.ocr.tessdata import find_tessdata
from dsdc.processors.ocr.tesseract import PytesseractEngine, TesserocrEngine
from dsdc.settings import Ocr


def choose_engine(config: Ocr) -> Engine:
    """The one that the settings ask for: with `auto` RapidOCR where it knows the languages, else Tesseract.

    Tesseract is tesserocr where that is installed, else pytesseract.

    Raises:
        SettingsError: RapidOCR is asked for languages that it does not know.
        MissingSystemPackage: no language data, or for pytesseract no `tesseract` program.
    """
    unknown = sorted(set(config.languages.split("+")) - LANGUAGES)
    if config.engine == "rapidocr" and unknown:
        raise SettingsError(
            f"RapidOCR does not know the letters of {', '.join(unknown)} (ocr.languages).",
            hint="Set ocr.engine to auto or tesseract.",
        )
    if config.engine != "tesseract" and not unknown:
        return RapidOcrEngine(config)
    tessdata = find_tessdata(config.languages)
    if importlib.util.find_spec("tesserocr") is not None:
        return TesserocrEngine(config, tessdata)
    return PytesseractEngine(config, tessdata)
