"""Labelled documents of the store -> arrays, with the rows behind them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, PageVector, Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import transaction
from dsdc.errors import NotEnoughLabels
from dsdc.ml.described import describe
from dsdc.ml.features import Block, DocumentSet, Floats, Ints, pool_pages
from dsdc.ml.split import duplicate_groups
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


def collect(taxonomy: Taxonomy, versions: Versions, processors: ProcessorSet, *, min_per_class: int) -> Dataset:
    """What a head can be trained on: `collect_all`, and of it what is `trainable`.

    Raises:
        NotEnoughLabels: when fewer than two classes have `min_per_class` such documents.
    """
    return trainable(collect_all(taxonomy, versions, processors), min_per_class)


def collect_all(
    taxonomy: Taxonomy,
    versions: Versions,
    processors: ProcessorSet,
    *,
    until: datetime | None = None,
    complete: bool = False,
) -> Dataset:
    """Every labelled document with embeddings of these processor versions, ordered by document id; perhaps none.

    Its classes are all those of the taxonomy.

    Args:
        until: vectors and texts as they were then.
        complete: only documents of which every page went through all stages; else one image is enough.
    """
    with transaction() as session:
        labels = [label for label in Labels(session).current(taxonomy.name) if label.label in taxonomy.slugs]
        if complete:
            there = Embeddings(session).all_complete([label.document_id for label in labels], versions)
            labels = [label for label in labels if label.document_id in there]
        ids = [label.document_id for label in labels]
        known = known_of(Embeddings(session), RawTexts(session), ids, versions, until=until)
        hashes = ProcessedImages(session).first_page_hashes(ids, versions.render)
    embedded = [label for label in labels if known[label.document_id].vectors]
    behind = tuple(known[label.document_id] for label in embedded)
    blocks = blocks_of(behind, processors)
    groups = duplicate_groups(
        perceptual=[hashes.get(label.document_id) for label in embedded],
        embeddings=np.asarray(blocks["image"].values),
        min_cosine=DUPLICATE_COSINE,
    )
    return Dataset(
        data=arrays(embedded, blocks, taxonomy.slugs, groups),
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


def archive(
    versions: Versions,
    processors: ProcessorSet,
    limit: int,
    *,
    until: datetime | None = None,
    complete: bool = False,
) -> Archive:
    """Documents of the store, labelled or not, at most so many; `until` and `complete` as for `collect_all`.

    Raises:
        NotEnoughLabels: when none has gone through all stages.
    """
    with transaction() as session:
        ids = _archived(Embeddings(session), versions, limit, complete)
    if not ids:
        raise NotEnoughLabels(
            "There is no processed document in the store; without any, nobody knows what documents look like.",
            hint="Put documents, labelled or not, into data/to_ingest and run ingest_and_process.",
        )
    return archive_of(ids, versions, processors, until=until)


def _archived(embeddings: Embeddings, versions: Versions, limit: int, complete: bool) -> list[str]:
    ids: list[str] = []
    after = ""
    while len(ids) < limit and (part := embeddings.embedded(versions, after=after, limit=limit)):
        there = embeddings.all_complete(part, versions) if complete else set(part)
        ids += [document_id for document_id in part if document_id in there]
        after = part[-1]
    return ids[:limit]


def archive_of(
    ids: Sequence[str], versions: Versions, processors: ProcessorSet, *, until: datetime | None = None
) -> Archive:
    """These documents, as they are now; with `until`, as they were then."""
    with transaction() as session:
        known = known_of(Embeddings(session), RawTexts(session), ids, versions, until=until)
    return Archive(
        tuple(ids), blocks_of([known[document_id] for document_id in ids], processors), archive_content(ids, known)
    )


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


def arrays(
    labels: Sequence[CurrentLabel], blocks: Mapping[str, Block], classes: tuple[str, ...], groups: Ints
) -> DocumentSet:
    """Labelled documents as a head learns from them; blocks and `[n]` groups are in the order of the labels."""
    image, text = blocks["image"], blocks["text"]
    return DocumentSet(
        document_ids=tuple(label.document_id for label in labels),
        labels=np.array([classes.index(label.label) for label in labels], dtype=np.int64),
        classes=classes,
        image=np.asarray(image.values),
        text=np.asarray(text.values),
        has_image=image.present,
        has_text=text.present,
        groups=groups,
        extra={name: block for name, block in blocks.items() if name not in ("image", "text")},
    )


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
