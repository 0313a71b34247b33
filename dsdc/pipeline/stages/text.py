"""Page images -> text as it was read, from the text layer or by OCR."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.texts import RawTextRow, RawTexts
from dsdc.db.tables import OriginalDocument, ProcessedImage
from dsdc.errors import BytesMissing
from dsdc.pipeline.contract import Produced, Stage
from dsdc.processors.contract import PageSource, PageText, TextReader
from dsdc.storage import Storage


@dataclass(frozen=True)
class PageInput:
    """One page: its document's bytes and its image. `id` is that of the image's row, 0 where nothing is stored."""

    id: int
    document_id: str
    file_path: str
    media_type: str
    page: int
    image_file: str


class TextStage(Stage[PageInput, PageText]):
    name = "text"

    def __init__(self, reader: TextReader, processor_id: int, renderer_id: int, storage: Storage) -> None:
        super().__init__(reader, processor_id)
        self._reader = reader
        self._renderer_id = renderer_id
        self._storage = storage

    def inputs(self) -> Select[str, str]:
        return ProcessedImages.made_by(self._renderer_id)

    def load(self, session: Session, input_ids: Sequence[str]) -> list[PageInput]:
        images = ProcessedImages(session).many([int(i) for i in input_ids])
        documents = Documents(session).many({image.document_id for image in images.values()})
        return [self._input(images[int(i)], documents) for i in input_ids]

    @staticmethod
    def _input(image: ProcessedImage, documents: dict[str, OriginalDocument]) -> PageInput:
        document = documents[image.document_id]
        return PageInput(image.id, document.id, document.file_path, document.media_type, image.page, image.image_file)

    def compute(self, inputs: Sequence[PageInput]) -> Generator[Produced[PageText], None, None]:
        with ExitStack() as files:
            opened: dict[str, Path] = {}
            sources: dict[int, PageSource] = {}
            for index, page in enumerate(inputs):
                try:
                    sources[index] = self._open(page, files, opened)
                except BytesMissing as error:
                    yield Produced(index, error=error)
            results = self._reader.read(list(sources.values()))
            for index, result in zip(sources, results, strict=True):
                if isinstance(result, Exception):
                    yield Produced(index, error=result)
                else:
                    yield Produced(index, (result,))

    def _open(self, page: PageInput, files: ExitStack, opened: dict[str, Path]) -> PageSource:
        for key in (page.file_path, page.image_file):
            if key not in opened:
                opened[key] = files.enter_context(self._storage.local(key))
        return PageSource(opened[page.file_path], page.media_type, page.page, opened[page.image_file])

    def record(self, session: Session, source: PageInput, rows: Sequence[PageText]) -> None:
        RawTexts(session).add(self.processor_id, [_row(source, text) for text in rows])


def _row(source: PageInput, text: PageText) -> RawTextRow:
    return RawTextRow(
        document_id=source.document_id,
        page=source.page,
        processed_image_id=source.id,
        raw_text=text.text,
        extraction=text.extraction,
        confidence=text.confidence,
        words=[astuple(word) for word in text.words],
        notes=dict(text.notes),
    )
