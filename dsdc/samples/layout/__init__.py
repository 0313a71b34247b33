"""How the documents of each class look: one module a class or a family of them.

Every layout takes a `Tongue`, which carries the random numbers, and answers the pages of one document.
"""

from __future__ import annotations

from collections.abc import Callable

from dsdc.samples.layout.correspondence import email, letter, memo
from dsdc.samples.layout.folder import folder
from dsdc.samples.layout.forms import form, questionnaire
from dsdc.samples.layout.handwritten import handwritten
from dsdc.samples.layout.money import budget, invoice
from dsdc.samples.layout.press import advertisement, news
from dsdc.samples.layout.resume import resume
from dsdc.samples.layout.science import publication, report
from dsdc.samples.layout.slides import presentation
from dsdc.samples.layout.specification import specification
from dsdc.samples.page import Page
from dsdc.samples.text import Tongue

Layout = Callable[[Tongue], list[Page]]

LAYOUTS: dict[str, Layout] = {
    "letter": letter,
    "form": form,
    "email": email,
    "handwritten": handwritten,
    "advertisement": advertisement,
    "scientific_report": report,
    "scientific_publication": publication,
    "specification": specification,
    "file_folder": folder,
    "news_article": news,
    "budget": budget,
    "invoice": invoice,
    "presentation": presentation,
    "questionnaire": questionnaire,
    "resume": resume,
    "memo": memo,
}
