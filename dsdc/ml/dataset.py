"""Labelled documents of the store -> arrays; and their snapshot: frozen, hashed, with the rows it was made of."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, PageVector, Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.models import Member, Snapshots
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import transaction
from dsdc.errors import NotEnoughLabels
from dsdc.ml.described import describe
from dsdc.ml.features import Block, DocumentSet, Floats, pool_pages
from dsdc.ml.split import Fold, duplicate_groups
from dsdc.processors.contract import Word
from dsdc.processors.describe import ReadPage
from dsdc.processors.registry import ProcessorSet
from dsdc.taxonomy import Taxonomy

#: Pages whose image vectors are nearer than this are scans of one original.
DUPLICATE_COSINE = 0.995


@dataclass(frozen=True)
class Known:
    """What the head is asked about: one document's page vectors, and its pages as they were read."""

    vectors: Sequence[PageVector]
    pages: Sequence[ReadPage]


@dataclass(frozen=True)
class Dataset:
    """A DocumentSet, and for each of its rows the label and what is known behind it."""

    data: DocumentSet
    labels: tuple[CurrentLabel, ...]
    known: tuple[Known, ...]
    left_out: Mapping[str, int]  # class -> labelled documents of it, too few to train on
    unembedded: int  # labelled documents that have no embedding of these versions


@dataclass(frozen=True)
class Snapshot:
    """A frozen dataset in the store."""

    id: int
    content_sha256: str
    documents: int


def collect(taxonomy: Taxonomy, versions: Versions, processors: ProcessorSet, *, min_per_class: int) -> Dataset:
    """Every labelled document with embeddings of these processor versions, ordered by document id.

    Raises:
        NotEnoughLabels: when fewer than two classes have `min_per_class` such documents.
    """
    with transaction() as session:
        labels = [label for label in Labels(session).current(taxonomy.name) if label.label in taxonomy.slugs]
        ids = [label.document_id for label in labels]
        known = known_of(Embeddings(session), RawTexts(session), ids, versions)
        hashes = ProcessedImages(session).first_page_hashes(ids, versions.render)
    embedded = [label for label in labels if known[label.document_id].vectors]
    counts = Counter(label.label for label in embedded)
    classes = tuple(slug for slug in taxonomy.slugs if counts[slug] >= min_per_class)
    if len(classes) < 2:
        raise NotEnoughLabels(
            f"{len(embedded)} embedded documents have a label, of classes {dict(counts)}; at least two classes need"
            f" {min_per_class} each.",
            hint="Put labelled documents into data/to_ingest/<class>/ and run ingest_and_process.",
        )
    kept = [label for label in embedded if label.label in classes]
    behind = tuple(known[label.document_id] for label in kept)
    return Dataset(
        data=_arrays(kept, blocks_of(behind, processors), classes, hashes),
        labels=tuple(kept),
        known=behind,
        left_out={slug: n for slug, n in counts.items() if slug not in classes},
        unembedded=len(labels) - len(embedded),
    )


def known_of(
    embeddings: Embeddings, texts: RawTexts, document_ids: Sequence[str], versions: Versions
) -> dict[str, Known]:
    """What the store knows of these documents, as these versions made it."""
    vectors: dict[str, list[PageVector]] = defaultdict(list)
    for vector in embeddings.of_documents(document_ids, versions):
        vectors[vector.document_id].append(vector)
    pages: dict[str, list[ReadPage]] = defaultdict(list)
    for page in texts.of_documents(document_ids, render=versions.render, text=versions.text):
        words = tuple(Word(*word) for word in page.words)
        pages[page.document_id].append(ReadPage(page.raw_text, words, page.width, page.height))
    return {document_id: Known(vectors[document_id], pages[document_id]) for document_id in document_ids}


def blocks_of(documents: Sequence[Known], processors: ProcessorSet) -> dict[str, Block]:
    """Everything that a head reads of these documents, by modality."""
    # Reading the width off the embedder would load CLIP, which a training has no other use for.
    width = next((len(v.vector) for d in documents for v in d.vectors), None) or processors.embedder.width
    image, text = pooled([document.vectors for document in documents], width)
    return {"image": image, "text": text} | describe(processors.describers, [d.pages for d in documents])


def pooled(vectors: Sequence[Sequence[PageVector]], width: int) -> tuple[Block, Block]:
    """Image and text blocks of documents, each given by its page vectors."""
    blocks = []
    for modality in ("image", "text"):
        matrices = [_matrix([v for v in pages if v.modality == modality], width) for pages in vectors]
        blocks.append(pool_pages(matrices, width))
    return blocks[0], blocks[1]


def _matrix(vectors: Sequence[PageVector], width: int) -> Floats:
    return np.stack([v.vector for v in vectors]) if vectors else np.zeros((0, width), dtype=np.float32)


def _arrays(
    labels: Sequence[CurrentLabel], blocks: Mapping[str, Block], classes: tuple[str, ...], hashes: Mapping[str, int]
) -> DocumentSet:
    image, text = blocks["image"], blocks["text"]
    return DocumentSet(
        document_ids=tuple(label.document_id for label in labels),
        labels=np.array([classes.index(label.label) for label in labels], dtype=np.int64),
        classes=classes,
        image=np.asarray(image.values),
        text=np.asarray(text.values),
        has_image=image.present,
        has_text=text.present,
        groups=duplicate_groups(
            perceptual=[hashes.get(label.document_id) for label in labels],
            embeddings=np.asarray(image.values),
            min_cosine=DUPLICATE_COSINE,
        ),
        extra={name: block for name, block in blocks.items() if name not in ("image", "text")},
    )


def freeze(
    dataset: Dataset,
    folds: Sequence[Fold],
    taxonomy: Taxonomy,
    processors: Mapping[str, int],
    params: Mapping[str, Any],
) -> Snapshot:
    """Record the dataset with its folds; equal content is one snapshot.

    The hash covers documents, labels, folds, the vectors' own bytes and the texts with their words, but no row numbers:
    the same rows restored into another database have the same hash. Embedding the archive anew may change last digits
    of vectors, with the batches that pages happen to be in, and so the hash.

    Args:
        processors: ids of the processors' versions, by stage or modality.
    """
    members = _members(dataset, folds)
    content = _content(dataset, members, taxonomy)
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


def _members(dataset: Dataset, folds: Sequence[Fold]) -> list[Member]:
    fold_of = {int(row): f"fold-{number}" for number, fold in enumerate(folds) for row in fold.test}
    return [
        Member(
            document_id=label.document_id,
            label_id=label.label_id,
            label=label.label,
            split=fold_of[row],
            duplicate_group=int(dataset.data.groups[row]),
            embedding_ids=[v.id for v in dataset.known[row].vectors],
        )
        for row, label in enumerate(dataset.labels)
    ]


def _content(dataset: Dataset, members: Sequence[Member], taxonomy: Taxonomy) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps({"taxonomy": taxonomy.name, "classes": dataset.data.classes}).encode())
    for member, label, known in zip(members, dataset.labels, dataset.known, strict=True):
        pages = hashlib.sha256()
        for vector in known.vectors:
            pages.update(f"{vector.page}{vector.modality}".encode() + vector.vector.tobytes())
        for page in known.pages:
            words = [astuple(word) for word in page.words]
            pages.update(json.dumps([page.text, words, page.width, page.height]).encode())
        line = (member.document_id, member.label, label.source, member.split, pages.hexdigest())
        digest.update("\x1f".join(line).encode())
    return digest.hexdigest()
