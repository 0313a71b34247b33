"""One document through all stages at once, in memory: how the prediction service and the evaluation read a file.

The stages are the very ones that the workers run; only where the rows go is different. `Chain.run` computes, and
`keep` stores what came out, exactly as the workers would have, so that nothing is done again later.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument
from dsdc.db.repositories.embeddings import PageVector, Vectors
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.repositories.texts import ProcessedTexts, RawTexts
from dsdc.db.tables import ProcessedImage
from dsdc.errors import CorruptFile, ParserDied, ParserKilled, TooLarge
from dsdc.ml.dataset import Known
from dsdc.pipeline.assembly import Assembly
from dsdc.pipeline.contract import Stage
from dsdc.pipeline.stages.clean_text import TextInput
from dsdc.pipeline.stages.embed import CleanInput, ImageInput
from dsdc.pipeline.stages.render import DocumentInput
from dsdc.pipeline.stages.text import PageInput
from dsdc.pipeline.worker import worker_name
from dsdc.processors.contract import CleanedText, PageText
from dsdc.processors.describe import ReadPage
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.processors.sandbox import crashes
from dsdc.storage import FolderStorage, Storage, Stored

Row = TypeVar("Row")
#: Whether the images of a document's pages tell what is to be known.
Enough = Callable[[Known], bool]


@dataclass(frozen=True)
class Passed:
    """What the stages made of one document; lists run parallel to the pages, None where there is nothing.

    Where the images were enough, nothing was read: `texts`, `cleaned` and `words` are empty. `partial` says which pages
    could not be had.
    """

    source: Stored
    media_type: str
    pages: list[PageRow]
    images: list[Vectors]
    texts: list[PageText] = field(default_factory=list)
    cleaned: list[CleanedText] = field(default_factory=list)
    words: list[Vectors | None] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)
    partial: str | None = None

    def known(self) -> Known:
        """What the head is asked about."""
        pages = [
            ReadPage(text.text, text.words, row.width, row.height)
            for row, text in zip(self.pages if self.texts else (), self.texts, strict=True)
        ]
        return Known(self.vectors(), pages)

    def vectors(self) -> list[PageVector]:
        """As the store would give them; ids are 0, for nothing has been stored."""
        found = []
        for row, image, words in zip(self.pages, self.images, self.words or [None] * len(self.pages), strict=True):
            found.append(PageVector(0, self.source.sha256, row.page, "image", image))
            if words is not None:
                found.append(PageVector(0, self.source.sha256, row.page, "text", words))
        return found


class Chain:
    """The stages over a scratch store."""

    def __init__(self, assembly: Assembly, max_pages: int) -> None:
        self._assembly = assembly
        self._max_pages = max_pages

    @contextmanager
    def run(self, data: bytes, enough: Enough | None = None) -> Iterator[tuple[Passed, Storage]]:
        """Everything about `data`, and the scratch store with its bytes and page images; gone at the end.

        Args:
            enough: asked about the page images alone; where it says so, nothing is read.

        Raises:
            DocumentError: the document cannot be read. StorageError, ModelError: the platform failed.
        """
        media_type = detect(data[:HEAD_BYTES])
        with tempfile.TemporaryDirectory(prefix="dsdc-") as folder:
            scratch = FolderStorage(Path(folder) / "raw", Path(folder) / "processed", durable=False)
            yield self._pass(scratch.put_bytes("raw", data), media_type, scratch, enough), scratch

    def _pass(self, source: Stored, media_type: str, scratch: Storage, enough: Enough | None) -> Passed:
        stages, clock = self._assembly.over(scratch), _Clock()
        with clock.lap("render"):
            pages, partial = self._render(stages, source, media_type)
        inputs = [PageInput(0, source.sha256, source.key, media_type, p.page, p.image_file) for p in pages]
        if enough is not None:
            seen = Passed(source, media_type, pages, _see(stages, pages, clock), timings_ms=clock.laps, partial=partial)
            return seen if enough(seen.known()) else _with_text(seen, stages, _read(stages, inputs, clock), clock)
        # Reading is the children's work: meanwhile this process looks at the images.
        with ThreadPoolExecutor(1, thread_name_prefix="text") as beside:
            reading = beside.submit(_read, stages, inputs, clock)
            images = _see(stages, pages, clock)
            texts = reading.result()
        seen = Passed(source, media_type, pages, images, timings_ms=clock.laps, partial=partial)
        return _with_text(seen, stages, texts, clock)

    def _render(self, stages: Assembly, source: Stored, media_type: str) -> tuple[list[PageRow], str | None]:
        """The pages, and what could not be had."""
        pages: list[PageRow] = []
        partial = None
        for produced in stages.render.compute([DocumentInput(source.sha256, source.key, media_type)]):
            if produced.error is not None:
                raise produced.error
            pages.extend(produced.rows)
            partial = produced.partial
            if len(pages) > self._max_pages:
                raise TooLarge(f"The document has more than {self._max_pages} pages.", hint="Put it into the inbox.")
        if not pages:
            raise CorruptFile
        return pages, partial


def _see(stages: Assembly, pages: Sequence[PageRow], clock: _Clock) -> list[Vectors]:
    with clock.lap("embed_image"):
        return [rows[0] for rows in _rows(stages.embed_image, [ImageInput(0, p.image_file) for p in pages])]


def _read(stages: Assembly, inputs: Sequence[PageInput], clock: _Clock) -> list[PageText]:
    """A page whose process died is read once more, in a fresh one: whose fault it was shows then.

    Raises:
        CrashesParsers: it was the page's. ParserKilled: twice from outside, which is nobody's here.
    """
    found: dict[int, PageText] = {}
    with clock.lap("text"):
        for produced in stages.text.compute(inputs):
            if isinstance(produced.error, ParserDied):
                found[produced.index] = _read_again(stages, inputs[produced.index])
            elif produced.error is not None:
                raise produced.error
            else:
                found[produced.index] = produced.rows[0]
    return [found[index] for index in range(len(inputs))]


def _read_again(stages: Assembly, page: PageInput) -> PageText:
    try:
        return _rows(stages.text, [page])[0][0]
    except ParserKilled:
        raise
    except ParserDied as error:
        raise crashes(page.page, error) from error


def _with_text(seen: Passed, stages: Assembly, texts: list[PageText], clock: _Clock) -> Passed:
    """The same document with what its texts say."""
    with clock.lap("clean"):
        cleaned = [rows[0] for rows in _rows(stages.clean, [TextInput(0, text.text) for text in texts])]
    with clock.lap("embed_text"):
        found = _rows(stages.embed_text, [CleanInput(0, clean.text) for clean in cleaned])
    words = [rows[0] if rows else None for rows in found]
    return replace(seen, texts=texts, cleaned=cleaned, words=words)


def _rows(stage: Stage[Any, Row], inputs: Sequence[Any]) -> list[Sequence[Row]]:
    """Each input's rows, in the order of the inputs; the first error is raised."""
    found: list[Sequence[Row]] = [()] * len(inputs)
    for produced in stage.compute(inputs):
        if produced.error is not None:
            raise produced.error
        found[produced.index] = produced.rows
    return found


