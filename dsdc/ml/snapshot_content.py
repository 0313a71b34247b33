"""The hash of a snapshot once more, from the rows that it names as the store has them now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.models import Labelled, Snapshots
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import NotFound
from dsdc.ml.dataset import Digest, Known, archive_content, beside_of, fingerprint, known_of

#: Documents whose vectors and texts are in memory at once.
_AT_ONCE = 500

_Behind = Callable[[Sequence[str]], dict[str, Known]]


def content_again(snapshot_id: int) -> str:
    """The hash, over the members, their labels' own rows, and all that is behind them.

    What came to a member only after the snapshot was taken is no part of it: vectors are the very rows that the
    snapshot names, texts those that had been read by then.

    Raises:
        NotFound: there is no such snapshot, or documents of it were forgotten.
    """
    with transaction() as session:
        snapshots = Snapshots(session)
        snapshot = snapshots.get(snapshot_id)
        if snapshot is None:
            raise NotFound(f"There is no snapshot {snapshot_id}.")
        if gone := snapshots.forgotten(snapshot_id, snapshot.params.get("archive", ())):
            raise NotFound(f"{gone} of its documents were forgotten.")
        used = snapshot.processors
        versions = Versions(render=used["render"], text=used["text"], clean=used["clean"], embed=used["embed"])
        behind = partial(known_of, Embeddings(session), RawTexts(session), versions=versions, until=snapshot.created)
        digest = Digest(snapshot.taxonomy, snapshot.classes, _beside(snapshot, behind))
        for member, known in _members(snapshots.labelled(snapshot_id), behind):
            digest.add(member, member.source, fingerprint(known))
    return digest.value


def _members(labelled: Sequence[Labelled], behind: _Behind) -> Iterator[tuple[Labelled, Known]]:
    for start in range(0, len(labelled), _AT_ONCE):
        part = labelled[start : start + _AT_ONCE]
        known = behind([member.document_id for member in part])
        for member in part:
            found, entered = known[member.document_id], set(member.embedding_ids)
            # Of two rows that disagree one was changed; with neither does the hash come out.
            label = member.label if member.label == member.stated else f"{member.label}, {member.stated}"
            vectors = [vector for vector in found.vectors if vector.id in entered]
            yield replace(member, label=label), replace(found, vectors=vectors)


def _beside(snapshot: DatasetSnapshot, behind: _Behind) -> str:
    if "archive" not in snapshot.params:
        return ""
    ids = snapshot.params["archive"]
    # jsonb keeps no order of keys; they were written in that of the classes.
    prompts = {slug: snapshot.params["prompts"][slug] for slug in snapshot.classes}
    return beside_of(prompts, archive_content(ids, behind(ids)))
