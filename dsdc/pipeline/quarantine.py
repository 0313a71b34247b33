"""What cannot be read goes to `data/rejected`, with the reason beside it and in the database.

The copy is made durable before the row that tells of it, and the original is removed last: at no moment are the bytes
nowhere. A stored document is set aside in three steps, so that the second can share a transaction with whatever else
has to be true at once::

    prepare_rejection  the copy and its reason are on disk
    record_rejection   row and state, in the caller's transaction
    finish_rejection   its bytes leave the store
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents, RejectedDocuments, Rejection
from dsdc.db.session import retrying, transaction
from dsdc.db.tables import RejectedDocument
from dsdc.errors import BytesMissing, DsdcError, Forgotten, HashMismatch
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.settings import Settings
from dsdc.storage import DRAFTS, Storage, copy, sync_folder, writing

log = get_logger(__name__)

REASON = ".reason.json"


@dataclass(frozen=True)
class Prepared(Rejection):
    """A rejection whose copy lies in `folder`, durable, and that no row tells of yet."""

    folder: Path = Path()

    @property
    def path(self) -> Path:
        return self.folder / self.file_path


def safe_name(name: str, limit: int = 120) -> str:
    """A file name that is harmless everywhere, still recognisable: letters, digits, dot, dash, underscore."""
    plain = unicodedata.normalize("NFKD", name.rsplit("/", 1)[-1]).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip("._-")[-limit:]
    # No document may take the name of another one's reason.
    return (plain.removesuffix(REASON) + "_reason.json" if plain.endswith(REASON) else plain) or "document"


def reject_file(
    config: Settings,
    source: BinaryIO,
    name: str,
    error: DsdcError,
    *,
    stage: str,
    arrival: Mapping[str, str] | None = None,
    parent: str | None = None,
    check: Callable[[str], None] | None = None,
) -> Rejection:
    """Copy a file's bytes into quarantine and record why; the caller removes the original afterwards.

    Args:
        arrival: how the file came: `folder` of the inbox and `label`, kept with the reason for a later release.
        parent: the e-mail that it came in.
        check: called with the SHA-256 of what was copied; whatever it raises leaves quarantine as it was.

    Raises:
        StorageError: quarantine cannot be written. OSError: the source cannot be read.
        Forgotten: the e-mail that it came in was forgotten meanwhile; no copy is left.
    """
    prepared = _prepare(
        config,
        source,
        name,
        stage=stage,
        category=error.category,
        message=str(error),
        arrival=arrival,
        parent=parent,
        check=check,
    )
    try:
        retrying(lambda: _record_alone(prepared))
    except Forgotten:
        abandon_rejection(prepared)
        raise
    reach("quarantine.recorded")
    _tell(prepared)
    return prepared


def reject_document(
    config: Settings, storage: Storage, document_id: str, *, stage: str, category: str, message: str, attempts: int = 1
) -> None:
    """Move a stored document into quarantine: its row stays, with state `rejected`, as the record of the arrival."""
    prepared = prepare_rejection(
        config, storage, document_id, stage=stage, category=category, message=message, attempts=attempts
    )
    if prepared is not None:
        try:
            retrying(lambda: _record_alone(prepared))
        except Forgotten:
            abandon_rejection(prepared)
            return
        reach("quarantine.recorded")
        finish_rejection(storage, prepared)


def prepare_rejection(
    config: Settings, storage: Storage, document_id: str, *, stage: str, category: str, message: str, attempts: int = 1
) -> Prepared | None:
    """Make a durable copy of a stored document in quarantine; None for one that is not in the store.

    Raises:
        BytesMissing: the store has lost its bytes.
        HashMismatch: its bytes are no longer what arrived, so the document is not to blame.
        StorageError: quarantine cannot be written.
    """
    document = retrying(lambda: _stored_document(document_id))
    if document is None:
        return None

    def unchanged(sha256: str) -> None:
        if sha256 != document_id:
            raise HashMismatch(
                f"{document.file_path} now has SHA-256 {sha256}.", hint="Bring the file again; see dsdc fsck."
            )

    with storage.local(document.file_path) as path, path.open("rb") as source:
        return _prepare(
            config,
            source,
            document.original_name,
            stage=stage,
            category=category,
            message=message,
            document_id=document_id,
            attempts=attempts,
            check=unchanged,
        )


def record_rejection(session: Session, rejection: Rejection) -> None:
    """Row and state; the caller commits.

    Raises:
        BytesMissing: the copy was taken out of quarantine meanwhile; nothing is lost, prepare it again.
        Forgotten: the document, or the e-mail it came in, was forgotten meanwhile; abandon the copy.
    """
    named = [document for document in (rejection.document_id, rejection.parent) if document]
    Documents(session).hold([rejection.sha256, *named])
    Documents(session).refuse_forgotten(named)
    if isinstance(rejection, Prepared) and not rejection.path.is_file():
        raise BytesMissing(f"{rejection.file_path} left quarantine just now.", hint="It will be tried again.")
    RejectedDocuments(session).add(rejection)
    if rejection.document_id:
        Documents(session).set_state(rejection.document_id, "rejected")


def finish_rejection(storage: Storage, rejection: Rejection) -> None:
    """Remove a rejected document's bytes from the store, unless it has arrived again and is stored by now."""
    document_id = rejection.document_id
    if document_id is not None:
        retrying(lambda: remove_rejected(storage, document_id))
    _tell(rejection)