class _Clock:
    """Milliseconds by what was done; what is done side by side counts in full for each."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.laps[name] = round((time.perf_counter() - begun) * 1000, 2)


def store_bytes(passed: Passed, scratch: Storage, storage: Storage) -> None:
    """Copy the document and its page images into the store; durable before any row tells of them."""
    for area, key in [("raw", passed.source.key), *(("processed", page.image_file) for page in passed.pages)]:
        if not storage.exists(key):
            storage.put_bytes("raw" if area == "raw" else "processed", scratch.read(key))


def keep(session: Session, assembly: Assembly, passed: Passed, arrival: Arrival) -> None:
    """Record the document and every derived row, as the stages would have; what is there already stays."""
    document_id = passed.source.sha256
    documents = Documents(session)
    new = NewDocument(document_id, passed.source.key, arrival.name, passed.media_type, passed.source.size)
    if not documents.add([new]):
        documents.revive([new])
    documents.sight([arrival])
    assembly.render.record(session, DocumentInput(document_id, passed.source.key, passed.media_type), passed.pages)
    images = ProcessedImages(session).of_document(document_id, assembly.versions.render)
    for image, vector in zip(images, passed.images, strict=True):
        assembly.embed_image.record(session, ImageInput(image.id, image.image_file), [vector])
    image_ids = [image.id for image in images]
    texts = _keep_texts(session, assembly, passed, images) if passed.texts else _TextIds()
    _note_done(session, assembly, passed, image_ids, texts)


@dataclass(frozen=True)
class _TextIds:
    """Rows of raw texts, and of cleaned ones: those that have a vector, and those of blank pages."""

    raw: Sequence[int] = ()
    worded: Sequence[int] = ()
    blank: Sequence[int] = ()


def _keep_texts(session: Session, assembly: Assembly, passed: Passed, images: Sequence[ProcessedImage]) -> _TextIds:
    for image, text in zip(images, passed.texts, strict=True):
        page = PageInput(
            image.id, passed.source.sha256, passed.source.key, passed.media_type, image.page, image.image_file
        )
        assembly.text.record(session, page, [text])
    raw = RawTexts(session).of_images([image.id for image in images], assembly.versions.text)
    for image, cleaned in zip(images, passed.cleaned, strict=True):
        assembly.clean.record(session, TextInput(raw[image.id].id, raw[image.id].raw_text), [cleaned])
    clean = ProcessedTexts(session).of_raw_texts([r.id for r in raw.values()], assembly.versions.clean)
    worded: list[int] = []
    blank: list[int] = []
    for image, words in zip(images, passed.words, strict=True):
        row = clean[raw[image.id].id]
        if words is not None:
            assembly.embed_text.record(session, CleanInput(row.id, row.processed_text), [words])
        (blank if words is None else worded).append(row.id)
    return _TextIds([r.id for r in raw.values()], worded, blank)


def _note_done(session: Session, assembly: Assembly, passed: Passed, image_ids: Sequence[int], texts: _TextIds) -> None:
    """No worker has to meet these inputs again; where nothing was read, the pages wait for the stage that reads."""
    queue, worker, document_id = StageAttempts(session), worker_name(), passed.source.sha256
    render = assembly.render
    queue.record_done(
        render.name, render.processor_id, [(document_id, document_id)], worker=worker, partial=passed.partial
    )
    done: list[tuple[Stage[Any, Any], Sequence[int], bool]] = [
        (assembly.text, image_ids if passed.texts else (), False),
        (assembly.clean, texts.raw, False),
        (assembly.embed_image, image_ids, False),
        (assembly.embed_text, texts.worded, False),
        (assembly.embed_text, texts.blank, True),
    ]
    for stage, ids, skipped in done:
        inputs = [(str(i), document_id) for i in ids]
        queue.record_done(stage.name, stage.processor_id, inputs, worker=worker, skipped=skipped)
