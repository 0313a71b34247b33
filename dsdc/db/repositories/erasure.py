"""Documents that are to be forgotten: what there is of them, what was made with them, and their erasure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

_MATCHING = text("""
    SELECT id FROM original_documents WHERE id LIKE :prefix
    UNION SELECT sha256 FROM rejected_documents WHERE sha256 LIKE :prefix AND file_path NOT LIKE 'forgotten-%'
    UNION SELECT document_sha256 FROM predictions WHERE document_sha256 LIKE :prefix AND original_name <> ''
    UNION SELECT sha256 FROM prediction_batch_items WHERE sha256 LIKE :prefix
        AND (name <> '' OR uploaded OR state IN ('arriving', 'pending', 'running'))
    ORDER BY 1 LIMIT 10
""")

# What came in these e-mails, and in no other way: from nowhere else, and in no message that is still here and stays.
_ATTACHED = text("""
    SELECT s.document_id FROM sightings s
    JOIN original_documents d ON d.id = s.document_id AND d.state <> 'forgotten'
    LEFT JOIN original_documents p ON p.id = s.parent_id
    WHERE s.document_id IN (SELECT document_id FROM sightings WHERE parent_id = ANY (:ids))
      AND NOT s.document_id = ANY (:ids)
    GROUP BY s.document_id
    HAVING bool_and(s.parent_id IS NOT NULL AND (p.state = 'forgotten' OR s.parent_id = ANY (:ids)))
    ORDER BY s.document_id
""")

# What was refused out of these e-mails, and came in no other way. Bytes that are a document go by its sightings.
_REFUSED = text("""
    SELECT r.sha256 FROM rejected_documents r
    WHERE r.released IS NULL AND NOT r.sha256 = ANY (:ids)
      AND r.sha256 IN (SELECT sha256 FROM rejected_documents WHERE parents && CAST(:ids AS text[]) AND released IS NULL)
      AND NOT EXISTS (SELECT FROM original_documents d WHERE d.id = r.sha256 AND d.state <> 'forgotten')
    GROUP BY r.sha256
    HAVING bool_and(r.parents IS NOT NULL AND NOT EXISTS (
        SELECT FROM original_documents p
        WHERE p.id = ANY (r.parents) AND p.state <> 'forgotten' AND NOT p.id = ANY (:ids)))
    ORDER BY r.sha256
""")

_FACTS = text("""
    SELECT g.id, coalesce(d.state, 'never stored') AS state, 
        coalesce(nullif(d.original_name, ''),
            (SELECT max(r.original_name) FROM rejected_documents r WHERE r.sha256 = g.id AND r.released IS NULL),
            (SELECT max(p.original_name) FROM predictions p WHERE p.document_sha256 = g.id), '') AS name,
        d.byte_size, d.media_type,
        (SELECT count(*) FROM processed_images i WHERE i.document_id = g.id) AS pages,
        (SELECT count(*) FROM raw_texts t WHERE t.document_id = g.id) AS texts,
        (SELECT count(*) FROM processed_images i JOIN embeddings e ON e.processed_image_id = i.id
         WHERE i.document_id = g.id)
        + (SELECT count(*) FROM raw_texts t JOIN processed_texts c ON c.raw_text_id = t.id
           JOIN embeddings e ON e.processed_text_id = c.id WHERE t.document_id = g.id) AS vectors,
        (SELECT count(*) FROM labels l WHERE l.document_id = g.id) AS labels,
        (SELECT count(*) FROM labels l WHERE l.document_id = g.id AND l.source = 'human') AS human_labels,
        (SELECT count(*) FROM predictions p WHERE p.document_sha256 = g.id) AS predictions,
        (SELECT count(*) FROM rejected_documents r WHERE r.sha256 = g.id AND r.released IS NULL) AS quarantined,
        (SELECT count(*) FROM prediction_batch_items b WHERE b.sha256 = g.id
         AND b.state IN ('arriving', 'pending', 'running')) AS waiting_in_batches
    FROM unnest(CAST(:ids AS text[])) AS g(id) LEFT JOIN original_documents d ON d.id = g.id
    ORDER BY g.id
""")

_MESSAGES = text("""
    SELECT DISTINCT s.document_id, s.parent_id FROM sightings s
    JOIN original_documents d ON d.id = s.parent_id AND d.state <> 'forgotten'
    WHERE s.document_id = ANY (:ids) AND NOT s.parent_id = ANY (:ids) ORDER BY 1, 2
""")

# As members with their label, or among the documents that told a model what documents have in common.
_SNAPSHOTS = text("""
    SELECT m.document_id, m.snapshot_id, true AS as_member FROM snapshot_members m WHERE m.document_id = ANY (:ids)
    UNION ALL
    SELECT a.id, s.id, false FROM dataset_snapshots s
    CROSS JOIN LATERAL jsonb_array_elements_text(s.params -> 'archive') AS a(id)
    WHERE jsonb_exists(s.params, 'archive') AND a.id = ANY (:ids)
