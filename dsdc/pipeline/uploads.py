"""Bytes of documents that wait in batches: who needs them, and when they go.

A document is noted before its bytes are put into the store, and its bytes are removed only by whoever holds them and
finds no document that needs them; see `Documents.hold`.
"""

from __future__ import annotations

from uuid import UUID

from dsdc.db.repositories.batches import Batches, NewItem
from dsdc.db.repositories.documents import Documents
from dsdc.db.session import transaction
from dsdc.storage import Storage, key_of


def upload_key(sha256: str) -> str:
    return key_of("uploads", sha256)


def expect(batch_id: UUID, item: NewItem) -> None:
    """Note a document whose bytes are about to be stored, or that was refused."""
    with transaction() as session:
        Documents(session).hold([item.sha256])
        Batches(session).add(batch_id, item)


def release(storage: Storage, item_id: int, sha256: str) -> None:
    """Remove the uploaded bytes of a document that has been seen to, unless another one needs them still."""
    with transaction() as session:
        Documents(session).hold([sha256])
        batches = Batches(session)
        if not batches.is_needed(sha256):
            storage.delete(upload_key(sha256))
        batches.bytes_gone(item_id)


def discard(storage: Storage, batch_id: UUID) -> None:
    """Undo the arrival of a batch that nobody was promised."""
    with transaction() as session:
        batches = Batches(session)
        batches.drop_arriving(batch_id)
        uploads = batches.uploads_of(batch_id)
    for item_id, sha256 in uploads:
        release(storage, item_id, sha256)
    with transaction() as session:
        Batches(session).forget(batch_id)
