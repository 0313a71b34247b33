"""A snapshot as a Parquet file, for whoever wants to train or look outside the platform.

One row a member, by document id. The footer's key `dsdc` holds what the snapshot was made of as JSON. Equal rows give
equal bytes: nothing in the file tells when or by whom it was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dsdc.db.repositories.embeddings import Embeddings
from dsdc.db.repositories.models import FrozenMember
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import Conflict
from dsdc.ml.dataset import Known, pooled
from dsdc.ml.features import Block
from dsdc.ml.snapshots import fault_of, rows_behind, versions_of
from dsdc.storage import writing

ROWS_AT_ONCE = 1000
FORMAT = 1

Progress = Callable[[int, int], None]  # (members written, members still to come)
_Behind = tuple[FrozenMember, Known]


@dataclass(frozen=True)
class Exported:
    """What was written; `faults` say, by document, what is not as it was frozen. What is forgotten has no vectors."""

    path: str
    snapshot_id: int
    content_sha256: str
    rows: int
    bytes: int
    faults: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def export(snapshot: DatasetSnapshot, path: Path, *, progress: Progress | None = None) -> Exported:
    """Write the snapshot to `path`, whole or not at all.

    Raises:
        Conflict: something is at `path` already. StorageError: it cannot be written.
    """
    if path.exists():
        raise Conflict(f"{path} exists already.", hint="Name another file, or remove this one.")
    with transaction() as session:
        width = Embeddings(session).width(versions_of(snapshot).embed)
        schema = _schema(width).with_metadata({"dsdc": _footer(snapshot, Processors(session))})
    faults: dict[str, str] = {}
    behind = _told(rows_behind(snapshot, ROWS_AT_ONCE), faults)
    draft = path.with_name(f".incoming-{os.getpid()}-{path.name}")
    rows = 0
    with writing(path.parent, (OSError, pa.ArrowException)):
        try:
            with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
                while block := tuple(islice(behind, ROWS_AT_ONCE)):
                    writer.write_table(_table(block, schema, width), row_group_size=ROWS_AT_ONCE)
                    rows += len(block)
                    if progress is not None:
                        progress(rows, snapshot.documents - rows)
            size = draft.stat().st_size
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return Exported(str(path), snapshot.id, snapshot.content_sha256, rows, size, faults)


def _told(behind: Iterable[_Behind], faults: dict[str, str]) -> Iterator[_Behind]:
    """The same, each member's fault noted on the way."""
    for member, known in behind:
        fault = fault_of(member, known)
        if fault is not None:
            faults[member.document_id] = fault.detail
        yield member, known


def _schema(width: int) -> pa.Schema:
    vector = pa.list_(pa.float32(), width)
    return pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("label_source", pa.string(), nullable=False),
            pa.field("label_author", pa.string(), nullable=False),
            pa.field("label_created", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("duplicate_group", pa.int32(), nullable=False),
            pa.field("embedding_ids", pa.list_(pa.int64()), nullable=False),
            pa.field("content_sha256", pa.string()),
            pa.field("has_image", pa.bool_(), nullable=False),
            pa.field("image_vector", vector, nullable=False),
            pa.field("has_text", pa.bool_(), nullable=False),
            pa.field("text_vector", vector, nullable=False),
        ]
    )


def _footer(snapshot: DatasetSnapshot, processors: Processors) -> str:
    """What the snapshot was made of, in JSON with sorted keys."""
    found = {}
    for stage, processor_id in snapshot.processors.items():
        row = processors.get(int(processor_id))
        if row is not None:
            found[stage] = {"name": row.name, "version": row.version, "params_hash": row.params_hash}
    content = {
        "format": FORMAT,
        "content_sha256": snapshot.content_sha256,
        "taxonomy": snapshot.taxonomy,
        "classes": list(snapshot.classes),
        "processors": found,
        "params": snapshot.params,
    }
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _table(block: tuple[_Behind, ...], schema: pa.Schema, width: int) -> pa.Table:
    members = [member for member, _ in block]
    image, text = pooled([known.vectors for _, known in block], width)
    columns = {
        "document_id": [m.document_id for m in members],
        "label": [m.label for m in members],
        "label_source": [m.source for m in members],
        "label_author": [m.author for m in members],
        "label_created": [m.labelled for m in members],
        "split": [m.split for m in members],
        "duplicate_group": [m.duplicate_group for m in members],
        "embedding_ids": [m.embedding_ids for m in members],
        "content_sha256": [m.content_sha256 for m in members],
        "has_image": image.present,
        "image_vector": _vectors(image, width),
        "has_text": text.present,
        "text_vector": _vectors(text, width),
    }
    return pa.table(columns, schema=schema)


def _vectors(block: Block, width: int) -> pa.Array:
    """Pooled over a document's pages, of length 1; zeros where there is none.

    Not null: Arrow writes fixed-size lists with nulls among them, and cannot read them again.
    """
    return pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(block.values, dtype=np.float32).reshape(-1)), width)
