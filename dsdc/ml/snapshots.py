"""Datasets in the store: frozen with a hash of their content, and thawed again from the very rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.labels import CurrentLabel
from dsdc.db.repositories.models import FrozenMember, Member, Snapshots
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import Conflict
from dsdc.ml.dataset import Dataset, Known, archive_content, arrays, blocks_of, fingerprint, known_of
from dsdc.ml.split import Fold
from dsdc.processors.registry import ProcessorSet

_STAGES = ("render", "text", "clean", "embed")
_FOLD = "fold-"
_NAMED = 5  # documents that are told; `faults` has all of them


@dataclass(frozen=True)
class Snapshot:
    """A frozen dataset in the store."""

    id: int
    content_sha256: str
    documents: int


@dataclass(frozen=True)
class Fault:
    """What of a member is not as it was frozen."""

    kind: Literal["forgotten", "label", "vectors", "content"]
    detail: str


@dataclass(frozen=True)
class Content:
    """The hash once more, from the rows as they are now, and by document what of them is not as it was frozen."""

    sha256: str
    faults: Mapping[str, Fault]

    def told(self) -> str:
        """The faults in words, the first of them by name."""
        named = "; ".join(f"{document[:12]}: {fault.detail}" for document, fault in list(self.faults.items())[:_NAMED])
        more = f"; and {len(self.faults) - _NAMED} more" if len(self.faults) > _NAMED else ""
        return f"{named or 'no member tells which row it is'}{more}"


@dataclass(frozen=True)
class Thawed:
    """A frozen dataset as its rows are now."""

    dataset: Dataset
    folds: tuple[Fold, ...]
    content: Content


def freeze(
    dataset: Dataset,
    folds: Sequence[Fold],
    taxonomy: str,
    processors: Mapping[str, int],
    params: Mapping[str, Any],
    *,
    taken: datetime,
    beside: str = "",
) -> Snapshot:
    """Record the dataset with its folds; equal content is one snapshot.

    The hash covers documents, labels, folds, the vectors' own bytes and the texts with their words, but no row numbers:
    the same rows restored into another database have the same hash. Embedding the archive anew may change last digits
    of vectors, with the batches that pages happen to be in, and so the hash.

    Args:
        taxonomy: its name.
        processors: ids of the processors' versions, by stage or modality.
        taken: up to when vectors and texts were read, by the clock of the database.
        beside: what else the model is made of, for the hash: `beside_of`.
    """
    members = _members(dataset, folds)
    digest = Digest(taxonomy, dataset.data.classes, beside)
    for member, label in zip(members, dataset.labels, strict=True):
        digest.add(member, label.source, str(member.content_sha256))
    with transaction() as session:
        snapshot_id = Snapshots(session).add(
            digest.value,
            taxonomy=taxonomy,
            classes=dataset.data.classes,
            processors=processors,
            params=params,
            members=members,
            taken=taken,
        )
    return Snapshot(snapshot_id, digest.value, len(members))


class Digest:
    """The content hash of a snapshot; members are added by ascending document id."""

    def __init__(self, taxonomy: str, classes: Sequence[str], beside: str) -> None:
        self._digest = hashlib.sha256(json.dumps({"taxonomy": taxonomy, "classes": list(classes)}).encode())
        self._digest.update(beside.encode())

    def add(self, member: Member | FrozenMember, source: str, content_sha256: str) -> None:
        line = (member.document_id, member.label, source, member.split, content_sha256)
        self._digest.update("\x1f".join(line).encode())

    @property
    def value(self) -> str:
        return self._digest.hexdigest()


def _members(dataset: Dataset, folds: Sequence[Fold]) -> list[Member]:
    fold_of = {int(row): f"{_FOLD}{number}" for number, fold in enumerate(folds) for row in fold.test}
    return [
        Member(
            document_id=label.document_id,
            label_id=label.label_id,
            label=label.label,
            split=fold_of[row],
            duplicate_group=int(dataset.data.groups[row]),
            embedding_ids=[v.id for v in dataset.known[row].vectors],
            content_sha256=fingerprint(dataset.known[row]),
        )
        for row, label in enumerate(dataset.labels)
    ]


def beside_of(prompts: Mapping[str, Sequence[str]], archive_sha256: str) -> str:
    """What a model without training is made of beside its members, for the hash; `prompts` in the classes' order."""
    return json.dumps([dict(prompts), archive_sha256])


def prompts_in(snapshot: DatasetSnapshot) -> dict[str, list[str]]:
    """Prompts by class, in the order of the classes: jsonb keeps none."""
    return {slug: snapshot.params["prompts"][slug] for slug in snapshot.classes}


