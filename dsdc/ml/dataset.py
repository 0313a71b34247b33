"""Labelled documents of the store -> arrays; and their snapshot: frozen, hashed, with the rows it was made of."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, PageVector, Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.models import Labelled, Member, Snapshots
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
class Archive:
    """What documents of the store look like, whatever they are: `blocks` have one row for each of `document_ids`.

    `content_sha256` is of everything behind the blocks.
    """

    document_ids: tuple[str, ...]
    blocks: Mapping[str, Block]
    content_sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A frozen dataset in the store."""

    id: int
    content_sha256: str
    documents: int


def collect(taxonomy: Taxonomy, versions: Versions, processors: ProcessorSet, *, min_per_class: int) -> Dataset:
    """What a head can be trained on: `collect_all`, and of it what is `trainable`.

    Raises:
        NotEnoughLabels: when fewer than two classes have `min_per_class` such documents.
    """
    return trainable(collect_all(taxonomy, versions, processors), min_per_class)


def collect_all(taxonomy: Taxonomy, versions: Versions, processors: ProcessorSet) -> Dataset:
    """Every labelled document with embeddings of these processor versions, ordered by document id; perhaps none.

    Its classes are all those of the taxonomy.
    """
    with transaction() as session:
        labels = [label for label in Labels(session).current(taxonomy.name) if label.label in taxonomy.slugs]
        ids = [label.document_id for label in labels]
        known = known_of(Embeddings(session), RawTexts(session), ids, versions)
        hashes = ProcessedImages(session).first_page_hashes(ids, versions.render)
    embedded = [label for label in labels if known[label.document_id].vectors]
    behind = tuple(known[label.document_id] for label in embedded)
    return Dataset(
        data=_arrays(embedded, blocks_of(behind, processors), taxonomy.slugs, hashes),
        labels=tuple(embedded),
        known=behind,
        left_out={},
        unembedded=len(labels) - len(embedded),
    )


def trainable(dataset: Dataset, min_per_class: int) -> Dataset:
    """Without the classes of fewer documents.

    Raises:
        NotEnoughLabels: when fewer than two classes are left.
    """
    data, counts = dataset.data, {slug: n for slug, n in dataset.data.counts().items() if n}
    kept = [number for number, slug in enumerate(data.classes) if counts.get(slug, 0) >= min_per_class]
    classes = tuple(data.classes[number] for number in kept)
    if len(classes) < 2:
        raise NotEnoughLabels(
            f"{len(data)} embedded documents have a label, of classes {counts}; at least two classes need"
            f" {min_per_class} each.",
            hint="Put labelled documents into data/to_ingest/<class>/ and run ingest_and_process.",
        )
    rows = np.flatnonzero(np.isin(data.labels, kept))
    taken = data.take(rows)
    return replace(
        dataset,
        data=replace(taken, labels=np.searchsorted(kept, taken.labels), classes=classes),
        labels=tuple(dataset.labels[row] for row in rows),
        known=tuple(dataset.known[row] for row in rows),
        left_out={slug: n for slug, n in counts.items() if slug not in classes},
    )


def archive(versions: Versions, processors: ProcessorSet, limit: int) -> Archive:
    """Documents of the store, labelled or not, at most so many.

    Raises:
        NotEnoughLabels: when none has gone through all stages.
    """
    with transaction() as session:
        ids = Embeddings(session).sample(versions, limit)
        known = known_of(Embeddings(session), RawTexts(session), ids, versions)
    if not ids:
        raise NotEnoughLabels(
            "There is no processed document in the store; without any, nobody knows what documents look like.",
            hint="Put documents, labelled or not, into data/to_ingest and run ingest_and_process.",
        )
    content = archive_content(ids, known)
    return Archive(tuple(ids), blocks_of([known[document_id] for document_id in ids], processors), content)


def known_of(
    embeddings: Embeddings,
    texts: RawTexts,
    document_ids: Sequence[str],
    versions: Versions,
    *,
    until: datetime | None = None,
) -> dict[str, Known]:
    """What the store knows of these documents, as these versions made it; with `until`, what it knew then."""
    vectors: dict[str, list[PageVector]] = defaultdict(list)
    for vector in embeddings.of_documents(document_ids, versions, until=until):
        vectors[vector.document_id].append(vector)
    pages: dict[str, list[ReadPage]] = defaultdict(list)
    for page in texts.of_documents(document_ids, render=versions.render, text=versions.text, until=until):
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
    beside: str = "",
) -> Snapshot:
    """Record the dataset with its folds; equal content is one snapshot.

    The hash covers documents, labels, folds, the vectors' own bytes and the texts with their words, but no row numbers:
    the same rows restored into another database have the same hash. Embedding the archive anew may change last digits
    of vectors, with the batches that pages happen to be in, and so the hash.

    Args:
        processors: ids of the processors' versions, by stage or modality.
        beside: what else the model is made of, for the hash.
    """
    members = _members(dataset, folds)
    digest = Digest(taxonomy.name, dataset.data.classes, beside)
    for member, label, known in zip(members, dataset.labels, dataset.known, strict=True):
        digest.add(member, label.source, fingerprint(known))
    with transaction() as session:
        snapshot_id = Snapshots(session).add(
            digest.value,
            taxonomy=taxonomy.name,
            classes=dataset.data.classes,
            processors=processors,
            params=params,
            members=members,
        )
    return Snapshot(snapshot_id, digest.value, len(members))


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


def beside_of(prompts: Mapping[str, Sequence[str]], archive_sha256: str) -> str:
    """What a model without training is made of beside its members, for `freeze`; `prompts` in the classes' order."""
    return json.dumps([prompts, archive_sha256])


class Digest:
    """The content hash of a snapshot; members are added by ascending document id."""

    def __init__(self, taxonomy: str, classes: Sequence[str], beside: str) -> None:
        self._digest = hashlib.sha256(json.dumps({"taxonomy": taxonomy, "classes": list(classes)}).encode())
        self._digest.update(beside.encode())

    def add(self, member: Member | Labelled, source: str, content_sha256: str) -> None:
        line = (member.document_id, member.label, source, member.split, content_sha256)
        self._digest.update("\x1f".join(line).encode())

    @property
    def value(self) -> str:
        return self._digest.hexdigest()


def archive_content(document_ids: Sequence[str], known: Mapping[str, Known]) -> str:
    """Hash of everything behind these documents, in the order given."""
    parts = (document_id + fingerprint(known[document_id]) for document_id in document_ids)
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def fingerprint(known: Known) -> str:
    """Hash of the vectors' own bytes, and of the texts with their words."""
    pages = hashlib.sha256()
    for vector in known.vectors:
        pages.update(f"{vector.page}{vector.modality}".encode() + vector.vector.tobytes())
    for page in known.pages:
        words = [astuple(word) for word in page.words]
        pages.update(json.dumps([page.text, words, page.width, page.height]).encode())
    return pages.hexdigest()
