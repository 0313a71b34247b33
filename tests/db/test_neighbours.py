"""Nearest labelled documents, where pages and documents are not the same thing."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents, NewDocument
from dsdc.db.repositories.embeddings import Embeddings, VectorRow
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.neighbours import Neighbours
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.repositories.processors import Processors
from dsdc.db.repositories.vector_index import VectorIndex
from dsdc.db.session import transaction
from dsdc.settings import Settings

TAXONOMY = "rvl-cdip"
QUERY = np.array([1, 0], dtype=np.float32)


@dataclass(frozen=True)
class Archive:
    render: int
    embed: int


@pytest.fixture
def archive(database: Settings) -> Archive:
    with transaction() as session:
        register = Processors(session).register
        made = Archive(*(register(stage, stage, "1", stage[0] * 64, {}) for stage in ("render", "embed")))
        VectorIndex(session, made.embed).build(2)
    return made


def add(session: Session, archive: Archive, name: str, degrees: float, *, pages: int = 1, label: bool = True) -> str:
    """A document whose first page is so far from the query; each further one is a little farther."""
    document = hashlib.sha256(name.encode()).hexdigest()
    Documents(session).add([NewDocument(document, f"raw/{name}", name, "image/png", 9)])
    rows = [PageRow(n, f"processed/{name}", "c" * 64, 1, 10, 20, "L", 300) for n in range(1, pages + 1)]
    ProcessedImages(session).add(document, archive.render, rows)
    vectors = [
        VectorRow(_at(degrees + 0.001 * number), "c@e", 2, processed_image_id=image.id)
        for number, image in enumerate(ProcessedImages(session).of_document(document, archive.render))
    ]
    Embeddings(session).add(archive.embed, vectors)
    if label:
        Labels(session).add(document, "letter", taxonomy=TAXONOMY, source="human", author="ada")
    return document


def _at(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def nearest(session: Session, archive: Archive, limit: int) -> list[str]:
    found = Neighbours(session).nearest(embed=archive.embed, image=QUERY, words=None, taxonomy=TAXONOMY, limit=limit)
    assert [n.similarity for n in found] == sorted((n.similarity for n in found), reverse=True)
    return [neighbour.document_id for neighbour in found]


def test_a_document_of_many_pages_hides_no_other(archive: Archive) -> None:
    with transaction() as session:
        expected = [add(session, archive, "long", 1, pages=120)]
        expected += [add(session, archive, f"short {n}", 2 + n) for n in range(5)]
    with transaction() as session:
        assert nearest(session, archive, 5) == expected[:5]
        assert nearest(session, archive, 6) == expected
        assert nearest(session, archive, 60) == expected, "there are no more"


def test_as_many_as_are_asked_for(archive: Archive) -> None:
    with transaction() as session:
        expected = [add(session, archive, str(n), 0.5 * n, pages=2) for n in range(70)]
    with transaction() as session:
        assert nearest(session, archive, 60) == expected[:60]


def test_a_rejected_document_takes_nobodys_place(archive: Archive) -> None:
    with transaction() as session:
        rejected = add(session, archive, "rejected", 1, pages=60)
        stored = add(session, archive, "stored", 2)
        session.execute(text("UPDATE original_documents SET state = 'rejected' WHERE id = :id"), {"id": rejected})
    with transaction() as session:
        assert nearest(session, archive, 5) == [stored]


def test_labelled_documents_are_found_beyond_where_the_index_gives_up(archive: Archive) -> None:
    with transaction() as session:
        add(session, archive, "unlabelled", 1, pages=300, label=False)
        expected = [add(session, archive, f"labelled {n}", 40 + n) for n in range(3)]
    with transaction() as session:
        # As in an archive of millions, where reading everything costs too much and the index stops after 20,000.
        for setting in ("enable_seqscan = off", "enable_sort = off", "hnsw.max_scan_tuples = 50"):
            session.execute(text(f"SET LOCAL {setting}"))
        assert nearest(session, archive, 3) == expected
