"""The invariant, looked at from outside: by SQL and by reading files, with nothing of the code that keeps it.

Every input byte is in exactly one of inbox, store with a row, quarantine with its reason. No derived row exists twice
for the same input and processor version. Every row's file exists and has the hash that the row says.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.pipeline.fsck import fsck
from dsdc.settings import Settings
from dsdc.storage import open_storage

#: Findings that a process killed a moment ago may leave: the next run, or `dsdc fsck --repair`, sees to them.
PASSING = {"leftover", "unfinished"}

_UNIQUE = {
    "processed_images": "document_id, page, processor_id",
    "raw_texts": "processed_image_id, processor_id",
    "processed_texts": "raw_text_id, processor_id",
    "embeddings": "processed_image_id, processed_text_id, processor_id",
    "stage_attempts": "stage, processor_id, input_id",
}

_UNDERIVED = """
    SELECT a.stage, a.input_id FROM stage_attempts a WHERE a.state = 'done' AND NOT CASE a.stage
        WHEN 'render' THEN EXISTS (SELECT 1 FROM processed_images i
            WHERE i.document_id = a.input_id AND i.processor_id = a.processor_id)
        WHEN 'text' THEN EXISTS (SELECT 1 FROM raw_texts t
            WHERE t.processed_image_id::text = a.input_id AND t.processor_id = a.processor_id)
        WHEN 'clean' THEN EXISTS (SELECT 1 FROM processed_texts c
            WHERE c.raw_text_id::text = a.input_id AND c.processor_id = a.processor_id)
        WHEN 'embed-image' THEN EXISTS (SELECT 1 FROM embeddings e
            WHERE e.processed_image_id::text = a.input_id AND e.processor_id = a.processor_id)
        WHEN 'embed-text' THEN EXISTS (SELECT 1 FROM embeddings e
            WHERE e.processed_text_id::text = a.input_id AND e.processor_id = a.processor_id)
        ELSE true END
"""


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_invariant(config: Settings, inbox_bytes: Iterable[str], *, settled: bool = True) -> None:
    """Assert the whole invariant, and that fsck says the same.

    Args:
        config: of a project whose bytes lie in folders.
        inbox_bytes: SHA-256 of every file ever put into the inbox, once for each time.
        settled: False right after a process was killed: then what has a row may still lie in the inbox, and bytes
            may lie in the store or in quarantine whose row is still to come. Nothing may be nowhere even then.
    """
    arrived = Counter(inbox_bytes)
    waiting = Counter(sha256_of(p.read_bytes()) for p in files_of(config.path("to_ingest")))
    stored = _stored(config)
    quarantined = _quarantined(config)
    for sha256 in arrived:
        places = [bool(waiting[sha256]), sha256 in stored, sha256 in quarantined]
        assert any(places), f"{sha256} is nowhere"
        assert sum(places) == 1 or not settled, f"{sha256} is in inbox, store, quarantine: {places}"
    _every_byte_has_a_row(config, stored, quarantined, settled=settled)
    _sightings(arrived, waiting, settled=settled)
    _derived_rows(config)
    report = fsck(config, open_storage(config))
    kinds = {finding.kind for finding in report.findings}
    # Page images of a document that was rejected half way are of no row; every document's bytes were looked at above.
    assert kinds <= ({"recent"} if settled else PASSING | {"recent"}), report.findings


def files_of(folder: Path) -> list[Path]:
    """The visible regular files below a folder that are documents."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def final_state(config: Settings) -> dict[str, Any]:
    """What there is, without what differs from run to run (ids, times, authors): equal states are equal dicts."""
    queries = {
        "documents": "SELECT id, file_path, media_type, byte_size, page_count, state FROM original_documents",
        "sightings": "SELECT document_id, source, name, folder FROM sightings",
        "rejected": "SELECT sha256, document_id, file_path, stage, category, released IS NULL FROM rejected_documents",
        "labels": "SELECT document_id, label, source, superseded_by IS NULL FROM labels",
        "images": "SELECT document_id, page, image_file, processor_id FROM processed_images",
        "attempts": "SELECT stage, processor_id, document_id, state, category, count(*)"
        " FROM stage_attempts GROUP BY 1, 2, 3, 4, 5",
    }
    state: dict[str, Any] = {name: sorted(map(repr, rows(query))) for name, query in queries.items()}
    for name in ("to_ingest", "raw", "rejected"):
        folder = config.path(name)  # type: ignore[arg-type]
        state[name] = sorted(str(p.relative_to(folder)) for p in files_of(folder))
    return state


