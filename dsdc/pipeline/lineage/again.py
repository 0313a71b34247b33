"""One recorded document through the stages once more, from its bytes, beside what is recorded of it.

The stages are those of the workers and of the service, over a scratch store. Where one of them cannot be run in the
recorded version, the next ones go on from what it recorded then, so that everything else is still judged.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dsdc.db.repositories.embeddings import Modality, PageVector, Vectors
from dsdc.db.repositories.pages import PageRow
from dsdc.db.tables import OriginalDocument, RawText
from dsdc.errors import BytesMissing, DocumentError
from dsdc.ml.dataset import Known
from dsdc.pipeline.assembly import Assembly, bind
from dsdc.pipeline.contract import Produced, Stage
from dsdc.pipeline.lineage.record import PageRecord, Record
from dsdc.pipeline.lineage.runnable import Tools
from dsdc.pipeline.lineage.steps import Step, Tolerance, cannot, near, same, same_text
from dsdc.pipeline.stages.clean_text import TextInput
from dsdc.pipeline.stages.embed import CleanInput, ImageInput
from dsdc.pipeline.stages.render import DocumentInput
from dsdc.pipeline.stages.text import PageInput
from dsdc.processors.contract import CleanedText, PageText, Word
from dsdc.processors.describe import ReadPage
from dsdc.settings import Settings
from dsdc.storage import FolderStorage, Storage

Input = TypeVar("Input")
Row = TypeVar("Row")
#: By page: what a stage made of it, None where it skipped it, or its error.
Made = dict[int, Row | Exception | None]


@dataclass(frozen=True)
class Remade:
    """What was judged of a document, and what the head is to be asked about; None: there is nothing to ask about."""

    steps: tuple[Step, ...]
    known: Known | None


def remake(config: Settings, storage: Storage, record: Record, tools: Tools, tolerance: Tolerance) -> Remade:
    """Compute a recorded document again; nothing is written but to a scratch folder."""
    if record.document is None or record.gone is not None:
        return Remade(tuple(cannot(["bytes", "pages"], str(record.gone))), None)
    bytes_step, data = _bytes(record.document, storage)
    if data is None:
        why = "the stored bytes are not the recorded ones"
        steps = [bytes_step, *_stored_images(record, storage), *cannot(["pages"], why)]
        return Remade(tuple(steps), _Known(record, {}, {}, {}).put_together())
    with tempfile.TemporaryDirectory(prefix="dsdc-") as folder:
        scratch = FolderStorage(Path(folder) / "raw", Path(folder) / "processed", durable=False)
        scratch.put_bytes("raw", data)
        stages = bind(config, tools.processors, tools.ids, scratch)
        again = _Again(record, record.document, stages, tools.why_not, storage, scratch, tolerance)
        return again.run(bytes_step)


def _bytes(document: OriginalDocument, storage: Storage) -> tuple[Step, bytes | None]:
    """The document's bytes, if they are the recorded ones."""
    try:
        data = storage.read(document.file_path)
    except BytesMissing:
        return same("bytes", document.id, None, "not in the store"), None
    step = same("bytes", document.id, hashlib.sha256(data).hexdigest())
    return step, data if step.outcome == "ok" else None


def _stored_images(record: Record, storage: Storage) -> Iterator[Step]:
    for page in record.pages:
        name = f"page {page.page}: stored image"
        try:
            found = hashlib.sha256(storage.read(page.image.image_file)).hexdigest()
        except BytesMissing:
            found = None
        yield same(name, page.image.image_sha256, found, "not in the store")


