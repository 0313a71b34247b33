"""What cannot be read goes to `data/rejected`, with the reason beside it and in the database.

The copy is made durable before the row that tells of it, and the original is removed last: at no moment are the bytes
nowhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import BinaryIO

from dsdc.db.repositories.documents import Documents, RejectedDocuments, Rejection
from dsdc.db.session import retrying, transaction
from dsdc.errors import DsdcError
from dsdc.log import get_logger
from dsdc.settings import Settings
from dsdc.storage import CHUNK, Storage, sync_folder

log = get_logger(__name__)


def safe_name(name: str, limit: int = 120) -> str:
    """A file name that is harmless everywhere, still recognisable: letters, digits, dot, dash, underscore."""
    plain = unicodedata.normalize("NFKD", name.rsplit("/", 1)[-1]).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip("._-")
    return plain[-limit:] or "document"


def reject_file(config: Settings, source: BinaryIO, name: str, error: DsdcError, *, stage: str) -> Rejection:
    """Copy a file's bytes into quarantine and record why; the caller removes the original afterwards."""
    folder = config.path("rejected")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".incoming-{os.getpid()}-{safe_name(name)}"
    sha256, size = _copy(source, draft)
    rejection = Rejection(
        sha256=sha256,
        original_name=name,
        file_path=f"{sha256[:16]}-{safe_name(name)}",
        byte_size=size,
        stage=stage,
        category=error.category,
        message=str(error),
    )
    _publish(folder, draft, rejection)
    retrying(lambda: _record(rejection))
    log.warning("document.rejected", name=name, category=rejection.category, reason=rejection.message, stage=stage)
    return rejection


def reject_document(
    config: Settings, storage: Storage, document_id: str, *, stage: str, category: str, message: str, attempts: int = 1
) -> None:
    """Move a stored document into quarantine: its row stays, with state `rejected`, as the record of the arrival."""
    with transaction() as session:
        document = Documents(session).get(document_id)
    if document is None or document.state != "stored":
        return
    folder = config.path("rejected")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".incoming-{os.getpid()}-{document_id[:16]}"
    with storage.local(document.file_path) as path, path.open("rb") as source:
        sha256, size = _copy(source, draft)
    rejection = Rejection(
        sha256=sha256,
        original_name=document.original_name,
        file_path=f"{sha256[:16]}-{safe_name(document.original_name)}",
        byte_size=size,
        stage=stage,
        category=category,
        message=message,
        document_id=document_id,
        attempts=attempts,
    )
    _publish(folder, draft, rejection)
    retrying(lambda: _record(rejection))
    storage.delete(document.file_path)
    log.warning("document.rejected", document=document_id, category=category, reason=message, stage=stage)


def _record(rejection: Rejection) -> None:
    with transaction() as session:
        RejectedDocuments(session).add(rejection)
        if rejection.document_id:
            Documents(session).set_state(rejection.document_id, "rejected")


def _copy(source: BinaryIO, draft: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with draft.open("wb") as target:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
            size += len(chunk)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest(), size


def _publish(folder: Path, draft: Path, rejection: Rejection) -> None:
    """Rename into place with the reason beside it, and make the folder durable."""
    reason = {
        "name": rejection.original_name,
        "sha256": rejection.sha256,
        "stage": rejection.stage,
        "category": rejection.category,
        "reason": rejection.message,
    }
    (folder / f"{rejection.file_path}.reason.json").write_text(json.dumps(reason, indent=2) + "\n")
    draft.replace(folder / rejection.file_path)
    sync_folder(folder)