def rows(query: str) -> list[tuple[Any, ...]]:
    with transaction() as session:
        return [tuple(row) for row in session.execute(text(query))]


def _stored(config: Settings) -> set[str]:
    """Documents in the store; each row's bytes are there and have its hash and size."""
    found = set()
    for sha256, key, size in rows("SELECT id, file_path, byte_size FROM original_documents WHERE state = 'stored'"):
        data = (config.path("raw") / key.removeprefix("raw/")).read_bytes()
        assert (sha256_of(data), len(data)) == (sha256, size), f"{key} has other bytes"
        found.add(sha256)
    return found


def _quarantined(config: Settings) -> set[str]:
    """Bytes in quarantine; each row's file is there, has its hash, and its reason lies beside it."""
    found = set()
    for sha256, name in rows("SELECT sha256, file_path FROM rejected_documents WHERE released IS NULL"):
        path = config.path("rejected") / name
        assert sha256_of(path.read_bytes()) == sha256, f"{name} has other bytes"
        reason = json.loads(path.with_name(f"{name}.reason.json").read_text())
        assert reason["reason"] and reason["category"] and reason["sha256"] == sha256
        found.add(sha256)
    return found


def _every_byte_has_a_row(config: Settings, stored: set[str], quarantined: set[str], *, settled: bool) -> None:
    rejected = {sha256 for (sha256,) in rows("SELECT id FROM original_documents WHERE state = 'rejected'")}
    assert rejected <= quarantined, f"rejected, but not in quarantine: {rejected - quarantined}"
    if not settled:
        return
    assert {p.name for p in config.path("raw").glob("??/??/*")} == stored
    names = {name for (name,) in rows("SELECT file_path FROM rejected_documents WHERE released IS NULL")}
    beside = {f"{name}.reason.json" for name in names}
    assert {p.name for p in config.path("rejected").iterdir() if not p.name.startswith(".")} == names | beside


def _sightings(arrived: Counter[str], waiting: Counter[str], *, settled: bool) -> None:
    """Each arrival that became a document was seen once; whatever is a document was seen."""
    # An arrival that was refused has a row in quarantine, and a sighting only once it is released.
    refused = {sha256 for (sha256,) in rows("SELECT sha256 FROM rejected_documents WHERE document_id IS NULL")}
    seen = dict(rows("SELECT document_id, count(*) FROM sightings WHERE source = 'inbox' GROUP BY 1"))
    for (sha256,) in rows("SELECT id FROM original_documents"):
        if sha256 not in arrived:
            continue
        assert seen.get(sha256, 0) <= arrived[sha256], f"{sha256} was seen more often than it came"
        if settled:
            missing = arrived[sha256] - waiting[sha256] - seen.get(sha256, 0)
            assert missing == 0 or sha256 in refused, f"{missing} arrivals of {sha256} are not on record"
    assert (
        rows("SELECT id FROM original_documents d WHERE NOT EXISTS (SELECT FROM sightings WHERE document_id = d.id)")
        == []
    )


def _derived_rows(config: Settings) -> None:
    for table, columns in _UNIQUE.items():
        assert rows(f"SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1") == [], table
    for key, sha256 in rows("SELECT DISTINCT image_file, image_sha256 FROM processed_images"):
        data = (config.path("processed") / key.removeprefix("processed/")).read_bytes()
        assert sha256_of(data) == sha256, f"{key} has other bytes"
    assert rows(_UNDERIVED) == []
