"""What somebody typed -> the prediction or the document that it is the id of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from dsdc.db.repositories.lineage import LineageStore
from dsdc.db.session import transaction
from dsdc.errors import NotFound

#: Digits of an id that have to be given: with fewer, one document too many begins so in a large archive.
LEAST_DIGITS = 8

_HINT = f"Give the UUID of a prediction or the SHA-256 of a document, at least {LEAST_DIGITS} digits of it."


@dataclass(frozen=True)
class Subject:
    """A prediction or a document: exactly one of the two is given."""

    prediction_id: UUID | None = None
    document_id: str | None = None

    def __str__(self) -> str:
        return str(self.prediction_id or self.document_id)


def find(given: str) -> Subject:
    """The prediction or document whose id this is, or begins with this.

    Raises:
        NotFound: nothing has such an id, or several have, or it cannot be the beginning of one.
    """
    typed = given.strip().lower()
    digits = typed.replace("-", "")
    if not re.fullmatch(f"[0-9a-f]{{{LEAST_DIGITS},64}}", digits):
        raise NotFound(f"{given!r} is no id.", hint=_HINT)
    found = _all(digits, typed)
    if not found:
        raise NotFound(f"There is no prediction and no document {given}.", hint=_HINT)
    if len(found) > 1:
        several = ", ".join(map(str, found))
        raise NotFound(f"Several ids begin with {given}: {several}, perhaps more.", hint="Give more digits.")
    return found[0]


def prediction(given: str) -> UUID:
    """The same, of predictions alone.

    Raises:
        NotFound: it is no prediction's.
    """
    found = find(given)
    if found.prediction_id is None:
        raise NotFound(f"{given} is a document.", hint="`dsdc lineage` with its id lists its predictions.")
    return found.prediction_id


def document(given: str) -> str:
    """The same, of documents alone.

    Raises:
        NotFound: it is no document's.
    """
    found = find(given)
    if found.document_id is None:
        raise NotFound(f"{given} is a prediction.", hint="`dsdc lineage` with its id names its document.")
    return found.document_id


def _all(digits: str, typed: str) -> list[Subject]:
    with transaction() as session:
        store = LineageStore(session)
        predictions = store.predictions_like(digits) if len(digits) <= 32 else []
        documents = [] if "-" in typed else store.documents_like(digits)
    return [*(Subject(prediction_id=one) for one in predictions), *(Subject(document_id=one) for one in documents)]
