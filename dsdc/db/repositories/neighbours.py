"""Labelled documents near a page, by their CLIP vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from dsdc.db.repositories.embeddings import Embeddings, Vectors, Versions

_PAGES_A_DOCUMENT = 10  # looked at first, for each document that is wanted
_MORE = 4  # times as many pages with each further look


@dataclass(frozen=True)
class Neighbour:
    """A labelled document near a query: cosine similarity, mean over the modalities that both have."""

    document_id: str
    label: str
    label_source: str
    author: str
    similarity: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "document_id": self.document_id,
            "label": self.label,
            "label_source": self.label_source,
            "author": self.author,
            "similarity": round(self.similarity, 4),
        }


# How near each document of `near` is to the query: the nearest of its pages, by image and by text.
_SCORES = """
        SELECT document_id, (coalesce(image, words) + coalesce(words, image)) / 2 AS similarity
        FROM (SELECT n.document_id,
            (SELECT max(1 - (e.embedding::vector({width}) <=> CAST(:image AS vector({width}))))
             FROM processed_images i JOIN embeddings e ON e.processed_image_id = i.id
             WHERE i.document_id = n.document_id AND e.processor_id = {embed} AND CAST(:has_image AS boolean)
               {by_then}) AS image,
            (SELECT max(1 - (e.embedding::vector({width}) <=> CAST(:text AS vector({width}))))
             FROM raw_texts t JOIN processed_texts c ON c.raw_text_id = t.id
             JOIN embeddings e ON e.processed_text_id = c.id
             WHERE t.document_id = n.document_id AND e.processor_id = {embed} AND CAST(:has_text AS boolean)
               {by_then}) AS words
            FROM near n) each_way
"""

# Documents of the view current_labels. To join the view itself is to sort all labels first, and then no index is used.
_LABELLED = """
            SELECT document_id FROM labels
            WHERE taxonomy = :taxonomy AND superseded_by IS NULL AND source IN ('human', 'import')
"""

# The width and the processor are written into the statement: only then does it match the model's partial index.
# `pages` tells whether there may be more of them than were looked at.
_NEAREST = """
    WITH images AS (
        SELECT i.document_id FROM embeddings e JOIN processed_images i ON i.id = e.processed_image_id
        JOIN original_documents d ON d.id = i.document_id AND d.state = 'stored'
        WHERE e.processor_id = {embed} AND e.processed_image_id IS NOT NULL
          AND i.document_id <> ALL (CAST(:passed AS text[])) AND d.id IN ({labelled}) AND CAST(:has_image AS boolean)
        ORDER BY (e.embedding::vector({width}) <=> CAST(:image AS vector({width}))){nudge} LIMIT :pages
    ), texts AS (
        SELECT t.document_id FROM embeddings e JOIN processed_texts c ON c.id = e.processed_text_id
        JOIN raw_texts t ON t.id = c.raw_text_id
        JOIN original_documents d ON d.id = t.document_id AND d.state = 'stored'
        WHERE e.processor_id = {embed} AND e.processed_text_id IS NOT NULL
          AND t.document_id <> ALL (CAST(:passed AS text[])) AND d.id IN ({labelled}) AND CAST(:has_text AS boolean)
        ORDER BY (e.embedding::vector({width}) <=> CAST(:text AS vector({width}))){nudge} LIMIT :pages
    ), near AS (
        SELECT document_id FROM images UNION SELECT document_id FROM texts
    ), scores AS (
        {scores}
    )
    SELECT s.document_id, l.label, l.source, l.author, s.similarity,
           greatest((SELECT count(*) FROM images), (SELECT count(*) FROM texts)) AS pages
    FROM scores s CROSS JOIN LATERAL (
        SELECT label, source, author FROM current_labels
        WHERE document_id = s.document_id AND taxonomy = :taxonomy OFFSET 0
    ) l
    ORDER BY similarity DESC, s.document_id LIMIT :limit
