"""What forgetting documents would take, and what has been made with them: said before it is done."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from dsdc.db.repositories.erasure import Erasure
from dsdc.db.session import transaction
from dsdc.errors import Conflict, NotFound, SettingsError, WeightsError
from dsdc.ml import registry
from dsdc.ml.recipe import RECIPE_FILE, Recipe
from dsdc.settings import Settings

LEAST_PREFIX = 8


@dataclass(frozen=True)
class Learnt:
    """A model version that was made of documents; with `holds_vectors` it compares with their very vectors."""

    model: str
    version: int
    champion: bool
    kind: str
    holds_vectors: bool
    folder: str  # of its head
    documents: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.model} {self.version}"


@dataclass(frozen=True)
class Target:
    """A document that is to be forgotten, what there is of it, and where it left traces that stay.

    `name` is for the person who decides, and in no record. `attached`: it goes because the only e-mails that it
    came in go, or are gone.
    `messages` are e-mails that stay, and hold its bytes.
    """

    document_id: str
    name: str
    state: str
    counts: Mapping[str, int]
    attached: bool
    snapshots: tuple[int, ...]
    neighbour_of: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    targets: tuple[Target, ...]
    models: tuple[Learnt, ...]

    @property
    def documents(self) -> tuple[str, ...]:
        """What came with an e-mail goes before it: whoever is interrupted finds it by the e-mail once more."""
        first = sorted(self.targets, key=lambda target: not target.attached)
        return tuple(target.document_id for target in first)

    def told(self) -> dict[str, dict[str, Any]]:
        """By document, what the audit log keeps: numbers and hashes, no name."""
        learnt: defaultdict[str, list[str]] = defaultdict(list)
        for model in self.models:
            for document in model.documents:
                learnt[document].append(model.title)
        return {
            target.document_id: {
                "state": target.state,
                **target.counts,
                "snapshots": list(target.snapshots),
                "models": learnt[target.document_id],
                "neighbour_of": len(target.neighbour_of),
            }
            for target in self.targets
        }

    def as_dict(self) -> dict[str, Any]:
        documents = []
        for target in self.targets:
            row = {key: value for key, value in vars(target).items() if key not in ("name", "counts")}
            documents.append(row | dict(target.counts))
        return {"documents": documents, "models": [vars(model) | {"title": model.title} for model in self.models]}


def plan_for(config: Settings, named: Sequence[str]) -> Plan:
    """Documents by their SHA-256 or the beginning of it; attachments that came with them alone go too.

    Raises:
        NotFound: there is no such document. Conflict: several begin so.
    """
    with transaction() as session:
        erasure = Erasure(session)
        wanted = list(dict.fromkeys(_resolve(erasure, one) for one in named))
        every = list(wanted)
        while more := [*erasure.attached_only(every), *erasure.refused_in(every)]:
            every += dict.fromkeys(more)
        return _plan(config, session, every, attached=set(every) - set(wanted))


def plan_expired(config: Settings) -> Plan:
    """Documents older than `retention.days`, by their last arrival, and what is in quarantine or was only answered.

    An attachment is as old as the youngest e-mail that it came in. Documents that a person has labelled, or that came
    with their label, are spared, unless `retention.labelled` says otherwise.

    Raises:
        SettingsError: `retention.days` is not set.
    """
    days = config.retention.days
    if days is None:
        raise SettingsError(
            "retention.days is not set: documents are kept for ever.", hint="Set it in config.local.yaml."
        )
    with transaction() as session:
        erasure = Erasure(session)
        found = erasure.expired(days, labelled=config.retention.labelled)
        refused = erasure.refused_in(found)
        loose = [one for one in erasure.expired_loose(days) if one not in set(refused)]
        return _plan(config, session, [*found, *refused, *loose], attached=set(refused))


def _resolve(erasure: Erasure, named: str) -> str:
    prefix = named.lower()
    if len(prefix) < LEAST_PREFIX or not re.fullmatch("[0-9a-f]{1,64}", prefix):
        raise NotFound(
            f"{named!r} is no SHA-256 of a document.",
            hint=f"Give it whole, or at least its first {LEAST_PREFIX} digits.",
        )
    found = erasure.matching(prefix)
    if not found:
        raise NotFound(f"There is no document {named}.", hint="`dsdc rejected` and the answers' document_id name some.")
    if len(found) > 1:
        raise Conflict(f"{len(found)} documents begin with {named}.", hint=f"Give more: {', '.join(found)}.")
    return found[0]


def _plan(config: Settings, session: Session, ids: Sequence[str], *, attached: set[str]) -> Plan:
    erasure = Erasure(session)
    snapshots, learnt = _learnt(config, erasure, ids)
    neighbours, messages = _grouped(erasure.neighbour_of(ids)), _grouped(erasure.messages_holding(ids))
    targets = [_target(row, row.id in attached) for row in erasure.facts(ids)]
    whole = [
        replace(
            target,
            snapshots=tuple(sorted(snapshots[target.document_id])),
            neighbour_of=tuple(neighbours[target.document_id]),
            messages=tuple(messages[target.document_id]),
        )
        for target in targets
    ]
    return Plan(tuple(whole), learnt)


def _target(row: Row[Any], attached: bool) -> Target:
    names = ("pages", "texts", "vectors", "labels", "human_labels", "predictions", "quarantined", "waiting_in_batches")
    counts = {name: int(getattr(row, name)) for name in names}
    return Target(row.id, row.name, row.state, {"bytes": row.byte_size or 0, **counts}, attached, (), (), ())


def _grouped(rows: Sequence[Row[Any]]) -> defaultdict[str, list[str]]:
    """Rows of (document, something), by document."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        document, other = tuple(row)
        found[document].append(str(other))
    return found


def _learnt(
    config: Settings, erasure: Erasure, ids: Sequence[str]
) -> tuple[defaultdict[str, set[int]], tuple[Learnt, ...]]:
    """Snapshots by document, and the models that were made of them."""
    by_document: defaultdict[str, set[int]] = defaultdict(set)
    by_snapshot: defaultdict[int, set[str]] = defaultdict(set)
    members: defaultdict[int, set[str]] = defaultdict(set)
    for row in erasure.snapshots_of(ids):
        by_document[row.document_id].add(row.snapshot_id)
        by_snapshot[row.snapshot_id].add(row.document_id)
        if row.as_member:
            members[row.snapshot_id].add(row.document_id)
    models = []
    for row in erasure.models_of(list(by_snapshot)):
        folder = registry.head_folder(config, row.head_sha256, row.recipe_sha256)
        kind = _kind(folder)
        holds = kind == "neighbours" and bool(members[row.snapshot_id])
        documents = tuple(sorted(by_snapshot[row.snapshot_id]))
        models.append(Learnt(row.name, row.version, bool(row.champion), kind, holds, str(folder), documents))
    return by_document, tuple(models)


def _kind(folder: Path) -> str:
    try:
        return Recipe.from_json((folder / RECIPE_FILE).read_bytes()).kind
    except (OSError, WeightsError):
        return "unknown"  # its files are gone, and with them what it holds
