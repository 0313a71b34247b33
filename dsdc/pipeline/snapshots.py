"""Snapshots for people: which there are, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from dsdc.db.repositories.models import FrozenMember, Snapshots
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import Conflict, NotFound

_LEAST_PREFIX = 8


@dataclass(frozen=True)
class Change:
    """A member that is in both snapshots, and what of it was one thing and is another."""

    document_id: str
    was: Any
    now: Any


@dataclass(frozen=True)
class SnapshotDiff:
    """What has to be done to the first snapshot to get the second; `processors` and `params` by name.

    `reread` have the same vectors' rows with other bytes, or other texts beside them.
    """

    first: int
    second: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[Change, ...]
    resplit: tuple[Change, ...]
    reembedded: tuple[Change, ...]
    reread: tuple[Change, ...]
    processors: Mapping[str, tuple[Any, Any]]
    params: Mapping[str, tuple[Any, Any]]

    @property
    def counts(self) -> dict[str, int]:
        names = ("added", "removed", "relabelled", "resplit", "reembedded", "reread", "processors", "params")
        return {name: len(getattr(self, name)) for name in names}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"counts": self.counts}


def listing() -> list[dict[str, Any]]:
    """Every snapshot, newest first."""
    with transaction() as session:
        return [dict(row._mapping) | {"versions": row.versions or []} for row in Snapshots(session).listing()]


def find(named: str) -> DatasetSnapshot:
    """A snapshot by its id, or by the beginning of its content hash, of at least 8 characters.

    Raises:
        NotFound: there is none. Conflict: several begin so.
    """
    with transaction() as session:
        snapshots = Snapshots(session)
        if named.isdecimal() and len(named) < _LEAST_PREFIX:
            found = [one for one in [snapshots.get(int(named))] if one is not None]
        elif len(named) >= _LEAST_PREFIX:
            found = list(snapshots.matching(named.lower()))
        else:
            found = []
    if not found:
        raise NotFound(
            f"There is no snapshot {named}.",
            hint=f"`dsdc snapshot list` shows ids and hashes; give at least {_LEAST_PREFIX} characters of a hash.",
        )
    if len(found) > 1:
        raise Conflict(f"{len(found)} snapshots begin with {named}.", hint="Give more characters, or the id.")
    return found[0]


def diff(first: DatasetSnapshot, second: DatasetSnapshot) -> SnapshotDiff:
    """What differs, as it was frozen."""
    with transaction() as session:
        before, after = (_members(session, one) for one in (first, second))
        processors = _differing(*(_processors(session, one) for one in (first, second)))
    both = sorted(before.keys() & after.keys())

    def changed(what: str) -> tuple[Change, ...]:
        pairs = ((document, getattr(before[document], what), getattr(after[document], what)) for document in both)
        return tuple(Change(*pair) for pair in pairs if None not in pair and pair[1] != pair[2])

    reembedded = changed("embedding_ids")
    anew = {change.document_id for change in reembedded}
    return SnapshotDiff(
        first=first.id,
        second=second.id,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        relabelled=changed("label"),
        resplit=changed("split"),
        reembedded=reembedded,
        reread=tuple(change for change in changed("content_sha256") if change.document_id not in anew),
        processors=processors,
        params=_differing(_params(first), _params(second)),
    )


def _members(session: Session, snapshot: DatasetSnapshot) -> dict[str, FrozenMember]:
    return {member.document_id: member for member in Snapshots(session).frozen(snapshot.id)}


def _processors(session: Session, snapshot: DatasetSnapshot) -> dict[str, str]:
    store, found = Processors(session), {}
    for stage, processor_id in snapshot.processors.items():
        row = store.get(int(processor_id))
        what = "" if row is None else f": {row.name} {row.version} ({row.params_hash[:12]})"
        found[stage] = f"{processor_id}{what}"
    return found


def _params(snapshot: DatasetSnapshot) -> dict[str, Any]:
    return {**snapshot.params, "taxonomy": snapshot.taxonomy, "classes": list(snapshot.classes)}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
