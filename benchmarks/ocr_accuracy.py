"""How well the platform reads: scanned forms and receipts against what is written there, PDF forms against their layer.

What is measured is what runs: the renderer and the text reader that the settings ask for, in their child processes. How
errors are counted is told in `benchmarks/text_errors.py`. A page that could not be read counts as one without text.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import corpus
from benchmarks.corpus import Transcribed
from benchmarks.text_errors import Box, Errors, Passage, page_errors
from dsdc.cli.console import Bars, bars, print_json, table
from dsdc.processors import media_type as types
from dsdc.processors.contract import EncodedPage, PageSource, PageText, TextReader
from dsdc.processors.registry import ProcessorSet, configured
from dsdc.settings import settings

FORMS, RECEIPTS = 50, 30
#: Over `Errors.rates()`, in their order.
HEADINGS = ("CER\nseq.", "WER\nseq.", "CER\nboxes", "WER\nboxes", "bag\nrecall", "bag\nprec.")


@dataclass(frozen=True)
class Score:
    """Errors on some pages, how many could not be read, and wall seconds a page with all parsers at work."""

    pages: int
    failed: int
    errors: Errors
    seconds_a_page: float

    def as_json(self) -> dict[str, Any]:
        whole = {"pages": self.pages, "failed": self.failed, "characters": self.errors.characters}
        return {**whole, "seconds_a_page": round(self.seconds_a_page, 3), **_rounded(self.errors)}


def run(
    limit: Annotated[int, typer.Option(min=1, help="At most so many forms, receipts and PDFs each.")] = FORMS,
    pdf_pages: Annotated[int, typer.Option(min=1, help="At most so many pages of each PDF.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Character and word error rates of the text stage on real forms, receipts and PDF forms."""
    processors = configured(settings())
    with tempfile.TemporaryDirectory(prefix="dsdc-benchmark-") as folder, bars() as progress:
        pages = _Pages(processors, Path(folder))
        forms = pages.score(corpus.forms(limit), progress.of("forms"))
        receipts = pages.score(corpus.receipts(min(limit, RECEIPTS)), progress.of("receipts"), fold_case=True)
        compared = pages.compare(corpus.pdf_forms()[:limit], pdf_pages, progress)
    if as_json:
        print_json(_report(processors.reader, forms, receipts, compared))
    else:
        _print(forms, receipts, compared)


@dataclass(frozen=True)
class Compared:
    """A page of a PDF: why its layer was refused, or how far OCR is from the layer that was used."""

    file: str
    page: int
    refused: str | None
    errors: Errors | None

    def as_json(self) -> dict[str, Any]:
        rates = _rounded(self.errors) if self.errors else {}
        return {"file": self.file, "page": self.page, "layer": self.refused or "used", **rates}


@dataclass(frozen=True)
class _Pages:
    processors: ProcessorSet
    folder: Path

    def score(
        self, documents: Sequence[Transcribed], tell: Callable[[int, int], None], *, fold_case: bool = False
    ) -> Score:
        sources = [(document, source) for document in documents for source in self._sources(document.image, 1)]
        failed = len(documents) - len(sources)
        errors = Errors()
        started = time.monotonic()
        readings = self.processors.reader.read([source for _, source in sources])
        for done, ((document, _), found) in enumerate(zip(sources, readings, strict=True), start=1):
            text, words = (found.text, found.words) if isinstance(found, PageText) else ("", ())
            errors += page_errors(document.passages, text, words, fold_case=fold_case)
            failed += not isinstance(found, PageText)
            tell(done, len(sources) - done)
        return Score(len(documents), failed, errors, (time.monotonic() - started) / max(len(sources), 1))

    def compare(self, paths: Sequence[Path], limit: int, progress: Bars) -> list[Compared]:
        found: list[Compared] = []
        for done, path in enumerate(paths, start=1):
            found += self._compare(path, limit)
            progress.step("PDF forms", done, len(paths) - done)
        return found

    def _compare(self, path: Path, limit: int) -> list[Compared]:
        sources = self._sources(path, limit)
        layers = list(self.processors.reader.read(sources))
        # The same page images once more, as of documents that have no layer.
        scans = [PageSource(source.image, types.PNG, 1, source.image) for source in sources]
        read = list(self.processors.reader.read(scans))
        return [
            _compared(path.name, source.page, layer, ocr)
            for source, layer, ocr in zip(sources, layers, read, strict=True)
        ]

    def _sources(self, path: Path, limit: int) -> list[PageSource]:
        """The first pages as the pipeline stores them."""
        with path.open("rb") as file:
            kind = types.detect(file.read(types.HEAD_BYTES))
        sources: list[PageSource] = []
        for page in self.processors.renderer.pages(path, kind):
            if isinstance(page, EncodedPage):
                image = self.folder / f"{path.stem}-{page.page}.png"
                image.write_bytes(page.data)
                sources.append(PageSource(path, kind, page.page, image))
            if page.page >= limit:
                break
        return sources


def _compared(file: str, page: int, layer: PageText | Exception, ocr: PageText | Exception) -> Compared:
    if not isinstance(layer, PageText) or layer.extraction != "text-layer":
        reason = str(layer.notes.get("layer")) if isinstance(layer, PageText) else str(layer)
        return Compared(file, page, reason, None)
    truth = [Passage(w.text, Box(w.left, w.top, w.left + w.width, w.top + w.height)) for w in layer.words]
    text, words = (ocr.text, ocr.words) if isinstance(ocr, PageText) else ("", ())
    return Compared(file, page, None, page_errors(truth, text, words))


def _rounded(errors: Errors) -> dict[str, float]:
    return {name: round(rate, 4) for name, rate in errors.rates().items()}


def _total(compared: Sequence[Compared]) -> Errors:
    return sum((page.errors for page in compared if page.errors), Errors())


def _report(reader: TextReader, forms: Score, receipts: Score, compared: Sequence[Compared]) -> dict[str, Any]:
    refused = Counter(page.refused for page in compared if page.refused)
    return {
        "benchmark": "ocr_accuracy",
        "reader": {"name": reader.name, "version": reader.version, "params": dict(reader.params)},
        "forms": forms.as_json(),
        "receipts": receipts.as_json(),
        "pdf_forms": {
            "pages": len(compared),
            "layer_used": len(compared) - refused.total(),
            "layer_refused": dict(refused),
            **_rounded(_total(compared)),
            "each": [page.as_json() for page in compared],
        },
    }


def _print(forms: Score, receipts: Score, compared: Sequence[Compared]) -> None:
    against = sum(page.errors is not None for page in compared)
    rows: list[list[Any]] = [
        ["forms", _count(forms), f"{forms.seconds_a_page:.2f}", *_row(forms.errors)],
        ["receipts", _count(receipts), f"{receipts.seconds_a_page:.2f}", *_row(receipts.errors)],
        ["PDF layers", against, "", *_row(_total(compared))],
    ]
    table("OCR against ground truth (FUNSD, SROIE, text layers)", ["", "pages", "s", *HEADINGS], rows)
    table(
        "PDF forms: OCR against the layer, where it was used",
        ["file", "page", "layer", *HEADINGS],
        [[page.file, page.page, page.refused or "used", *_row(page.errors)] for page in compared],
    )


def _count(score: Score) -> str:
    return f"{score.pages}, {score.failed} failed" if score.failed else str(score.pages)


def _row(errors: Errors | None) -> list[str]:
    return [f"{rate:.3f}" for rate in errors.rates().values()] if errors else []
