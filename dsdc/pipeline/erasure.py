"""Documents forgotten on purpose: bytes, pages, texts, vectors and names go; what remains tells that they were here.

Each document is marked first, in a transaction of its own: from then on no worker takes up its work, results that are
on their way are refused, and the same bytes are refused on arrival. Then its bytes go, then its rows. Whoever dies in
between leaves a marked document, and doing it again, or `dsdc fsck --repair`, finishes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.erasure import Erasure
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.users import Audit
from dsdc.db.session import retrying, transaction
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline import replay_reports
from dsdc.pipeline.quarantine import discard_copies
from dsdc.pipeline.uploads import upload_key
from dsdc.settings import Retention, Settings
from dsdc.storage import Storage, key_of

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (documents forgotten, documents still to come)

_IMAGES_AT_ONCE = 200  # each is locked, and locks are few

#: What those are told who wait in a batch for an answer about such a document.
_PROBLEM = {
    "type": "urn:dsdc:problem:forgotten",
    "title": "Gone",
    "status": 410,
    "detail": "This document was forgotten on purpose before it was answered.",
    "request_id": None,
}


def forget(
    config: Settings,
    storage: Storage,
    documents: Sequence[str],
    *,
    author: str,
    reason: str,
    told: Mapping[str, Mapping[str, Any]],
    expired: bool = False,
    progress: Progress | None = None,
) -> dict[str, dict[str, int]]:
    """Forget documents, one after the other; by document, how many rows of each kind went.

    What was refused out of an e-mail, and came in no other way, goes with it and is counted with it.

    Args:
        documents: SHA-256, with a row or without: bytes that were refused lie in quarantine all the same.
        author: who or which run decided it.
        reason: why; stands in the audit log, with no word of what was in the document.
        told: by document, what the audit log keeps of the decision.
        expired: it is their age that decides: one that is not due any more, for it came again or was labelled since
            the plan was made, is passed over.

    Raises:
        StorageError, DatabaseError: the platform failed; what was marked stays so, run it again.
    """
    done: dict[str, dict[str, int]] = {}
    age = config.retention if expired else None
    for number, document_id in enumerate(documents, start=1):
        details = {"reason": reason, **told.get(document_id, {})}
        try:
            retrying(lambda one=document_id, said=details: _mark(one, author, said, age))  # type: ignore[misc]
        except _NotDue:
            log.info("document.not_due_any_more", document=document_id)
        else:
            reach("forget.marked")
            done[document_id] = finish(config, storage, document_id, author=author)
        if progress is not None:
            progress(number, len(documents) - number)
    return done


def resume(config: Settings, storage: Storage, *, author: str) -> dict[str, dict[str, int]]:
    """Finish what was marked, and not finished; by document, how many rows of each kind went."""
    found = retrying(_unfinished)
    return {document_id: finish(config, storage, document_id, author=author) for document_id in found}


def finish(config: Settings, storage: Storage, document_id: str, *, author: str) -> dict[str, int]:
    """Remove what is left of a marked document; how many rows of each kind went. Doing it again changes nothing."""
    _remove_images(storage, document_id)
    erased: Counter[str] = Counter()
    # Itself last: as long as its own rows are there, it is known to be unfinished.
    for one in [*retrying(lambda: _refused_in(document_id)), document_id]:
        erased.update(retrying(lambda sha256=one: _erase(config, storage, sha256, author, document_id)))  # type: ignore[misc]
    log.info("document.forgotten", document=document_id, **erased)
    return dict(erased)


class _NotDue(Exception):
    """Its age does not decide against it any more."""


def _unfinished() -> list[str]:
    with transaction() as session:
        return Erasure(session).unfinished()


def _refused_in(document_id: str) -> list[str]:
    with transaction() as session:
        if not Documents(session).forgotten([document_id]):
            return []
        return Erasure(session).refused_in([document_id])


def _require_due(erasure: Erasure, document_id: str, age: Retention | None) -> None:
    if age is None or age.days is None:
        return
    document = erasure.expired(age.days, labelled=age.labelled, only=document_id)
    if not document and not erasure.expired_loose(age.days, only=document_id):
        raise _NotDue


def _mark(document_id: str, author: str, details: Mapping[str, Any], age: Retention | None) -> None:
    with transaction() as session:
        documents, erasure = Documents(session), Erasure(session)
        documents.hold([document_id])
        if documents.states([document_id]).get(document_id) == "forgotten":
            if not erasure.unfinished(only=document_id):  # what is marked already gets finished
                _require_due(erasure, document_id, age)
            return
        erasure.stop_work(document_id)
        # Whoever queues work of it at this moment refers to its row, and is waited for.
        documents.lock(document_id)
        _require_due(erasure, document_id, age)  # from here on nobody labels it, and it does not arrive
        erasure.stop_work(document_id)
        documents.set_state(document_id, "forgotten")
        Audit(session).record("document.forget", actor=author, subject=document_id, details=details)


def _remove_images(storage: Storage, document_id: str) -> None:
    """Remove page images that no page of another document shows."""
    after: str | None = ""
    while after is not None:
        after = retrying(lambda start=after: _remove_some(storage, document_id, start))  # type: ignore[misc]


def _remove_some(storage: Storage, document_id: str, after: str) -> str | None:
    """SHA-256 of the last one that was looked at; None where there was none."""
    with transaction() as session:
        if not _is_marked(session, document_id):
            return None
        erasure = Erasure(session)
        found = erasure.images(document_id, after, _IMAGES_AT_ONCE)
        ProcessedImages(session).hold([image.sha256 for image in found], alone=True)
        for image in erasure.images(document_id, after, len(found)):  # once more, for now nobody adds a page
            if not image.shown_elsewhere:
                storage.delete(image.key)
    return found[-1].sha256 if found else None


def _erase(config: Settings, storage: Storage, document_id: str, author: str, of: str) -> dict[str, int]:
    """Of a marked document, or of what was refused out of the e-mail `of` and has not come by itself meanwhile."""
    with transaction() as session:
        if not _is_marked(session, document_id):
            return {}
        if document_id != of and document_id not in Erasure(session).refused_in([of]):
            return {}
        for key in (key_of("raw", document_id), upload_key(document_id)):
            storage.delete(key)
        discard_copies(session, config, document_id)
        replay_reports.discard(config, document_id)
        reach("forget.bytes_gone")
        erased = Erasure(session).erase(document_id, _PROBLEM)
        if any(erased.values()):
            Audit(session).record("document.erased", actor=author, subject=document_id, details=erased)
        reach("forget.before_commit")
    return erased


def _is_marked(session: Session, document_id: str) -> bool:
    """Whether its bytes are to go, also where it never became a document; from here on that stays so."""
    documents = Documents(session)
    documents.hold([document_id])
    return documents.states([document_id]).get(document_id, "forgotten") == "forgotten"
