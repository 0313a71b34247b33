"""Snapshots, model versions and aliases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import DatasetSnapshot, ModelAlias, ModelVersion, SnapshotMember

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Member:
    """One document of a snapshot."""

    document_id: str
    label_id: int
    label: str
    split: str
    duplicate_group: int
    embedding_ids: list[int]


@dataclass(frozen=True)
class Labelled:
    """A member, and what its label's own row says now: what is `stated`, by which source."""

    document_id: str
    label: str
    stated: str
    source: str
    split: str
    embedding_ids: list[int]


@dataclass(frozen=True)
class NewModel:
    """What is recorded of a trained head."""

    name: str
    version: int
    mlflow_run_id: str
    head_sha256: str
    recipe_sha256: str
    snapshot_id: int
    clip_processor_id: int
    clip_weights_sha256: str
    classes: list[str]
    metrics: Mapping[str, Any]
    calibration: Mapping[str, Any]
    code_commit: str
    airflow_run: str | None


class Snapshots:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        content_sha256: str,
        *,
        taxonomy: str,
        classes: Sequence[str],
        processors: Mapping[str, int],
        params: Mapping[str, Any],
        members: Sequence[Member],
    ) -> int:
        """Id of the snapshot with this content, recorded now if it is new."""
        row = insert(DatasetSnapshot).values(
            content_sha256=content_sha256,
            taxonomy=taxonomy,
            classes=list(classes),
            documents=len(members),
            processors=dict(processors),
            params=dict(params),
        )
        new = self._session.scalar(row.on_conflict_do_nothing().returning(DatasetSnapshot.id))
        if new is None:
            return self._session.execute(
                select(DatasetSnapshot.id).where(DatasetSnapshot.content_sha256 == content_sha256)
            ).scalar_one()
        if members:
            self._session.execute(insert(SnapshotMember), [asdict(m) | {"snapshot_id": new} for m in members])
        return new

    def get(self, snapshot_id: int) -> DatasetSnapshot | None:
        return self._session.get(DatasetSnapshot, snapshot_id)

    def latest(self) -> DatasetSnapshot | None:
        return self._session.scalar(select(DatasetSnapshot).order_by(DatasetSnapshot.id.desc()).limit(1))

    def members(self, snapshot_id: int) -> Sequence[SnapshotMember]:
        return self._session.scalars(
            select(SnapshotMember).where(SnapshotMember.snapshot_id == snapshot_id).order_by(SnapshotMember.document_id)
        ).all()

    def labelled(self, snapshot_id: int) -> list[Labelled]:
        """Its members by document."""
        query = text(
            "SELECT m.document_id, m.label, l.label, l.source, m.split, m.embedding_ids FROM snapshot_members m"
            " JOIN labels l ON l.id = m.label_id WHERE m.snapshot_id = :snapshot ORDER BY m.document_id"
        )
        return [Labelled(*row) for row in self._session.execute(query, {"snapshot": snapshot_id})]

    def forgotten(self, snapshot_id: int, archive: Collection[str] = ()) -> int:
        """How many of its documents, and of those of the archive, have been forgotten."""
        query = text(
            "SELECT count(*) FROM original_documents d WHERE d.state = 'forgotten' AND (d.id = ANY (:archive) OR EXISTS"
            " (SELECT FROM snapshot_members m WHERE m.snapshot_id = :snapshot AND m.document_id = d.id))"
        )
        return self._session.execute(query, {"snapshot": snapshot_id, "archive": list(archive)}).scalar_one()


class Models:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, model: NewModel) -> int:
        row = insert(ModelVersion).values(**asdict(model)).returning(ModelVersion.id)
        return self._session.execute(row).scalar_one()

    def get(self, model_version_id: int) -> ModelVersion | None:
        return self._session.get(ModelVersion, model_version_id)

    def by_version(self, name: str, version: int) -> ModelVersion | None:
        return self._session.scalar(
            select(ModelVersion).where(ModelVersion.name == name, ModelVersion.version == version)
        )

    def set_alias(self, name: str, alias: Alias, model_version_id: int, *, author: str, reason: str) -> None:
        """Move an alias; every move stays on record."""
        self._session.add(
            ModelAlias(name=name, alias=alias, model_version_id=model_version_id, author=author, reason=reason)
        )
        self._session.flush()

    def with_alias(self, name: str, alias: Alias) -> ModelVersion | None:
        """The version that holds the alias now."""
        return self._session.scalar(
            select(ModelVersion)
            .join(ModelAlias, ModelAlias.model_version_id == ModelVersion.id)
            .where(ModelAlias.name == name, ModelAlias.alias == alias)
            .order_by(ModelAlias.id.desc())
            .limit(1)
        )

    def alias_history(self, name: str, alias: Alias) -> Sequence[ModelAlias]:
        return self._session.scalars(
            select(ModelAlias).where(ModelAlias.name == name, ModelAlias.alias == alias).order_by(ModelAlias.id)
        ).all()

    def lock_registry(self, name: str) -> None:
        """Keep two trainings from recording versions at once, until this transaction ends."""
        self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('dsdc.registry'), hashtext(:name))"), {"name": name}
        )
