"""Documents -> page images."""

from __future__ import annotations

import queue
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.consistency import Consistency
from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, DocumentError
from dsdc.pipeline.contract import Produced, Stage
from dsdc.processors.contract import DamagedPage, EncodedPage, Renderer
from dsdc.storage import Storage

PIECE = 16  # pages recorded at once: a long document's progress survives an interruption


@dataclass(frozen=True)
class DocumentInput:
    """A stored document; of its pages up to `done`, `kept` are recorded already and the others are damaged."""

    id: str
    file_path: str
    media_type: str
    done: int = 0
    kept: int = 0


class RenderStage(Stage[DocumentInput, PageRow]):
    name = "render"

    def __init__(self, renderer: Renderer, processor_id: int, storage: Storage, *, at_once: int = 1) -> None:
        super().__init__(renderer, processor_id)
        self._renderer = renderer
        self._storage = storage
        self._at_once = at_once

    def inputs(self) -> Select[str, str]:
        return ProcessedImages.documents_to_render()

    def load(self, session: Session, input_ids: Sequence[str]) -> list[DocumentInput]:
        documents, pages = Documents(session).many(input_ids), ProcessedImages(session)
        return [
            DocumentInput(
                d.id,
                d.file_path,
                d.media_type,
                done=pages.last_page(d.id, self.processor_id),
                kept=pages.count(d.id, self.processor_id),
            )
            for d in (documents[i] for i in input_ids)
        ]

    def compute(self, inputs: Sequence[DocumentInput]) -> Generator[Produced[PageRow], None, None]:
        """Several documents at once; of each, pieces in the order of its pages."""
        if self._at_once == 1 or len(inputs) == 1:
            for index, document in enumerate(inputs):
                yield from self._document(index, document)
            return
        yield from self._together(inputs)

    def _together(self, inputs: Sequence[DocumentInput]) -> Generator[Produced[PageRow], None, None]:
        # Short, so that a long document's pages wait in their parser and not here.
        ready: queue.Queue[Produced[PageRow]] = queue.Queue(maxsize=2 * self._at_once)
        stop = False

        def work(index: int, document: DocumentInput) -> None:
            for produced in self._document(index, document):
                ready.put(produced)
                if stop:
                    return

        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="render")
        tasks = [pool.submit(work, index, document) for index, document in enumerate(inputs)]
        try:
            open_inputs = len(inputs)
            while open_inputs:
                produced = ready.get()
                open_inputs -= produced.last or produced.error is not None
                yield produced
        finally:
            stop = True
            _abandon(pool, tasks, ready)

    def _document(self, index: int, document: DocumentInput) -> Iterator[Produced[PageRow]]:
        try:
            yield from self._pages(index, document)
        except Exception as error:  # noqa: BLE001 - whatever an engine may raise concerns this document alone
            yield Produced(index, error=error)

    def _pages(self, index: int, document: DocumentInput) -> Iterator[Produced[PageRow]]:
        piece: list[PageRow] = []
        losses = _Losses(document)
        with self._storage.local(document.file_path) as path:
            for page in losses.sift(self._renderer.pages(path, document.media_type, first=document.done + 1)):
                piece.append(store_page(self._storage, page))
                if len(piece) == PIECE:
                    yield Produced(index, tuple(piece), last=False)
                    piece = []
        yield Produced(index, tuple(piece), partial=losses.summary())

    def record(self, session: Session, source: DocumentInput, rows: Sequence[PageRow]) -> None:
        self.record_pages(session, source, rows)
        if rows:
            Documents(session).set_page_count(source.id, max(row.page for row in rows))

    def lost(self, source: DocumentInput, rows: Sequence[PageRow]) -> None:
        with transaction() as session:
            if not Documents(session).forgotten([source.id]):
                return
            ProcessedImages(session).hold([row.image_sha256 for row in rows], alone=True)
            keys = {row.image_file for row in rows}
            for key in keys - Consistency(session).known_keys(keys):
                self._storage.delete(key)

    def record_pages(self, session: Session, source: DocumentInput, rows: Sequence[PageRow]) -> None:
        """The pages alone: how many a document has is said by the version in use."""
        images = ProcessedImages(session)
        images.hold([row.image_sha256 for row in rows])
        self._check_presence(rows)
        images.add(source.id, self.processor_id, rows)

    def _check_presence(self, rows: Sequence[PageRow]) -> None:
        """Forgetting another document that shows the same page may have removed it; from here on it cannot."""
        for row in rows:
            if not self._storage.exists(row.image_file):
                raise BytesMissing(f"{row.image_file} was removed just now.", hint="Run the stage again.")


def store_page(storage: Storage, page: EncodedPage) -> PageRow:
    """Put a page's image into the store; gives the row that tells of it."""
    stored = storage.put_bytes("processed", page.data)
    return PageRow(
        page=page.page,
        image_file=stored.key,
        image_sha256=stored.sha256,
        byte_size=stored.size,
        width=page.width,
        height=page.height,
        mode=page.mode,
        dpi=page.dpi,
        dhash=page.dhash,
    )


def _abandon(pool: ThreadPoolExecutor, tasks: Sequence[Future[None]], ready: queue.Queue[Produced[PageRow]]) -> None:
    """End the pool; what its threads still want to say is taken and dropped, so that none of them waits for ever."""
    for task in tasks:
        task.cancel()
    while not all(task.done() for task in tasks):
        with suppress(queue.Empty):
            ready.get(timeout=0.05)
    pool.shutdown()


class _Losses:
    """What of a document could not be had. Where that is everything, the first reason is raised."""

    def __init__(self, document: DocumentInput) -> None:
        self._last = document.done
        self._any_good = document.kept > 0
        self._before = document.done - document.kept
        self._damaged: list[int] = []
        self._reason: DocumentError | None = None
        self._cut = False

    def sift(self, pages: Iterator[EncodedPage | DamagedPage]) -> Iterator[EncodedPage]:
        """The good ones."""
        try:
            for page in pages:
                if isinstance(page, EncodedPage):
                    self._any_good = True
                    self._last = page.page
                    yield page
                else:
                    self._damaged.append(page.page)
                    self._reason = self._reason or page.error
        except DocumentError as error:
            self._reason, self._cut = self._reason or error, True
        if self._reason is not None and not self._any_good:
            raise self._reason

    def summary(self) -> str | None:
        """In words; None where nothing was lost. The first reason stands for all."""
        lost = []
        if self._before:
            lost.append(f"{self._before} of the first pages")
        if self._damaged:
            lost.append(f"page {', '.join(_ranges(self._damaged))}")
        if self._cut:
            lost.append(f"what follows page {self._last}")
        if not lost:
            return None
        return f"Without {' and '.join(lost)}{f': {self._reason}' if self._reason else '.'}"


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """1, 2, 3, 7 -> "1-3", "7"."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        pages = [page for _, page in run]
        yield str(pages[0]) if len(pages) == 1 else f"{pages[0]}-{pages[-1]}"