""")

_MODELS = text("""
    SELECT v.id, v.name, v.version, v.head_sha256, v.recipe_sha256, v.snapshot_id,
        v.id = (SELECT a.model_version_id FROM model_aliases a WHERE a.name = v.name AND a.alias = 'champion'
                ORDER BY a.id DESC LIMIT 1) AS champion
    FROM model_versions v WHERE v.snapshot_id = ANY (:ids) ORDER BY v.name, v.version
""")

_NEIGHBOUR_OF = text("""
    SELECT g.id AS document_id, p.id FROM unnest(CAST(:ids AS text[])) AS g(id)
    JOIN predictions p ON p.neighbours @> jsonb_build_array(jsonb_build_object('document_id', g.id))
    ORDER BY g.id, p.created, p.id
""")

# Seen last so long ago, itself and every e-mail that it came in, and those that these came in. Of all, or of one.
_EXPIRED = text("""
    WITH RECURSIVE way(id, via) AS (
        SELECT d.id, d.id FROM original_documents d
        WHERE d.state <> 'forgotten' AND d.import_datetime < clock_timestamp() - make_interval(days => :days)
          AND (CAST(:only AS text) IS NULL OR d.id = :only)
          AND (:labelled OR NOT EXISTS (SELECT FROM labels l
                                        WHERE l.document_id = d.id AND l.source IN ('human', 'import')))
        UNION
        SELECT w.id, s.parent_id FROM way w JOIN sightings s ON s.document_id = w.via
        JOIN original_documents d ON d.id = s.parent_id AND d.state <> 'forgotten'
    )
    SELECT w.id FROM way w JOIN sightings s ON s.document_id = w.via
    GROUP BY w.id HAVING max(s.seen) < clock_timestamp() - make_interval(days => :days) ORDER BY w.id
""")

# What is no document, or none any more, and is told of so long ago: in quarantine, or with its name in an answer or a
# batch. What was refused out of an e-mail is as old as the e-mail.
_EXPIRED_LOOSE = text("""
    SELECT t.sha256 FROM (
        SELECT r.sha256, greatest(r.rejected, (
            SELECT max(s.seen) FROM sightings s JOIN original_documents p ON p.id = s.document_id
            WHERE s.document_id = ANY (r.parents) AND p.state <> 'forgotten')) AS last
        FROM rejected_documents r WHERE r.released IS NULL AND (CAST(:only AS text) IS NULL OR r.sha256 = :only)
        UNION ALL
        SELECT p.document_sha256, p.created FROM predictions p
        WHERE p.original_name <> '' AND (CAST(:only AS text) IS NULL OR p.document_sha256 = :only)
        UNION ALL
        SELECT b.sha256, b.created FROM prediction_batch_items b
        WHERE b.name <> '' AND (CAST(:only AS text) IS NULL OR b.sha256 = :only)
    ) t
    WHERE NOT EXISTS (SELECT FROM original_documents d WHERE d.id = t.sha256 AND d.state <> 'forgotten')
    GROUP BY t.sha256 HAVING max(t.last) < clock_timestamp() - make_interval(days => :days) ORDER BY t.sha256
""")

_STOP_WORK = text("""
    UPDATE stage_attempts
    SET message = 'It was ' || state || '.', state = 'skipped', category = 'forgotten', lease_until = NULL,
        fence = fence + 1, finished = clock_timestamp()
    WHERE document_id = :id AND state IN ('pending', 'running')
""")

_REDO = text("""
    UPDATE stage_attempts
    SET state = 'pending', category = NULL, message = NULL, attempts = 0, failures = 0, crashes = 0,
        available = clock_timestamp(), finished = NULL
    WHERE document_id = ANY (:ids) AND input_id = document_id AND state = 'skipped' AND category = 'forgotten'
""")

_IMAGES = text("""
    SELECT DISTINCT i.image_sha256, i.image_file,
        EXISTS (SELECT FROM processed_images o JOIN original_documents d ON d.id = o.document_id
                AND d.state <> 'forgotten' WHERE o.image_sha256 = i.image_sha256) AS shown_elsewhere
    FROM processed_images i WHERE i.document_id = :id AND i.image_sha256 > :after
    ORDER BY i.image_sha256 LIMIT :limit
