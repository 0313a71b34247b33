"""A person's word about a stored document."""

from __future__ import annotations

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.users import Audit
from dsdc.errors import NotFound


def label_document(
    session: Session, document_id: str, label: str, *, taxonomy: str, author: str, note: str = ""
) -> int:
    """State that a document is of a class, as `author` says, who is a person; returns the statement's id.

    It counts before what came with files, and in place of what people said before. A note, why it is so, becomes an
    event in the document's lineage.

    Raises:
        NotFound: the document is not stored.
    """
    require_stored(session, document_id)
    label_id = Labels(session).add(document_id, label, taxonomy=taxonomy, source="human", author=author)
    if note:
        details = {"label_id": label_id, "label": label, "note": note}
        Audit(session).record("document.label", actor=author, subject=document_id, details=details)
    return label_id


def require_stored(session: Session, document_id: str) -> None:
    """Raise unless the document is in the archive.

    Raises:
        NotFound: it is unknown, was refused, or was forgotten.
    """
    if Documents(session).states([document_id]).get(document_id) != "stored":
        raise NotFound("There is no such document in the archive.")
