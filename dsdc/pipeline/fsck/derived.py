"""Rows against each other: what is said to be done has its rows, what failed has left the store, all have arrived."""

from __future__ import annotations

from collections.abc import Iterator

from dsdc.db.repositories.consistency import Consistency, Underived, Unfinished
from dsdc.db.session import transaction
from dsdc.errors import StorageError
from dsdc.pipeline.fsck.places import Places
from dsdc.pipeline.quarantine import reject_document

BLOCK = 1000


def check_derived(places: Places) -> None:
    """Look, report, and queue again or set aside what is to be repaired."""
    for document_id in _unseen():
        places.report.found("unseen", f"document {document_id}", "No sighting tells how it came.")
    with transaction() as session:
        repository = Consistency(session)
        underived = [found for block in repository.blocks_of_attempts() for found in repository.underived(block)]
        unfinished = repository.unfinished()
    _try_again(places, underived)
    for one in unfinished:
        detail = f"It could not be rendered ({one.category}: {one.message}), but is still in the store."
        repaired = places.repair and _set_aside(places, one)
        places.report.found("unfinished", f"document {one.document_id}", detail, repaired=repaired)


def _unseen() -> Iterator[str]:
    after = ""
    while True:
        with transaction() as session:
            found = Consistency(session).unseen(after, BLOCK)
        if not found:
            return
        yield from found
        after = found[-1]


def _try_again(places: Places, underived: list[Underived]) -> None:
    """Queue again what can be done: its input is there, and its document in the store."""
    ids = [one.attempt_id for one in underived if one.possible]
    if places.repair and ids:
        with transaction() as session:
            Consistency(session).try_again(ids)
    for one in underived:
        detail = f"It is done, but has no row (document {one.document_id})."
        if not one.possible:
            detail += " Nor is what it was made of."
        repaired = places.repair and one.possible
        places.report.found("underived", f"{one.stage} {one.input_id}", detail, repaired=repaired)


def _set_aside(places: Places, one: Unfinished) -> bool:
    try:
        reject_document(
            places.config,
            places.storage,
            one.document_id,
            stage="render",
            category=one.category,
            message=one.message,
            attempts=one.failures,
        )
    except StorageError:
        return False  # its bytes are missing or changed, which is a finding of its own
    return True