"""
# Ordered by a sum, pages are compared one by one, and no index has a say.
_BY_INDEX, _ONE_BY_ONE = "", " + 0"


class Neighbours:
    def __init__(self, session: Session) -> None:
        self._session = session

    def of_document(self, document_id: str, versions: Versions, *, taxonomy: str, limit: int = 5) -> list[Neighbour]:
        """The labelled documents nearest to a stored one, by its first page."""
        pages = Embeddings(self._session).of_documents([document_id], versions)
        image = next((p.vector for p in pages if p.modality == "image"), None)
        words = next((p.vector for p in pages if p.modality == "text"), None)
        return self.nearest(
            embed=versions.embed, image=image, words=words, taxonomy=taxonomy, exclude=document_id, limit=limit
        )

    def nearest(
        self,
        *,
        embed: int,
        image: Vectors | None,
        words: Vectors | None,
        taxonomy: str,
        exclude: str = "",
        limit: int = 5,
    ) -> list[Neighbour]:
        """The labelled documents nearest to the query vectors, best first; each query vector has length 1.

        The nearest pages may all be of one document; then others are looked for beyond them, until there are `limit`
        documents or no further ones.
        """
        given = image if image is not None else words
        if given is None or limit == 0:
            return []
        # Labelled documents may be few among many: let the index go on until enough of them are found.
        self._session.execute(text("SET LOCAL hnsw.iterative_scan = relaxed_order"))
        asked = _query(image, words) | {"taxonomy": taxonomy, "limit": limit}
        found: list[Neighbour] = []
        pages, way = _PAGES_A_DOCUMENT * max(limit, 5), _BY_INDEX
        while len(found) < limit:
            passed = [exclude, *(neighbour.document_id for neighbour in found)]
            statement = _nearest(embed, len(given), way)
            rows = self._session.execute(statement, asked | {"passed": passed, "pages": pages}).all()
            found += [Neighbour(r.document_id, r.label, r.source, r.author, float(r.similarity)) for r in rows]
            if not rows or rows[0].pages < pages:
                if way == _ONE_BY_ONE:
                    break
                way = _ONE_BY_ONE  # the index gives up after hnsw.max_scan_tuples pages, labelled or not
            pages *= _MORE
        return sorted(found, key=lambda neighbour: (-neighbour.similarity, neighbour.document_id))[:limit]

    def similarities(
        self,
        document_ids: Sequence[str],
        *,
        embed: int,
        image: Vectors | None,
        words: Vectors | None,
        until: datetime,
    ) -> dict[str, float]:
        """How near these documents are to the query vectors, by the embeddings that there were `until` then.

        Those without any are left out.
        """
        given = image if image is not None else words
        if given is None or not document_ids:
            return {}
        near = "WITH near AS (SELECT CAST(d AS text) AS document_id FROM unnest(CAST(:ids AS text[])) AS d)"
        scores = _scores(embed, len(given), by_then="AND e.created <= :until")
        rows = self._session.execute(
            text(f"{near} {scores}"), _query(image, words) | {"ids": list(document_ids), "until": until}
        )
        return {r.document_id: float(r.similarity) for r in rows if r.similarity is not None}


def _nearest(embed: int, width: int, nudge: str) -> TextClause:
    scores = _scores(embed, width)
    return text(
        _NEAREST.format(embed=int(embed), width=int(width), scores=scores, labelled=_LABELLED.strip(), nudge=nudge)
    )


def _scores(embed: int, width: int, by_then: str = "") -> str:
    return _SCORES.format(embed=int(embed), width=int(width), by_then=by_then)


def _query(image: Vectors | None, words: Vectors | None) -> dict[str, Any]:
    """Parameters of `_SCORES`, from at least one vector."""
    zeros = np.zeros_like(image if image is not None else words)
    return {
        "image": _literal(zeros if image is None else image),
        "text": _literal(zeros if words is None else words),
        "has_image": image is not None,
        "has_text": words is not None,
    }


def _literal(vector: Vectors) -> str:
    return "[" + ",".join(f"{x:.8g}" for x in vector.tolist()) + "]"
