"""Page images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Select, String, cast, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import OriginalDocument, ProcessedImage


@dataclass(frozen=True)
class PageRow:
    """One rendered page whose pixels lie in the store under `image_file`."""

    page: int
    image_file: str
    image_sha256: str
    byte_size: int
    width: int
    height: int
    mode: str
    dpi: int | None
    dhash: int | None = None


class ProcessedImages:
    def __init__(self, session: Session) -> None:
        self._session = session

    @staticmethod
    def documents_to_render() -> Select[str, str]:
        """Inputs of the render stage: every stored document."""
        return select(OriginalDocument.id, OriginalDocument.id).where(OriginalDocument.state == "stored")

    @staticmethod
    def made_by(processor_id: int) -> Select[str, str]:
        """Inputs of what follows: the pages that this renderer made of documents still in the store."""
        return (
            select(cast(ProcessedImage.id, String), ProcessedImage.document_id)
            .join(OriginalDocument, OriginalDocument.id == ProcessedImage.document_id)
            .where(ProcessedImage.processor_id == processor_id, OriginalDocument.state == "stored")
        )

    def hold(self, sha256s: Collection[str], *, alone: bool = False) -> None:
        """Until the transaction ends, nobody removes the bytes of these page images.

        With `alone`, nobody records pages that show them either: for whoever removes them. Whoever records pages looks
        afterwards whether the bytes are there.
        """
        lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        self._session.execute(
            text(f"""
                SELECT {lock}(hashtext('dsdc.page'), one)
                FROM (SELECT DISTINCT hashtext(h) AS one FROM unnest(CAST(:all AS text[])) AS h ORDER BY one) AS held
            """),  # noqa: S608 - one of two words above
            {"all": list(sha256s)},
        )

    def add(self, document_id: str, processor_id: int, rows: Sequence[PageRow]) -> None:
        """Record pages; those that are there already stay as they are."""
        if rows:
            values = [asdict(r) | {"document_id": document_id, "processor_id": processor_id} for r in rows]
            self._session.execute(insert(ProcessedImage).values(values).on_conflict_do_nothing())

    def many(self, ids: Sequence[int]) -> dict[int, ProcessedImage]:
        found = self._session.scalars(select(ProcessedImage).where(ProcessedImage.id.in_(ids)))
        return {row.id: row for row in found}

    def of_document(self, document_id: str, processor_id: int) -> Sequence[ProcessedImage]:
        """The document's pages as this renderer made them, in order."""
        return self._session.scalars(
            select(ProcessedImage)
            .where(ProcessedImage.document_id == document_id, ProcessedImage.processor_id == processor_id)
            .order_by(ProcessedImage.page)
        ).all()

    def first_page_hashes(self, document_ids: Sequence[str], processor_id: int) -> dict[str, int]:
        """Difference hash of each document's first page as this renderer made it, where there is one."""
        query = text(
            "SELECT document_id, dhash FROM processed_images WHERE document_id = ANY (:ids)"
            " AND processor_id = :processor AND page = 1 AND dhash IS NOT NULL"
        )
        rows = self._session.execute(query, {"ids": list(document_ids), "processor": processor_id})
        return {row.document_id: row.dhash for row in rows}

    def keys(self) -> set[str]:
        """Keys of all page images."""
        return set(self._session.scalars(select(ProcessedImage.image_file).distinct()))

    def count(self, document_id: str, processor_id: int) -> int:
        """How many of the document's pages this renderer recorded."""
        return (
            self._session.scalar(
                select(func.count()).where(
                    ProcessedImage.document_id == document_id, ProcessedImage.processor_id == processor_id
                )
            )
            or 0
        )

    def last_page(self, document_id: str, processor_id: int) -> int:
        """The highest page recorded; 0 for none. Rendering resumes after it."""
        return (
            self._session.scalar(
                select(func.max(ProcessedImage.page)).where(
                    ProcessedImage.document_id == document_id, ProcessedImage.processor_id == processor_id
                )
            )
            or 0
        )