""")

_UNFINISHED = text("""
    SELECT d.id FROM original_documents d
    WHERE d.state = 'forgotten' AND (CAST(:only AS text) IS NULL OR d.id = :only) AND (
        d.original_name <> ''
        OR EXISTS (SELECT FROM sightings s WHERE s.document_id = d.id AND (s.name <> '' OR s.folder <> ''))
        OR EXISTS (SELECT FROM processed_images i WHERE i.document_id = d.id)
        OR EXISTS (SELECT FROM raw_texts t WHERE t.document_id = d.id)
        OR EXISTS (SELECT FROM stage_attempts a
                   WHERE a.document_id = d.id AND a.category IS DISTINCT FROM 'forgotten')
        OR EXISTS (SELECT FROM predictions p WHERE p.document_id = d.id AND p.original_name <> '')
        OR EXISTS (SELECT FROM rejected_documents r WHERE r.document_id = d.id AND r.released IS NULL))
    ORDER BY d.id
""")


@dataclass(frozen=True)
class PageImage:
    """Bytes that a document's page shows, and whether a page of another document shows the same."""

    sha256: str
    key: str
    shown_elsewhere: bool


class Erasure:
    def __init__(self, session: Session) -> None:
        self._session = session

    def matching(self, prefix: str) -> list[str]:
        """SHA-256 of what there is and begins so, at most ten: documents, bytes in quarantine, bytes predicted once."""
        return list(self._session.scalars(_MATCHING, {"prefix": f"{prefix}%"}))

    def attached_only(self, ids: Collection[str]) -> list[str]:
        """Documents that came as attachments of these e-mails and in no other way."""
        return list(self._session.scalars(_ATTACHED, {"ids": list(ids)}))

    def refused_in(self, ids: Collection[str]) -> list[str]:
        """SHA-256 of what is in quarantine, was refused out of these e-mails and came in no other way."""
        return list(self._session.scalars(_REFUSED, {"ids": list(ids)}))

    def facts(self, ids: Collection[str]) -> Sequence[Row[Any]]:
        """What there is of each, counted."""
        return self._session.execute(_FACTS, {"ids": list(ids)}).all()

    def messages_holding(self, ids: Collection[str]) -> Sequence[Row[Any]]:
        """(document, e-mail) of e-mails that stay, and hold the same bytes as an attachment."""
        return self._session.execute(_MESSAGES, {"ids": list(ids)}).all()

    def snapshots_of(self, ids: Collection[str]) -> Sequence[Row[Any]]:
        """(document, snapshot, as_member)."""
        return self._session.execute(_SNAPSHOTS, {"ids": list(ids)}).all()

    def models_of(self, snapshot_ids: Collection[int]) -> Sequence[Row[Any]]:
        """Model versions that were made of these snapshots."""
        return self._session.execute(_MODELS, {"ids": list(snapshot_ids)}).all()

    def neighbour_of(self, ids: Collection[str]) -> Sequence[Row[Any]]:
        """(document, prediction) of answers that named it as neighbour."""
        return self._session.execute(_NEIGHBOUR_OF, {"ids": list(ids)}).all()

    def expired(self, days: int, *, labelled: bool, only: str | None = None) -> list[str]:
        """Documents seen last so many days ago.

        Args:
            labelled: also those that a person has labelled, or that came with their label.
            only: look at this one alone.
        """
        return list(self._session.scalars(_EXPIRED, {"days": days, "labelled": labelled, "only": only}))

    def expired_loose(self, days: int, *, only: str | None = None) -> list[str]:
        """SHA-256 of what is no document, or none any more, and was refused or answered last so many days ago."""
        return list(self._session.scalars(_EXPIRED_LOOSE, {"days": days, "only": only}))

    def stop_work(self, document_id: str) -> None:
        """Nobody takes up its work any more, and what is being computed is refused."""
        self._session.execute(_STOP_WORK, {"id": document_id})

    def redo(self, ids: Collection[str]) -> None:
        """Documents that are back are to be processed from the start."""
        self._session.execute(_REDO, {"ids": list(ids)})

    def images(self, document_id: str, after: str, limit: int) -> list[PageImage]:
        """Its page images by SHA-256, beginning after `after`."""
        rows = self._session.execute(_IMAGES, {"id": document_id, "after": after, "limit": limit})
        return [PageImage(*row) for row in rows]

    def erase(self, document_id: str, problem: Mapping[str, Any]) -> dict[str, int]:
        """Delete what was made of it and every name; what remains is a skeleton. Returns how many rows went.

        Args:
            problem: what those are told who wait for an answer about it.
        """
        statement = text("SELECT erase_document(:id, CAST(:problem AS jsonb))")
        found = self._session.execute(statement, {"id": document_id, "problem": json.dumps(problem)}).scalar_one()
        return {name: int(n) for name, n in found.items()}

    def unfinished(self, *, only: str | None = None) -> list[str]:
        """Documents marked as forgotten of which something is left; of all, or of one."""
        return list(self._session.scalars(_UNFINISHED, {"only": only}))
