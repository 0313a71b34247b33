"""Labels files: a `labels.csv` beside documents, with the columns file,label."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsdc.failpoints import reach
from dsdc.pipeline.inbox import MANIFEST, being_written, open_regular, printable
from dsdc.storage import sync_folder, writing

#: Where labels files of which nothing is left in the inbox are kept, below the folder of documents.
KEPT = "manifests"

Place = tuple[str, str]  # folder and name relative to the inbox, as `Found` has them


@dataclass(frozen=True)
class Statement:
    """One line: the file at `path` is of the class `label`."""

    place: Place
    path: Path
    label: str


def read_manifest(path: Path, base: Path, root: Path) -> list[Statement]:
    """The statements of a labels file about files below `root`; its paths are relative to `base`.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read, or is no labels file.
    """
    return _parse(_read(path), base, root)


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def _parse(data: bytes, base: Path, root: Path) -> list[Statement]:
    rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    if not rows.fieldnames or not {"file", "label"} <= set(rows.fieldnames):
        raise ValueError(f"it has the columns {rows.fieldnames}")
    return list(_statements(rows, base, root))


def _statements(rows: csv.DictReader[str], base: Path, root: Path) -> Iterator[Statement]:
    for row in rows:
        if not row["file"] or not row["label"]:
            continue
        target = Path(os.path.normpath(base / row["file"]))
        if target.is_relative_to(root):
            relative = target.relative_to(root)
            folder = "" if relative.parent == Path() else str(relative.parent)
            yield Statement((printable(folder), printable(relative.name)), target, row["label"].strip())


def retire(path: Path, root: Path, kept: Path) -> bool:
    """Move a labels file of which nothing is left in the inbox into the folder `kept`; True when that was done.

    The copy is durable before the file is removed; what was written to meanwhile stays for the next run.

    Raises:
        StorageError: `kept` cannot be written. OSError, ValueError, csv.Error: as `read_manifest`.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        data = file.read()
        if being_written(file, path.parent) or _any_left(_parse(data, path.parent, root)):
            return False
    _keep(data, kept)
    reach("ingest.manifest_kept")
    now = os.lstat(path)
    if (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns):
        path.unlink()
    return True


def _any_left(statements: Sequence[Statement]) -> bool:
    return any(os.path.lexists(statement.path) for statement in statements)


def _keep(data: bytes, folder: Path) -> None:
    target = folder / f"{hashlib.sha256(data).hexdigest()[:16]}-{MANIFEST}"
    draft = target.with_name(f".incoming-{os.getpid()}-{target.name}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
            sync_folder(folder)
        finally:
            draft.unlink(missing_ok=True)
