"""Rows that do not agree with each other, and rows in an order in which they can be compared with bytes.

Everything comes in blocks, so that a million documents need no more memory than a thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from dsdc.db.tables import (
    OriginalDocument,
    PredictionBatchItem,
    ProcessedImage,
    RejectedDocument,
    StageAttempt,
)
from dsdc.storage import key_of


@dataclass(frozen=True)
class DocumentBytes:
    """Where a document's bytes are, if its state is `stored`."""

    id: str
    file_path: str
    state: str


@dataclass(frozen=True)
class Hole:
    """A document said to be rendered by a processor, of whose pages some are not there."""

    document_id: str
    processor_id: int
    pages: int
    expected: int | None


@dataclass(frozen=True)
class Underived:
    """Work that is said to be done, without the row that it should have made; `possible` to do again, or not."""

    attempt_id: int
    stage: str
    input_id: str
    document_id: str
    possible: bool


@dataclass(frozen=True)
class Unfinished:
    """A document whose pages could not be had, and that is in the store nevertheless."""

    document_id: str
    category: str
    message: str
    failures: int


_UNSEEN = text("""
    SELECT d.id FROM original_documents d
    WHERE d.id > :after AND NOT EXISTS (SELECT FROM sightings s WHERE s.document_id = d.id)
    ORDER BY d.id LIMIT :limit
""")

# Pages of one processor are distinct and count from 1: as many as the highest number says means none is missing.
_HOLES = text("""
    SELECT a.document_id, a.processor_id, p.pages, d.page_count
    FROM stage_attempts a JOIN original_documents d ON d.id = a.input_id AND d.state = 'stored'
    CROSS JOIN LATERAL (
        SELECT count(*) AS pages, max(page) AS highest FROM processed_images i
        WHERE i.document_id = d.id AND i.processor_id = a.processor_id
    ) p
    WHERE a.id > :after AND a.id <= :upto AND a.stage = 'render' AND a.state = 'done'
      AND a.category IS DISTINCT FROM 'partial' AND p.pages > 0
      AND (p.pages <> p.highest OR p.pages IS DISTINCT FROM d.page_count)
    ORDER BY a.id
""")

# Stage -> the table that its inputs are rows of, their id, the table of its results, the column that names the input.
_STAGES = {
    "render": ("original_documents", "a.input_id", "processed_images", "document_id"),
    "text": ("processed_images", "a.input_id::bigint", "raw_texts", "processed_image_id"),
    "clean": ("raw_texts", "a.input_id::bigint", "processed_texts", "raw_text_id"),
    "embed-image": ("processed_images", "a.input_id::bigint", "embeddings", "processed_image_id"),
    "embed-text": ("processed_texts", "a.input_id::bigint", "embeddings", "processed_text_id"),
}

_UNDERIVED = [
    text(f"""
        SELECT a.id, a.stage, a.input_id, a.document_id,
            d.state = 'stored' AND EXISTS (SELECT FROM {inputs} i WHERE i.id = {input_id}) AS possible
        FROM stage_attempts a JOIN original_documents d ON d.id = a.document_id
        WHERE a.id > :after AND a.id <= :upto AND a.stage = '{stage}' AND a.state = 'done'
          AND NOT EXISTS (SELECT FROM {results} r WHERE r.{of_input} = {input_id} AND r.processor_id = a.processor_id)
        ORDER BY a.id
    """)  # noqa: S608 - constants of this file
    for stage, (inputs, input_id, results, of_input) in _STAGES.items()
]

_UNFINISHED = """
    SELECT DISTINCT ON (d.id) d.id, a.category, a.message, greatest(a.failures, 1) AS failures
    FROM stage_attempts a JOIN original_documents d ON d.id = a.input_id AND d.state = 'stored'
    WHERE a.stage = 'render' AND a.state = 'failed'
"""

_HOMELESS = text("""
    SELECT d.id FROM original_documents d
    WHERE d.state = 'rejected'
      AND NOT EXISTS (SELECT FROM rejected_documents r WHERE r.sha256 = d.id AND r.released IS NULL)
    ORDER BY d.id
""")


