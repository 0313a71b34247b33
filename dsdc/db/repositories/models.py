"""Snapshots, model versions and aliases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import DatasetSnapshot, Label, ModelAlias, ModelVersion, OriginalDocument, SnapshotMember

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
    content_sha256: str | None = None


@dataclass(frozen=True)
class FrozenMember:
    """A member, with what the rows behind it say now: its label's own row, and its document's state."""

    document_id: str
    label_id: int
    label: str
    split: str
    duplicate_group: int
    embedding_ids: list[int]
    content_sha256: str | None
    stated: str
    source: str
    author: str
    labelled: datetime
    state: str


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


_LISTING = text("""
    SELECT s.id, s.content_sha256, s.taxonomy, s.documents, cardinality(s.classes) AS classes, s.created,
        (SELECT array_agg(v.version ORDER BY v.version) FROM model_versions v WHERE v.snapshot_id = s.id) AS versions,
        (SELECT count(*) FROM snapshot_members m JOIN original_documents d ON d.id = m.document_id
         WHERE m.snapshot_id = s.id AND d.state = 'forgotten') AS forgotten
    FROM dataset_snapshots s ORDER BY s.id DESC
""")


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
        taken: datetime,
    ) -> int:
        """Id of the snapshot with this content, recorded as of `taken` if it is new."""
        row = insert(DatasetSnapshot).values(
            content_sha256=content_sha256,
            taxonomy=taxonomy,
            classes=list(classes),
            documents=len(members),
            processors=dict(processors),
            params=dict(params),
            created=taken,
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

    def matching(self, prefix: str) -> Sequence[DatasetSnapshot]:
        """Those whose content hash begins so, by id."""
        s = DatasetSnapshot
        return self._session.scalars(
            select(s).where(s.content_sha256.startswith(prefix, autoescape=True)).order_by(s.id)
        ).all()

    def listing(self) -> Sequence[Row[Any]]:
        """Every snapshot, newest first, with the model versions made of it and how many members are forgotten."""
        return self._session.execute(_LISTING).all()

    def frozen(self, snapshot_id: int, *, after: str = "", limit: int | None = None) -> list[FrozenMember]:
        """Members by document, beginning after `after`."""
        m, d = SnapshotMember, OriginalDocument
        columns = (m.document_id, m.label_id, m.label, m.split, m.duplicate_group, m.embedding_ids, m.content_sha256)
        rows = self._session.execute(
            select(*columns, Label.label, Label.source, Label.author, Label.created, d.state)
            .join(Label, Label.id == m.label_id)
            .join(d, d.id == m.document_id)
            .where(m.snapshot_id == snapshot_id, m.document_id > after)
            .order_by(m.document_id)
            .limit(limit)
        )
        return [FrozenMember(*tuple(row)) for row in rows]

    def members(self, snapshot_id: int) -> Sequence[SnapshotMember]:
        return self._session.scalars(
            select(SnapshotMember).where(SnapshotMember.snapshot_id == snapshot_id).order_by(SnapshotMember.document_id)
        ).all()

    def forgotten(self, snapshot_id: int, archive: Collection[str] = ()) -> list[str]:
        """Those of its documents, and of those of the archive, that have been forgotten, by id."""
        query = text(
            "SELECT d.id FROM original_documents d WHERE d.state = 'forgotten' AND (d.id = ANY (:archive) OR EXISTS"
            " (SELECT FROM snapshot_members m WHERE m.snapshot_id = :snapshot AND m.document_id = d.id))"
            " ORDER BY d.id"
        )
        return list(self._session.scalars(query, {"snapshot": snapshot_id, "archive": list(archive)}))


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