class _Again:
    """The stages of one document in their order. Each method makes one kind of thing and notes how it compares."""

    def __init__(
        self,
        record: Record,
        document: OriginalDocument,
        stages: Assembly,
        why_not: Mapping[str, str],
        storage: Storage,
        scratch: Storage,
        tolerance: Tolerance,
    ) -> None:
        self._record = record
        self._document = document
        self._stages = stages
        self._why_not = why_not
        self._storage = storage
        self._scratch = scratch
        self._tolerance = tolerance
        self._steps: list[Step] = []

    def run(self, bytes_step: Step) -> Remade:
        self._steps = [bytes_step, *_stored_images(self._record, self._storage)]
        images, sizes = self._render()
        texts = self._read(images) if self._record.read else {}
        cleaned = self._clean(texts) if self._record.read else {}
        vectors: dict[Modality, Made[Vectors]] = {"image": self._see(images)}
        vectors["text"] = self._embed(cleaned) if self._record.read else {}
        if self._record.lost:
            self._steps.append(same("embeddings", "all stored", f"{len(self._record.lost)} are not there"))
        known = _Known(self._record, _good(texts), {m: _good(v) for m, v in vectors.items()}, sizes)
        return Remade(tuple(self._steps), known.put_together())

    def _render(self) -> tuple[dict[int, str], dict[int, PageRow]]:
        """Keys in the scratch store by page, of the new images or else of the recorded ones; and the new rows."""
        if why := self._why_not.get("render"):
            self._cannot("image", why)
            return self._recorded_images(), {}
        rows: dict[int, PageRow] = {}
        document, error = self._document, None
        for produced in self._stages.render.compute(
            [DocumentInput(document.id, document.file_path, document.media_type)]
        ):
            rows |= {row.page: row for row in produced.rows}
            error = produced.error or error
        for page in self._record.pages:
            made = rows.get(page.page)
            if made is None and error is not None:
                self._steps += cannot([f"page {page.page}: image"], str(error))
            else:
                name = f"page {page.page}: image"
                self._steps.append(same(name, page.image.image_sha256, made.image_sha256 if made else None, "no page"))
        if more := sorted(rows.keys() - {page.page for page in self._record.pages}):
            self._steps.append(same("pages", str(len(self._record.pages)), f"page {more[0]} too"))
        return {page: row.image_file for page, row in rows.items()}, rows

    def _recorded_images(self) -> dict[int, str]:
        found = {}
        for page in self._record.pages:
            if self._storage.exists(page.image.image_file):
                data = self._storage.read(page.image.image_file)
                found[page.page] = self._scratch.put_bytes("processed", data).key
        return found

    def _read(self, images: Mapping[int, str]) -> Made[PageText]:
        d = self._document
        inputs = {page: PageInput(0, d.id, d.file_path, d.media_type, page, key) for page, key in images.items()}
        made = self._made("text", "text", self._stages.text, inputs)
        for page in self._record.pages:
            found = made.get(page.page)
            if isinstance(found, PageText):
                self._compare_text(page, found)
        return made

    def _compare_text(self, page: PageRecord, found: PageText) -> None:
        if page.raw is None:
            self._steps.append(same(f"page {page.page}: text", "no text", f"{len(found.text)} characters"))
            return
        self._steps.append(same_text(f"page {page.page}: text", page.raw.raw_text, found.text))
        words = _words(page.raw) == found.words and page.raw.extraction == found.extraction
        told = f"{len(page.raw.words)} words by {page.raw.extraction}, with their places"
        here = told if words else f"{len(found.words)} words by {found.extraction}, other words or places"
        self._steps.append(same(f"page {page.page}: words", told, here))

    def _clean(self, texts: Made[PageText]) -> Made[CleanedText]:
        inputs = {p.page: TextInput(0, text) for p in self._record.pages if (text := _text_of(p, texts)) is not None}
        made = self._made("clean", "cleaned text", self._stages.clean, inputs)
        for page in self._record.pages:
            name, found = f"page {page.page}: cleaned text", made.get(page.page)
            if isinstance(found, CleanedText) and page.clean is not None:
                self._steps.append(same_text(name, page.clean.processed_text, found.text))
            elif isinstance(found, CleanedText):
                self._steps.append(same(name, "no text", f"{len(found.text)} characters"))
        return made

    def _see(self, images: Mapping[int, str]) -> Made[Vectors]:
        inputs = {page: ImageInput(0, key) for page, key in images.items()}
        made = self._made("embed", "image vector", self._stages.embed_image, inputs)
        self._compare_vectors("image", made)
        return made

    def _embed(self, cleaned: Made[CleanedText]) -> Made[Vectors]:
        inputs = {}
        for page in self._record.pages:
            found = cleaned.get(page.page)
            if isinstance(found, CleanedText):
                inputs[page.page] = CleanInput(0, found.text)
            elif page.clean is not None:
                inputs[page.page] = CleanInput(0, page.clean.processed_text)
        made = self._made("embed", "text vector", self._stages.embed_text, inputs)
        self._compare_vectors("text", made)
        return made

    def _compare_vectors(self, modality: Modality, made: Made[Vectors]) -> None:
        for page in self._record.pages:
            if page.page not in made or isinstance(made[page.page], Exception):
                continue
            name = f"page {page.page}: {modality} vector"
            recorded, found = page.vectors.get(modality), made[page.page]
            if recorded is None or found is None or isinstance(found, Exception):
                if (recorded is None) != (found is None):
                    there, here = ("a vector" if one is not None else "none" for one in (recorded, found))
                    self._steps.append(same(name, there, here))
            else:
                self._steps.append(near(name, recorded.vector, found, self._tolerance))

    def _made(self, place: str, what: str, stage: Stage[Input, Row], inputs: Mapping[int, Input]) -> Made[Row]:
        """What a stage makes of each page; where it cannot be run, or breaks on a page, that is noted."""
        if why := self._why_not.get(place):
            self._cannot(what, why)
            return {}
        found: Made[Row] = {}
        for page, produced in _computed(stage, inputs).items():
            found[page] = produced.error or (produced.rows[0] if produced.rows else None)
            if produced.error is not None:
                self._steps += cannot([f"page {page}: {what}"], str(produced.error))
        return found

    def _cannot(self, what: str, why: str) -> None:
        self._steps += cannot((f"page {page.page}: {what}" for page in self._record.pages), why)


