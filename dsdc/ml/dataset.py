"""Labelled documents of the store -> arrays; and their snapshot: frozen, hashed, with the rows it was made of."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, PageVector, Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.models import Member, Snapshots
from dsdc.db.session import transaction
from dsdc.errors import NotEnoughLabels
from dsdc.ml.features import Block, DocumentSet, Floats, pool_pages
from dsdc.ml.split import Split, duplicate_groups
from dsdc.taxonomy import Taxonomy

#: Pages whose image vectors are nearer than this are scans of one original.
DUPLICATE_COSINE = 0.995


@dataclass(frozen=True)
class Dataset:
    """A DocumentSet, and for each of its rows the label and the embeddings behind it."""

    data: DocumentSet
    labels: tuple[CurrentLabel, ...]
    vectors: tuple[tuple[PageVector, ...], ...]
    left_out: Mapping[str, int]  # class -> labelled documents of it, too few to train on
    unembedded: int  # labelled documents that have no embedding of these versions


@dataclass(frozen=True)
class Snapshot:
    """A frozen dataset in the store."""

    id: int
    content_sha256: str
    documents: int


def collect(taxonomy: Taxonomy, versions: Versions, *, min_per_class: int) -> Dataset:
    """Every labelled document with embeddings of these processor versions, ordered by document id.

    Raises:
        NotEnoughLabels: when fewer than two classes have `min_per_class` such documents.
    """
    with transaction() as session:
        labels = [label for label in Labels(session).current(taxonomy.name) if label.label in taxonomy.slugs]
        rows = Embeddings(session).of_documents([label.document_id for label in labels], versions)
    pages: dict[str, list[PageVector]] = defaultdict(list)
    for row in rows:
        pages[row.document_id].append(row)
    embedded = [label for label in labels if pages[label.document_id]]
    counts = Counter(label.label for label in embedded)
    classes = tuple(slug for slug in taxonomy.slugs if counts[slug] >= min_per_class)
    if len(classes) < 2:
        raise NotEnoughLabels(
            f"{len(embedded)} embedded documents have a label, of classes {dict(counts)}; at least two classes need"
            f" {min_per_class} each.",
            hint="Put labelled documents into data/to_ingest/<class>/ and run ingest_and_process.",
        )
    kept = [label for label in embedded if label.label in classes]
    vectors = tuple(tuple(pages[label.document_id]) for label in kept)
    return Dataset(
        data=_arrays(kept, vectors, classes),
        labels=tuple(kept),
        vectors=vectors,
        left_out={slug: n for slug, n in counts.items() if slug not in classes},
        unembedded=len(labels) - len(embedded),
    )


def pooled(vectors: Sequence[Sequence[PageVector]], width: int | None = None) -> tuple[Block, Block]:
    """Image and text blocks of documents, each given by its page vectors."""
    known = width or next(len(v.vector) for pages in vectors for v in pages)
    blocks = []
    for modality in ("image", "text"):
        matrices = [_matrix([v for v in pages if v.modality == modality], known) for pages in vectors]
        blocks.append(pool_pages(matrices, known))
    return blocks[0], blocks[1]


def _matrix(vectors: Sequence[PageVector], width: int) -> Floats:
    return np.stack([v.vector for v in vectors]) if vectors else np.zeros((0, width), dtype=np.float32)


def _arrays(
    labels: Sequence[CurrentLabel], vectors: Sequence[Sequence[PageVector]], classes: tuple[str, ...]
) -> DocumentSet:
    image, text = pooled(vectors)
    ids = tuple(label.document_id for label in labels)
    return DocumentSet(
        document_ids=ids,
        labels=np.array([classes.index(label.label) for label in labels], dtype=np.int64),
        classes=classes,
        image=image.values,
        text=text.values,
        has_image=image.present,
        has_text=text.present,
        groups=duplicate_groups(embeddings=image.values, min_cosine=DUPLICATE_COSINE),
    )


def freeze(
    dataset: Dataset, split: Split, taxonomy: Taxonomy, versions: Versions, params: Mapping[str, Any]
) -> Snapshot:
    """Record the dataset with its split; equal content is one snapshot.

    The hash covers documents, labels, splits and the vectors' own bytes, but no row numbers: the same rows restored
    into another database have the same hash. Embedding the archive anew may change last digits of vectors, with the
    batches that pages happen to be in, and so the hash.
    """
    members = _members(dataset, split)
    content = _content(dataset, members, taxonomy)
    processors = {"render": versions.render, "text": versions.text, "clean": versions.clean, "embed": versions.embed}
    with transaction() as session:
        snapshot_id = Snapshots(session).add(
            content,
            taxonomy=taxonomy.name,
            classes=dataset.data.classes,
            processors=processors,
            params=params,
            members=members,
        )
    return Snapshot(snapshot_id, content, len(members))


def _members(dataset: Dataset, split: Split) -> list[Member]:
    part_of = {int(row): name for name, rows in split.parts().items() for row in rows}
    return [
        Member(
            document_id=label.document_id,
            label_id=label.label_id,
            label=label.label,
            split=part_of[row],
            duplicate_group=int(dataset.data.groups[row]),
            embedding_ids=[v.id for v in dataset.vectors[row]],
        )
        for row, label in enumerate(dataset.labels)
    ]


def _content(dataset: Dataset, members: Sequence[Member], taxonomy: Taxonomy) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps({"taxonomy": taxonomy.name, "classes": dataset.data.classes}).encode())
    for member, label, vectors in zip(members, dataset.labels, dataset.vectors, strict=True):
        pages = hashlib.sha256()
        for vector in vectors:
            pages.update(f"{vector.page}{vector.modality}".encode() + vector.vector.tobytes())
        line = (member.document_id, member.label, label.source, member.split, pages.hexdigest())
        digest.update("\x1f".join(line).encode())
    return digest.hexdigest()