class Consistency:
    def __init__(self, session: Session) -> None:
        self._session = session

    def sizes(self) -> tuple[int, int, int]:
        """How many documents, page images by content, and rejections there are."""
        count = select(func.count())
        images = select(func.count(ProcessedImage.image_sha256.distinct()))
        return (
            self._session.scalar(count.select_from(OriginalDocument)) or 0,
            self._session.scalar(images) or 0,
            self._session.scalar(count.select_from(RejectedDocument)) or 0,
        )

    def documents(self, after: str, limit: int) -> list[DocumentBytes]:
        """By id, beginning after `after`."""
        d = OriginalDocument
        query = select(d.id, d.file_path, d.state).where(d.id > after).order_by(d.id).limit(limit)
        return [DocumentBytes(row.id, row.file_path, row.state) for row in self._session.execute(query)]

    def images(self, after: str, limit: int) -> list[tuple[str, str]]:
        """(SHA-256, key) of page images by SHA-256, beginning after `after`; each once, however many pages show it.

        Those that only forgotten documents show are on their way out.
        """
        i, d = ProcessedImage, OriginalDocument
        query = select(i.image_sha256, i.image_file).distinct().join(d, d.id == i.document_id)
        query = query.where(i.image_sha256 > after, d.state != "forgotten")
        rows = self._session.execute(query.order_by(i.image_sha256, i.image_file).limit(limit))
        return [(row.image_sha256, row.image_file) for row in rows]

    def rejections(self, after: int, limit: int) -> Sequence[RejectedDocument]:
        """By id, beginning after `after`; with those that were released."""
        r = RejectedDocument
        return self._session.scalars(select(r).where(r.id > after).order_by(r.id).limit(limit)).all()

    def rejections_of(self, sha256: str) -> Sequence[RejectedDocument]:
        """What is in quarantine with these bytes."""
        r = RejectedDocument
        return self._session.scalars(select(r).where(r.sha256 == sha256, r.released.is_(None)).order_by(r.id)).all()

    def known_rejected(self, names: Collection[str]) -> set[str]:
        """Those names in quarantine that a row tells of, released or not."""
        r = RejectedDocument
        return set(self._session.scalars(select(r.file_path).where(r.file_path.in_(names))))

    def known_keys(self, keys: Collection[str]) -> set[str]:
        """Those keys of the store that a row names."""
        names = [key.rsplit("/", 1)[-1] for key in keys]
        d, i = OriginalDocument, ProcessedImage
        documents = self._session.scalars(select(d.file_path).where(d.id.in_(names)))
        images = self._session.scalars(select(i.image_file).distinct().where(i.image_sha256.in_(names)))
        b = PredictionBatchItem
        uploads = self._session.scalars(select(b.sha256).distinct().where(b.uploaded, b.sha256.in_(names)))
        return set(documents) | set(images) | {key_of("uploads", name) for name in uploads}

    def documents_showing(self, image_sha256: str) -> list[str]:
        """Stored documents one of whose pages is this image."""
        i, d = ProcessedImage, OriginalDocument
        query = select(i.document_id).distinct().join(d, d.id == i.document_id)
        return list(self._session.scalars(query.where(i.image_sha256 == image_sha256, d.state == "stored")))

    def unseen(self, after: str, limit: int) -> list[str]:
        """Documents that no sighting tells of, by id, beginning after `after`."""
        return list(self._session.scalars(_UNSEEN, {"after": after, "limit": limit}))

    def blocks_of_attempts(self, size: int = 50_000) -> Iterator[dict[str, int]]:
        """Ranges of ids of the queue, for `holes` and `underived`."""
        last = self._session.scalar(select(func.max(StageAttempt.id))) or 0
        for start in range(0, last, size):
            yield {"after": start, "upto": start + size}

    def holes(self, block: dict[str, int]) -> list[Hole]:
        """Documents rendered whole by what the queue says, and not by their pages."""
        return [Hole(r.document_id, r.processor_id, r.pages, r.page_count) for r in self._rows(_HOLES, block)]

    def underived(self, block: dict[str, int]) -> list[Underived]:
        """Inputs that are done by what the queue says, and have no row."""
        found = [row for query in _UNDERIVED for row in self._rows(query, block)]
        return [Underived(r.id, r.stage, r.input_id, r.document_id, r.possible) for r in found]

    def unfinished(self, ids: Sequence[str] | None = None) -> list[Unfinished]:
        """Documents in the store that could not be rendered; of all, or of these."""
        only = "" if ids is None else " AND a.document_id = ANY (:ids)"
        query = text(f"{_UNFINISHED}{only} ORDER BY d.id, a.finished DESC")
        rows = self._rows(query, {} if ids is None else {"ids": list(ids)})
        return [Unfinished(r.id, r.category or "error", r.message or "", r.failures) for r in rows]

    def homeless(self) -> list[str]:
        """Rejected documents that quarantine does not tell of."""
        return list(self._session.scalars(_HOMELESS))

    def try_again(self, attempt_ids: Collection[int]) -> None:
        """Let work that left no row be done again."""
        self._session.execute(
            update(StageAttempt)
            .where(StageAttempt.id.in_(attempt_ids), StageAttempt.state == "done")
            .values(
                state="pending",
                attempts=0,
                failures=0,
                crashes=0,
                category=None,
                message="Its result was lost.",
                available=func.clock_timestamp(),
                finished=None,
            )
        )

    def _rows(self, query: Any, parameters: dict[str, Any]) -> Sequence[Any]:
        return self._session.execute(query, parameters).all()