def versions_of(snapshot: DatasetSnapshot) -> Versions:
    """The processors whose rows the snapshot is made of."""
    return Versions(**{stage: int(snapshot.processors[stage]) for stage in _STAGES})


def thaw(snapshot: DatasetSnapshot, processors: ProcessorSet, beside: str = "") -> Thawed:
    """The dataset that was frozen, from the rows that it names.

    Args:
        processors: describe the pages, and tell the width of vectors where there is none.
        beside: what else the model was made of, as the store has it now: `beside_of`.

    Raises:
        Conflict: it was frozen before documents were put into folds.
    """
    behind = list(rows_behind(snapshot))
    members, known = [member for member, _ in behind], tuple(known for _, known in behind)
    folds = _folds(snapshot, members)
    labels = tuple(CurrentLabel(m.label_id, m.document_id, m.label, m.source, m.author, m.labelled) for m in members)
    groups = np.array([m.duplicate_group for m in members], dtype=np.int64)
    data = arrays(labels, blocks_of(known, processors), tuple(snapshot.classes), groups)
    return Thawed(Dataset(data, labels, known, {}, 0), folds, _content(snapshot, behind, beside))


def content_again(snapshot: DatasetSnapshot) -> Content:
    """The hash over the members, their labels' own rows, and all that is behind them and beside them."""
    return _content(snapshot, rows_behind(snapshot), _beside_again(snapshot))


def forgotten_of(snapshot: DatasetSnapshot) -> list[str]:
    """Its documents that have been forgotten, members and those of its archive, by id."""
    with transaction() as session:
        return Snapshots(session).forgotten(snapshot.id, snapshot.params.get("archive", ()))


def _content(snapshot: DatasetSnapshot, behind: Iterable[tuple[FrozenMember, Known]], beside: str) -> Content:
    digest, faults = Digest(snapshot.taxonomy, snapshot.classes, beside), {}
    for member, known in behind:
        digest.add(member, member.source, fingerprint(known))
        if (fault := fault_of(member, known)) is not None:
            faults[member.document_id] = fault
    return Content(digest.value, faults)


def _beside_again(snapshot: DatasetSnapshot) -> str:
    if "archive" not in snapshot.params:
        return ""
    ids = snapshot.params["archive"]
    with transaction() as session:
        known = known_of(Embeddings(session), RawTexts(session), ids, versions_of(snapshot), until=snapshot.created)
    return beside_of(prompts_in(snapshot), archive_content(ids, known))


def rows_behind(snapshot: DatasetSnapshot, block: int = 1000) -> Iterator[tuple[FrozenMember, Known]]:
    """Members by document, each with what the snapshot was taken of, as the store has it now; read in blocks.

    What came to a member only later is no part of it: vectors are the very rows that the snapshot names, texts those
    that had been read by then.
    """
    versions, after = versions_of(snapshot), ""
    while True:
        with transaction() as session:
            members = Snapshots(session).frozen(snapshot.id, after=after, limit=block)
            ids = [member.document_id for member in members]
            known = known_of(Embeddings(session), RawTexts(session), ids, versions, until=snapshot.created)
        if not members:
            return
        for member in members:
            found, named = known[member.document_id], set(member.embedding_ids)
            yield member, replace(found, vectors=[vector for vector in found.vectors if vector.id in named])
        after = ids[-1]


def fault_of(member: FrozenMember, known: Known) -> Fault | None:
    """What is not as it was frozen, the worst of it; None where all is."""
    if member.state == "forgotten":
        return Fault("forgotten", "the document was forgotten")
    found = [vector.id for vector in known.vectors]
    if found != member.embedding_ids:
        return Fault("vectors", f"{len(found)} of its {len(member.embedding_ids)} vectors are there")
    if member.stated != member.label:
        return Fault("label", f"the label was {member.label}, and its row says {member.stated}")
    if member.content_sha256 not in (None, fingerprint(known)):
        return Fault("content", "a vector or a text has other content")
    return None


def _folds(snapshot: DatasetSnapshot, members: Sequence[FrozenMember]) -> tuple[Fold, ...]:
    if not members:
        return ()
    if not all(member.split.startswith(_FOLD) for member in members):
        raise Conflict(
            f"Snapshot {snapshot.id} was frozen before documents were put into folds.",
            hint="What was made of it cannot be made again by this version; train a new model.",
        )
    numbers = np.array([int(member.split.removeprefix(_FOLD)) for member in members])
    return tuple(
        Fold(np.flatnonzero(numbers != number), np.flatnonzero(numbers == number))
        for number in range(int(numbers.max()) + 1)
    )