def remove_rejected(storage: Storage, document_id: str) -> bool:
    """Remove the bytes of a document that is not in the store by its row; False for one that is."""
    with transaction() as session:
        documents = Documents(session)
        documents.hold([document_id])
        document = documents.get(document_id)
        if document is None or document.state == "stored":
            return False
        reach("quarantine.before_delete")
        storage.delete(document.file_path)
    return True


def abandon_rejection(rejection: Rejection) -> None:
    """Take back a copy that was prepared, where the rejection did not come about; one that has a row stays."""
    if not isinstance(rejection, Prepared):
        return

    def work() -> None:
        with transaction() as session:
            Documents(session).hold([rejection.sha256])
            row = RejectedDocuments(session).by_file(rejection.file_path)
            if row is None or row.released is not None:
                _remove_with_reason(rejection.path)

    retrying(work)


def discard_released(config: Settings, sha256s: Collection[str]) -> None:
    """Remove from quarantine what is back in the store; what was set aside again meanwhile stays."""
    folder = config.path("rejected")

    def work() -> None:
        with transaction() as session:
            names = RejectedDocuments(session).released_files(sha256s)
            if not any((folder / name).exists() for name in names):
                return
            Documents(session).hold(sha256s)
            for name in RejectedDocuments(session).released_files(sha256s):
                reach("quarantine.before_discard")
                _remove_with_reason(folder / name)

    retrying(work)


def discard_copies(session: Session, config: Settings, sha256: str) -> None:
    """Remove whatever quarantine has of these bytes, with a row or without, and the reasons beside; hold them first."""
    folder = config.path("rejected")
    for name in RejectedDocuments(session).files_of(sha256):
        _remove_with_reason(folder / name)
    with writing(folder):
        for path in folder.glob(f"{sha256[:16]}-*"):
            path.unlink(missing_ok=True)


def restore_copy(config: Settings, source: BinaryIO, rejection: Rejection | RejectedDocument) -> None:
    """Put a file that is missing or damaged in quarantine back there, from a copy of its bytes."""

    def the_same(sha256: str) -> None:
        if sha256 != rejection.sha256:
            raise HashMismatch(f"These are not the bytes of {rejection.file_path}, but {sha256}.")

    folder = config.path("rejected")
    _set_down(folder, source, read_reason(folder / rejection.file_path) | facts_of(rejection), the_same)


