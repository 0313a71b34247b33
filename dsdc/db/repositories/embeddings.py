"""CLIP vectors, by page and by nearness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import Embedding

Vectors = npt.NDArray[np.float32]
Modality = Literal["image", "text"]


@dataclass(frozen=True)
class VectorRow:
    """A vector of one page image or of one page text; exactly one of the two ids is given.

    `width` is the model's: the table refuses a vector of another one.
    """

    embedding: Vectors
    clip_version: str
    width: int
    processed_image_id: int | None = None
    processed_text_id: int | None = None


@dataclass(frozen=True)
class PageVector:
    """A stored vector, with the page it belongs to."""

    id: int
    document_id: str
    page: int
    modality: Modality
    vector: Vectors


@dataclass(frozen=True)
class Versions:
    """Processor ids of the four processors whose rows belong together."""

    render: int
    text: int
    clean: int
    embed: int


_IMAGE_PAGES = """
    SELECT e.id, i.document_id, i.page, 'image' AS modality, e.embedding, e.created
    FROM embeddings e JOIN processed_images i ON i.id = e.processed_image_id
    WHERE e.processor_id = :embed AND i.processor_id = :render
"""
_TEXT_PAGES = """
    SELECT e.id, t.document_id, t.page, 'text' AS modality, e.embedding, e.created
    FROM embeddings e
    JOIN processed_texts c ON c.id = e.processed_text_id
    JOIN raw_texts t ON t.id = c.raw_text_id
    JOIN processed_images i ON i.id = t.processed_image_id
    WHERE e.processor_id = :embed AND c.processor_id = :clean AND t.processor_id = :text AND i.processor_id = :render
"""

_EMBEDDED = """
    SELECT d.id FROM original_documents d WHERE d.state = 'stored' AND EXISTS (
        SELECT 1 FROM processed_images i JOIN embeddings e ON e.processed_image_id = i.id AND e.processor_id = :embed
        WHERE i.document_id = d.id AND i.processor_id = :render)
"""


class Embeddings:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, processor_id: int, rows: Sequence[VectorRow]) -> None:
        if not rows:
            return
        values = [
            {
                "processed_image_id": r.processed_image_id,
                "processed_text_id": r.processed_text_id,
                "clip_version": r.clip_version,
                "width": r.width,
                "embedding": r.embedding,
                "processor_id": processor_id,
            }
            for r in rows
        ]
        self._session.execute(insert(Embedding).on_conflict_do_nothing(), values)

    def of_documents(
        self, document_ids: Sequence[str], versions: Versions, *, until: datetime | None = None
    ) -> list[PageVector]:
        """All page vectors of these documents that these processor versions made, ordered by document and page.

        Args:
            until: only those that were there by then.
        """
        query = text(
            f"SELECT * FROM ({_IMAGE_PAGES} UNION ALL {_TEXT_PAGES}) v "  # noqa: S608 - constants of this file
            "WHERE document_id = ANY (:ids) AND (CAST(:until AS timestamptz) IS NULL OR created <= :until)"
            " ORDER BY document_id, page, modality"
        )
        rows = self._session.execute(query, _ids(versions) | {"ids": list(document_ids), "until": until})
        return [PageVector(r.id, r.document_id, r.page, r.modality, as_vector(r.embedding)) for r in rows]

    def width(self, processor_id: int) -> int:
        """Of this embedder's vectors; 1 where it has made none, for no width is less."""
        query = text("SELECT width FROM embeddings WHERE processor_id = :id LIMIT 1")
        return self._session.scalar(query, {"id": processor_id}) or 1

    def embedded(self, versions: Versions, *, after: str = "", limit: int) -> list[str]:
        """The next stored documents with embeddings of these versions, by id, which is a hash: any run is a sample."""
        query = text(f"{_EMBEDDED} AND d.id > :after ORDER BY d.id LIMIT :limit")
        return list(self._session.scalars(query, _ids(versions) | {"after": after, "limit": limit}))

    def drawn(self, versions: Versions, *, limit: int, seed: int) -> list[str]:
        """A sample of them without repetition; equal seeds draw equal documents from equal stores."""
        query = text(f"{_EMBEDDED} ORDER BY md5(CAST(:seed AS text) || d.id) LIMIT :limit")
        return list(self._session.scalars(query, _ids(versions) | {"seed": str(seed), "limit": limit}))

    def count_embedded(self, versions: Versions) -> int:
        """How many they are."""
        query = text(f"SELECT count(*) FROM ({_EMBEDDED}) AS found")  # noqa: S608 - constants of this file
        return int(self._session.execute(query, _ids(versions)).scalar_one())

    def complete(self, document_id: str, versions: Versions) -> bool:
        """Whether every page of a stored document that can be had went through all stages in these versions."""
        return document_id in self.all_complete([document_id], versions)

    def all_complete(self, document_ids: Sequence[str], versions: Versions) -> set[str]:
        """Those of these documents that `complete` is true of."""
        # Document by document: joining many at once took 10 s for 64 where the tables had no statistics yet.
        query = text("""
            SELECT d.id
            FROM unnest(CAST(:ids AS text[])) AS wanted(id)
            JOIN original_documents d ON d.id = wanted.id AND d.state = 'stored'
            CROSS JOIN LATERAL (
                SELECT r.category FROM stage_attempts r
                WHERE r.stage = 'render' AND r.processor_id = :render AND r.input_id = d.id AND r.state = 'done'
            ) AS rendered
            CROSS JOIN LATERAL (
                SELECT count(i.id) AS pages, count(e.id) AS seen, bool_and(a.id IS NOT NULL) AS read
                FROM processed_images i
                LEFT JOIN embeddings e ON e.processed_image_id = i.id AND e.processor_id = :embed
                LEFT JOIN raw_texts t ON t.processed_image_id = i.id AND t.processor_id = :text
                LEFT JOIN processed_texts c ON c.raw_text_id = t.id AND c.processor_id = :clean
                LEFT JOIN LATERAL (
                    SELECT f.id FROM stage_attempts f
                    WHERE f.stage = 'embed-text' AND f.processor_id = :embed AND f.input_id = c.id::text
                      AND f.state IN ('done', 'skipped')
                    OFFSET 0
                ) AS a ON true
                WHERE i.document_id = d.id AND i.processor_id = :render
            ) AS made
            WHERE made.pages > 0 AND made.pages = made.seen AND made.read
              AND (d.page_count = made.pages OR rendered.category = 'partial')
        """)
        return set(self._session.scalars(query, _ids(versions) | {"ids": list(document_ids)}))


def _ids(versions: Versions) -> dict[str, Any]:
    return {"render": versions.render, "text": versions.text, "clean": versions.clean, "embed": versions.embed}


def as_vector(value: Any) -> Vectors:
    """float32 array, from an array of the registered driver type or from PostgreSQL's text form."""
    if isinstance(value, str):
        return np.fromstring(value[1:-1], sep=",", dtype=np.float32)
    return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, dtype=np.float32)
