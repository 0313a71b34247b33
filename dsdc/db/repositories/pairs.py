"""Pages as pairs of image and text, to adapt a CLIP on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dsdc.db.repositories.embeddings import Vectors, Versions, as_vector
from dsdc.db.tables import Embedding, ProcessedText


@dataclass(frozen=True)
class PairRow:
    """A page image in the store, and the cleaned text of the same page."""

    document_id: str
    page: int
    image_file: str
    image_sha256: str
    text_id: int
    text_sha256: str


# Whole documents in an order that the seed fixes, so that a limit takes the same ones again, whatever has been added
# to other documents since.
_PAIRS = text("""
    SELECT document_id, page, image_file, image_sha256, text_id, text_sha256 FROM (
        SELECT DISTINCT ON (text_sha256) * FROM (
            SELECT DISTINCT ON (i.image_sha256) i.document_id, i.page, i.image_file, i.image_sha256, c.id AS text_id,
                encode(sha256(convert_to(c.processed_text, 'UTF8')), 'hex') AS text_sha256
            FROM processed_images i
            JOIN original_documents d ON d.id = i.document_id AND d.state = 'stored'
            JOIN raw_texts t ON t.processed_image_id = i.id AND t.processor_id = :text
            JOIN processed_texts c ON c.raw_text_id = t.id AND c.processor_id = :clean
            WHERE i.processor_id = :render AND length(btrim(c.processed_text)) >= :least
            ORDER BY i.image_sha256, i.document_id, i.page
        ) AS images ORDER BY text_sha256, document_id, page
    ) AS pairs
    ORDER BY md5(CAST(:seed AS text) || document_id), document_id, page LIMIT :limit
""")


class Pairs:
    def __init__(self, session: Session) -> None:
        self._session = session

    def distinct(self, versions: Versions, *, least_characters: int, limit: int, seed: int) -> list[PairRow]:
        """Pages with at least so much text; of equal images, and of equal texts, one.

        Nearly blank pages say nothing about each other, and a page that is there twice would have to be told from
        itself.
        """
        rows = self._session.execute(
            _PAIRS,
            {
                "render": versions.render,
                "text": versions.text,
                "clean": versions.clean,
                "least": least_characters,
                "seed": str(seed),
                "limit": limit,
            },
        )
        return [PairRow(*row) for row in rows]

    def text_vectors(self, text_ids: Sequence[int], embed: int) -> dict[int, Vectors]:
        """By text, of those that this embedder has embedded."""
        rows = self._session.execute(
            select(Embedding.processed_text_id, Embedding.embedding).where(
                Embedding.processed_text_id.in_(text_ids), Embedding.processor_id == embed
            )
        )
        return {int(text_id): as_vector(vector) for text_id, vector in rows if text_id is not None}

    def texts(self, text_ids: Sequence[int]) -> dict[int, str]:
        """By text."""
        rows = self._session.execute(
            select(ProcessedText.id, ProcessedText.processed_text).where(ProcessedText.id.in_(text_ids))
        )
        return {int(row.id): str(row.processed_text) for row in rows}
