"""Documents -> page images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.errors import BytesMissing, DocumentError
from dsdc.pipeline.contract import Produced, Stage
from dsdc.processors.contract import RenderedPage, Renderer
from dsdc.processors.render import encode
from dsdc.storage import Storage

PIECE = 16  # pages recorded at once: a long document's progress survives an interruption


@dataclass(frozen=True)
class DocumentInput:
    """A stored document; pages up to `done` are recorded already."""

    id: str
    file_path: str
    media_type: str
    done: int = 0


class RenderStage(Stage[DocumentInput, PageRow]):
    name = "render"

    def __init__(self, renderer: Renderer, processor_id: int, storage: Storage) -> None:
        super().__init__(renderer, processor_id)
        self._renderer = renderer
        self._storage = storage

    def inputs(self) -> Select[str, str]:
        return ProcessedImages.documents_to_render()

    def load(self, session: Session, input_ids: Sequence[str]) -> list[DocumentInput]:
        documents, pages = Documents(session).many(input_ids), ProcessedImages(session)
        return [
            DocumentInput(d.id, d.file_path, d.media_type, pages.last_page(d.id, self.processor_id))
            for d in (documents[i] for i in input_ids)
        ]

    def compute(self, inputs: Sequence[DocumentInput]) -> Iterator[Produced[PageRow]]:
        for index, document in enumerate(inputs):
            try:
                yield from self._pages(index, document)
            except (DocumentError, BytesMissing, OSError, MemoryError) as error:
                yield Produced(index, error=error)

    def _pages(self, index: int, document: DocumentInput) -> Iterator[Produced[PageRow]]:
        piece: list[PageRow] = []
        with self._storage.local(document.file_path) as path:
            for page in self._renderer.pages(path, document.media_type, first=document.done + 1):
                piece.append(self._store(page))
                if len(piece) == PIECE:
                    yield Produced(index, tuple(piece), last=False)
                    piece = []
        yield Produced(index, tuple(piece))

    def _store(self, page: RenderedPage) -> PageRow:
        stored = self._storage.put_bytes("processed", encode(page.image, page.dpi))
        width, height = page.image.size
        return PageRow(page.page, stored.key, stored.sha256, stored.size, width, height, page.image.mode, page.dpi)

    def record(self, session: Session, source: DocumentInput, rows: Sequence[PageRow]) -> None:
        ProcessedImages(session).add(source.id, self.processor_id, rows)
        if rows:
            Documents(session).set_page_count(source.id, max(row.page for row in rows))
