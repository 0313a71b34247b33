"""Labels files: a `labels.csv` beside documents, with the columns file,label."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsdc.errors import NotFound
from dsdc.failpoints import reach
from dsdc.pipeline.inbox import MANIFEST, Found, being_written, open_regular, printable
from dsdc.storage import sync_folder, writing

#: Where labels files of which every line has found its file are kept, below the folder of documents.
KEPT = "manifests"

Place = tuple[str, str]  # folder and name relative to the inbox, as `Found` has them


@dataclass(frozen=True)
class Row:
    """One line of a labels file; what it leaves out is ''."""

    line: int
    file: str
    label: str


@dataclass(frozen=True)
class Statement:
    """The file at `path` is of the class `label`; `key` tells this line of this arrival of a labels file apart."""

    place: Place
    path: Path
    label: str
    key: str = ""


@dataclass(frozen=True)
class LabelsFile:
    """A labels file of the inbox, as it was read."""

    found: Found
    data: bytes
    statements: tuple[Statement, ...]


def read_rows(path: Path) -> list[Row]:
    """The lines of a labels file that somebody named.

    Raises:
        NotFound: it cannot be read, or is no labels file.
    """
    try:
        return _rows(path.read_bytes())
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotFound(f"{path} is not UTF-8 in line {line}.", hint="Save it as UTF-8.") from error
    except (ValueError, csv.Error) as error:
        raise NotFound(f"{path} is no labels file, with columns file,label: {error}.") from error


def read_labels_file(found: Found, root: Path) -> LabelsFile | None:
    """What a labels file below `root` says; None for one that is being written or has changed since it was found.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read, or is no labels file.
    """
    with open_regular(found.path) as file:
        data = file.read()
        if being_written(file, found.path.parent) or not found.is_still(os.fstat(file.fileno())):
            return None
    rows = [row for row in _rows(data) if row.label]
    return LabelsFile(found, data, tuple(statements(rows, found.path.parent, root, found.arrival_key)))


def statements(rows: Sequence[Row], base: Path, root: Path, source: str = "") -> Iterator[Statement]:
    """What lines say of files below `root`; their paths are relative to `base`. `source`: what file they are of."""
    for row in rows:
        target = Path(os.path.normpath(base / row.file))
        if target.is_relative_to(root):
            relative = target.relative_to(root)
            folder = "" if relative.parent == Path() else str(relative.parent)
            place = (printable(folder), printable(relative.name))
            key = hashlib.sha256("|".join((source, *place)).encode()).hexdigest() if source else ""
            yield Statement(place, target, row.label, key)


def _rows(data: bytes) -> list[Row]:
    """The lines that name a file."""
    table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    if not table.fieldnames or not {"file", "label"} <= set(table.fieldnames):
        raise ValueError(f"it has the columns {table.fieldnames}")
    return [Row(table.line_num, row["file"], (row["label"] or "").strip()) for row in table if row["file"]]


def retire(file: LabelsFile, kept: Path) -> None:
    """Move a labels file that has done its work out of the inbox, into the folder `kept`.

    The copy is durable before the file is removed; one that was written to meanwhile stays for the next run.

    Raises:
        StorageError: `kept` cannot be written. OSError: the file cannot be looked at.
    """
    path = file.found.path
    with open_regular(path) as there:
        if being_written(there, path.parent):
            return
    _keep(file.data, kept)
    reach("ingest.manifest_kept")
    if file.found.is_still(os.lstat(path)):
        path.unlink()


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