@dataclass(frozen=True)
class _Known:
    """What was made, and where nothing was, what is recorded."""

    record: Record
    texts: Mapping[int, PageText]
    vectors: Mapping[Modality, Mapping[int, Vectors]]
    sizes: Mapping[int, PageRow]

    def put_together(self) -> Known | None:
        vectors = [vector for page in self.record.pages for vector in self._vectors_of(page)]
        pages = [read for page in self.record.pages if (read := self._read_page(page)) is not None]
        return Known(vectors, pages) if vectors else None

    def _vectors_of(self, page: PageRecord) -> Iterator[PageVector]:
        for modality in ("image", "text"):
            found, recorded = self.vectors.get(modality, {}).get(page.page), page.vectors.get(modality)
            if found is not None:
                yield PageVector(0, page.image.document_id, page.page, modality, found)
            elif recorded is not None:
                yield recorded

    def _read_page(self, page: PageRecord) -> ReadPage | None:
        if page.raw is None:
            return None
        made, size = self.texts.get(page.page), self.sizes.get(page.page) or page.image
        if made is None:
            return ReadPage(page.raw.raw_text, _words(page.raw), size.width, size.height)
        return ReadPage(made.text, made.words, size.width, size.height)


def _computed(stage: Stage[Input, Row], inputs: Mapping[int, Input]) -> dict[int, Produced[Row]]:
    """By page. Where the stage breaks off at a page whose damage shows late, the others are computed one by one."""
    pages = list(inputs)
    try:
        return {pages[produced.index]: produced for produced in stage.compute(list(inputs.values()))}
    except DocumentError:
        return {page: _alone(stage, inputs[page]) for page in pages}


def _alone(stage: Stage[Input, Row], page: Input) -> Produced[Row]:
    try:
        (produced,) = stage.compute([page])
    except DocumentError as error:
        return Produced(0, error=error)
    return produced


def _good(made: Made[Row]) -> dict[int, Row]:
    return {page: row for page, row in made.items() if row is not None and not isinstance(row, Exception)}


def _text_of(page: PageRecord, texts: Made[PageText]) -> str | None:
    found = texts.get(page.page)
    if isinstance(found, PageText):
        return found.text
    return page.raw.raw_text if page.raw else None


def _words(raw: RawText) -> tuple[Word, ...]:
    return tuple(Word(*word) for word in raw.words)
