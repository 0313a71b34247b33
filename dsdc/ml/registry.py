"""Which heads there are, where their bytes lie, and which one serves.

The database and `models/heads/<sha256>/` are what serving stands on; MLflow holds the same versions and aliases for
people. So a service starts and reloads while MLflow is down.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dsdc.db.repositories.models import Alias, Models, NewModel
from dsdc.db.session import transaction
from dsdc.db.tables import ModelVersion
from dsdc.errors import NoChampion, NotFound
from dsdc.log import get_logger
from dsdc.settings import Settings
from dsdc.storage import sync_folder, writing

log = get_logger(__name__)

#: The reason on record where an alias goes back to a version that had it before.
ROLLBACK = "rollback"


@dataclass(frozen=True)
class Registered:
    """One model version, and the folder with its head and recipe."""

    id: int
    name: str
    version: int
    head_sha256: str
    recipe_sha256: str
    mlflow_run_id: str
    snapshot_id: int
    clip_processor_id: int
    metrics: Mapping[str, Any]
    folder: Path
    created: datetime


def head_folder(config: Settings, head_sha256: str, recipe_sha256: str) -> Path:
    """Where the bytes of a head lie: by content, so that no version can change under another's feet."""
    return config.path("models") / "heads" / head_sha256 / recipe_sha256[:16]


def put_head(config: Settings, source: Path, head_sha256: str, recipe_sha256: str) -> Path:
    """Copy a head's folder to its place: there whole, durable, or not at all. What lay there damaged is replaced.

    Raises:
        StorageError: the place refuses.
    """
    target = head_folder(config, head_sha256, recipe_sha256)
    if _content(target) == _content(source):
        return target
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".incoming-"))
        try:
            _copy_durably(source, draft)
            shutil.rmtree(target, ignore_errors=True)
            draft.replace(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def _copy_durably(source: Path, target: Path) -> None:
    for name, data in _content(source).items():
        with (target / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    target.chmod(0o755)
    sync_folder(target)


def register(new: NewModel) -> int:
    """Record a version; returns its id."""
    with transaction() as session:
        return Models(session).add(new)


def set_alias(config: Settings, alias: Alias, model_version_id: int, *, author: str, reason: str) -> None:
    """Move an alias, in one row that stays on record."""
    with transaction() as session:
        models = Models(session)
        models.lock_registry(config.train.model_name)
        models.set_alias(config.train.model_name, alias, model_version_id, author=author, reason=reason)
    log.info("model.alias", alias=alias, model_version_id=model_version_id, author=author, reason=reason)


def with_alias(config: Settings, alias: Alias) -> Registered | None:
    """The version that holds the alias now."""
    with transaction() as session:
        found = Models(session).with_alias(config.train.model_name, alias)
    return None if found is None else _registered(config, found)


def champion_before(config: Settings) -> Registered | None:
    """The version that a rollback makes the champion; None where there is none."""
    with transaction() as session:
        models = Models(session)
        history = models.alias_history(config.train.model_name, "champion")
        earlier = predecessor([(move.model_version_id, move.reason) for move in history])
        found = None if earlier is None else models.get(earlier)
    return None if found is None else _registered(config, found)


def predecessor(moves: Sequence[tuple[int, str]]) -> int | None:
    """The version before the present one, from all moves of an alias as (version's id, reason), the oldest first.

    One rollback after the other goes further and further back: what one has left comes again by a promotion only.
    """
    line: list[int] = []
    left: set[int] = set()
    for version, reason in moves:
        if reason == ROLLBACK and version in line:
            while line[-1] != version:
                left.add(line.pop())
        elif line[-1:] != [version]:
            left.discard(version)
            line.append(version)
    return next((version for version in reversed(line) if version != line[-1] and version not in left), None)


def champion(config: Settings) -> Registered:
    """The version that serves.

    Raises:
        NoChampion: before the first training.
    """
    found = with_alias(config, "champion")
    if found is None:
        raise NoChampion(
            "No model has been trained yet.", hint="Bring labelled documents in and run the DAG train_model."
        )
    return found


def by_version(config: Settings, version: int) -> Registered:
    """A version by its number.

    Raises:
        NotFound: there is no such version.
    """
    with transaction() as session:
        found = Models(session).by_version(config.train.model_name, version)
    if found is None:
        raise NotFound(f"{config.train.model_name} has no version {version}.")
    return _registered(config, found)


def _registered(config: Settings, row: ModelVersion) -> Registered:
    return Registered(
        id=row.id,
        name=row.name,
        version=row.version,
        head_sha256=row.head_sha256,
        recipe_sha256=row.recipe_sha256,
        mlflow_run_id=row.mlflow_run_id,
        snapshot_id=row.snapshot_id,
        clip_processor_id=row.clip_processor_id,
        metrics=row.metrics,
        folder=head_folder(config, row.head_sha256, row.recipe_sha256),
        created=row.created,
    )