def facts_of(rejection: Rejection | RejectedDocument) -> dict[str, str]:
    """What the reason beside a file says, from its row."""
    return {
        "name": rejection.original_name,
        "stage": rejection.stage,
        "category": rejection.category,
        "reason": rejection.message,
        "sha256": rejection.sha256,
    }


def reason_path(path: Path) -> Path:
    """Where the reason of a file in quarantine lies."""
    return path.with_name(path.name + REASON)


def write_reason(path: Path, facts: dict[str, Any]) -> None:
    """Put the reason beside a file in quarantine, whole or not at all."""
    with writing(path.parent):
        draft = _draft(path.parent)
        try:
            with draft.open("w", encoding="utf-8") as target:
                target.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
                target.flush()
                os.fsync(target.fileno())
            draft.chmod(0o644)
            draft.replace(reason_path(path))
        finally:
            draft.unlink(missing_ok=True)


def read_reason(path: Path) -> dict[str, Any]:
    """What lies beside a file in quarantine; empty where there is nothing that can be read."""
    try:
        facts = json.loads(reason_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _prepare(
    config: Settings,
    source: BinaryIO,
    name: str,
    *,
    stage: str,
    category: str,
    message: str,
    arrival: Mapping[str, str] | None = None,
    document_id: str | None = None,
    parent: str | None = None,
    attempts: int = 1,
    check: Callable[[str], None] | None = None,
) -> Prepared:
    place = config.path("rejected")
    why = {"stage": stage, "category": category, "reason": plain(message)}
    facts = {"name": plain(name), **(arrival or {}), **({"parent": parent} if parent else {}), **why}
    sha256, size = _set_down(place, source, facts, check)
    reach("quarantine.copied")
    file_path = _file_name(sha256, facts["name"])
    return Prepared(
        sha256=sha256,
        original_name=facts["name"],
        file_path=file_path,
        byte_size=size,
        stage=stage,
        category=category,
        message=facts["reason"],
        document_id=document_id,
        attempts=retrying(lambda: _attempts(file_path)) + attempts,
        parent=parent,
        folder=place,
    )


def _set_down(
    place: Path, source: BinaryIO, facts: dict[str, str], check: Callable[[str], None] | None
) -> tuple[str, int]:
    """Copy, check, write the reason, rename, make the folder durable."""
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        draft = _draft(place)
        try:
            with draft.open("wb") as target:
                sha256, size = copy(source, target)
                os.fsync(target.fileno())
            if check is not None:
                check(sha256)
            path = place / _file_name(sha256, facts["name"])
            write_reason(path, {**facts, "sha256": sha256})
            draft.chmod(0o644)
            draft.replace(path)
            sync_folder(place)
        finally:
            draft.unlink(missing_ok=True)
    return sha256, size


def _file_name(sha256: str, name: str) -> str:
    return f"{sha256[:16]}-{safe_name(name)}"


def plain(text: str) -> str:
    """Text that any database and any JSON reader takes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _attempts(file_path: str) -> int:
    with transaction() as session:
        row = RejectedDocuments(session).by_file(file_path)
    return 0 if row is None else row.attempts


def _draft(folder: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f"{DRAFTS}-", dir=folder)
    os.close(descriptor)
    return Path(name)


def _stored_document(document_id: str) -> Any:
    with transaction() as session:
        document = Documents(session).get(document_id)
    return document if document is not None and document.state == "stored" else None


def _record_alone(rejection: Rejection) -> None:
    with transaction() as session:
        record_rejection(session, rejection)


def _remove_with_reason(path: Path) -> None:
    with writing(path.parent):
        path.unlink(missing_ok=True)
        reason_path(path).unlink(missing_ok=True)


def _tell(rejection: Rejection) -> None:
    log.warning(
        "document.rejected",
        name=rejection.original_name,
        document=rejection.document_id,
        category=rejection.category,
        reason=rejection.message,
        stage=rejection.stage,
    )
