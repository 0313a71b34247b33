"""Text as read and as cleaned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, String, any_, cast, select
from sqlalchemy.dialects.postgresql import array, insert
from sqlalchemy.orm import Session

from dsdc.db.tables import OriginalDocument, ProcessedImage, ProcessedText, RawText


@dataclass(frozen=True)
class RawTextRow:
    """Text read from one page image; `words` are [text, left, top, width, height, confidence]."""

    document_id: str
    page: int
    processed_image_id: int
    raw_text: str
    extraction: str
    confidence: float | None
    words: Sequence[Sequence[Any]] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PageRead:
    """A page as it was read, and the size in pixels of the image that it was read from."""

    document_id: str
    page: int
    raw_text: str
    words: Sequence[Sequence[Any]]
    width: int
    height: int


class RawTexts:
    def __init__(self, session: Session) -> None:
        self._session = session

    @staticmethod
    def made_by(processor_id: int) -> Select[str, str]:
        return (
            select(cast(RawText.id, String), RawText.document_id)
            .join(OriginalDocument, OriginalDocument.id == RawText.document_id)
            .where(RawText.processor_id == processor_id, OriginalDocument.state == "stored")
        )

    def add(self, processor_id: int, rows: Sequence[RawTextRow]) -> None:
        if rows:
            values = [asdict(r) | {"processor_id": processor_id} for r in rows]
            self._session.execute(insert(RawText).values(values).on_conflict_do_nothing())

    def many(self, ids: Sequence[int]) -> dict[int, RawText]:
        return {row.id: row for row in self._session.scalars(select(RawText).where(RawText.id.in_(ids)))}

    def of_images(self, image_ids: Sequence[int], processor_id: int) -> dict[int, RawText]:
        """By page image."""
        found = self._session.scalars(
            select(RawText).where(RawText.processed_image_id.in_(image_ids), RawText.processor_id == processor_id)
        )
        return {row.processed_image_id: row for row in found}

    def of_documents(
        self, document_ids: Sequence[str], *, render: int, text: int, until: datetime | None = None
    ) -> Iterator[PageRead]:
        """Every page of these documents as these versions read it, ordered by document and page.

        Args:
            until: only what had been read by then.
        """
        query = (
            select(
                RawText.document_id,
                RawText.page,
                RawText.raw_text,
                RawText.words,
                ProcessedImage.width,
                ProcessedImage.height,
            )
            .join(ProcessedImage, ProcessedImage.id == RawText.processed_image_id)
            .where(
                RawText.document_id == any_(array(document_ids, type_=String)),
                RawText.processor_id == text,
                ProcessedImage.processor_id == render,
            )
            .order_by(RawText.document_id, RawText.page)
        )
        if until is not None:
            query = query.where(RawText.created <= until)
        for row in self._session.execute(query, execution_options={"yield_per": 500}):
            yield PageRead(*row)


@dataclass(frozen=True)
class CleanTextRow:
    raw_text_id: int
    processed_text: str
    changes: Mapping[str, int] = field(default_factory=dict)


class ProcessedTexts:
    def __init__(self, session: Session) -> None:
        self._session = session

    @staticmethod
    def made_by(processor_id: int) -> Select[str, str]:
        return (
            select(cast(ProcessedText.id, String), RawText.document_id)
            .join(RawText, RawText.id == ProcessedText.raw_text_id)
            .join(OriginalDocument, OriginalDocument.id == RawText.document_id)
            .where(ProcessedText.processor_id == processor_id, OriginalDocument.state == "stored")
        )

    def add(self, processor_id: int, rows: Sequence[CleanTextRow]) -> None:
        if rows:
            values = [asdict(r) | {"processor_id": processor_id} for r in rows]
            self._session.execute(insert(ProcessedText).values(values).on_conflict_do_nothing())

    def many(self, ids: Sequence[int]) -> dict[int, ProcessedText]:
        found = self._session.scalars(select(ProcessedText).where(ProcessedText.id.in_(ids)))
        return {row.id: row for row in found}

    def of_documents(
        self, document_ids: Sequence[str], *, render: int, text: int, clean: int
    ) -> dict[tuple[str, int], str]:
        """The cleaned text by document and page, as these versions made it."""
        rows = self._session.execute(
            select(RawText.document_id, RawText.page, ProcessedText.processed_text)
            .join(RawText, RawText.id == ProcessedText.raw_text_id)
            .join(ProcessedImage, ProcessedImage.id == RawText.processed_image_id)
            .where(
                RawText.document_id.in_(document_ids),
                ProcessedImage.processor_id == render,
                RawText.processor_id == text,
                ProcessedText.processor_id == clean,
            )
            .order_by(RawText.document_id, RawText.page)
        )
        return {(document_id, page): cleaned for document_id, page, cleaned in rows}

    def of_raw_texts(self, raw_text_ids: Sequence[int], processor_id: int) -> dict[int, ProcessedText]:
        """By raw text."""
        found = self._session.scalars(
            select(ProcessedText).where(
                ProcessedText.raw_text_id.in_(raw_text_ids), ProcessedText.processor_id == processor_id
            )
        )
        return {row.raw_text_id: row for row in found}
