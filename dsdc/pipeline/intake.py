"""Files whose bytes are in the store -> rows: documents, sightings, labels, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.consistency import Consistency
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument, RejectedDocuments
from dsdc.db.repositories.erasure import Erasure
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.statements import Statements
from dsdc.db.repositories.users import Audit
from dsdc.db.session import retrying, transaction
from dsdc.errors import Conflict, TooLarge
from dsdc.failpoints import reach
from dsdc.pipeline.quarantine import discard_released
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.settings import Settings
from dsdc.storage import Storage


@dataclass(frozen=True)
class Taken:
    """A file whose bytes are in the store; `again` puts them there once more, from where they came.

    `statements`: lines of labels files that are about this arrival, by key; the last one states the label.
    """

    document: NewDocument
    arrival: Arrival
    label: str | None
    again: Callable[[], object]
    statements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """What a batch brought: ids of documents that were new, and the number of labels stated."""

    new: frozenset[str]
    labelled: int


class Intake:
    """The one way from bytes to rows; every arrival has a key, so that recording it again changes nothing."""

    def __init__(self, config: Settings, storage: Storage, author: str, *, remembers: bool = False) -> None:
        """With `remembers`, what was forgotten on purpose is taken all the same."""
        self._config = config
        self._storage = storage
        self._author = author
        self._remembers = remembers

    def check(self, file: BinaryIO, size: int) -> str:
        """The media type of an open file of `size` bytes, by its content; leaves the file at its beginning.

        Raises:
            DocumentError: it is nothing that can be processed.
        """
        limit = self._config.ingest.max_file_mb
        if size > limit << 20:
            raise TooLarge(f"The file has {size >> 20} MB; ingest.max_file_mb allows {limit}.")
        media_type = detect(file.read(HEAD_BYTES))
        file.seek(0)
        return media_type

    def require_remembered(self, sha256: str) -> None:
        """Raises Forgotten for bytes of a document that was forgotten on purpose, unless that is to be undone."""
        if not self._remembers:
            retrying(lambda: _refuse_forgotten(sha256))

    def record(self, taken: Sequence[Taken]) -> Recorded:
        """Commit the rows of a batch, then take out of quarantine what the store has now.

        Raises:
            Conflict: a document was forgotten since its bytes were put into the store; nothing is recorded.
        """
        tries: list[Recorded] = []
        retrying(lambda: self._record(taken, tries))
        reach("ingest.committed")
        discard_released(self._config, {t.document.id for t in taken})
        # Where the answer to a COMMIT was lost, the next try finds everything known: it was new all the same.
        return Recorded(frozenset().union(*(t.new for t in tries)), max(t.labelled for t in tries))

    def _record(self, taken: Sequence[Taken], tries: list[Recorded]) -> None:
        with transaction() as session:
            documents = Documents(session)
            new = documents.add([t.document for t in taken])
            known = [t.document for t in taken if t.document.id not in new]
            revived = documents.revive(known) + self._remember(session, known)
            # Where the store had lost a document's bytes, it failed for that; now they are there again.
            failed = [found.document_id for found in Consistency(session).unfinished([d.id for d in known])]
            if forgiven := sorted({*revived, *failed}):
                StageAttempts(session).forgive(forgiven)
            RejectedDocuments(session).release(new)
            self._put_back(taken, new.union(revived))
            arrived = documents.sight([t.arrival for t in taken])
            labelled = self._label(session, [t for t in taken if t.arrival.arrival_key in arrived])
            tries.append(Recorded(frozenset(new), labelled))
            reach("ingest.before_commit")

    def _remember(self, session: Session, known: Sequence[NewDocument]) -> list[str]:
        """Documents that were forgotten are processed from the start, as if they were new; their ids."""
        documents = Documents(session)
        forgotten = documents.forgotten([d.id for d in known])
        if forgotten and not self._remembers:
            raise Conflict("A document was forgotten while it arrived again.", hint="Run it again.")
        documents.remember([d for d in known if d.id in forgotten])
        Erasure(session).redo(forgotten)
        RejectedDocuments(session).release(forgotten)
        for document_id in sorted(forgotten):
            Audit(session).record("document.remember", actor=self._author, subject=document_id)
        return sorted(forgotten)

    def _put_back(self, taken: Sequence[Taken], ids: set[str]) -> None:
        """A rejection that was under way may have removed bytes since they were put; from here on it cannot."""
        for item in taken:
            if item.document.id in ids and not self._storage.exists(item.document.file_path):
                item.again()

    def _label(self, session: Session, taken: Sequence[Taken]) -> int:
        stated = 0
        for item in sorted(taken, key=lambda t: t.document.id):
            if self._due(session, item) and item.label is not None:
                self.state_label(session, item.document.id, item.label)
                stated += 1
        return stated

    @staticmethod
    def _due(session: Session, item: Taken) -> bool:
        """Whether what is stated has not been applied to another arrival meanwhile; from here on it is to this one."""
        if not item.statements:
            return True
        statements = Statements(session)
        sighting = statements.sighting(item.arrival.arrival_key) if item.label is not None else None
        return item.statements[-1] in statements.apply(item.statements, sighting)

    def state_label(self, session: Session, document_id: str, label: str) -> None:
        """What came with a file says that a document is of a class; saying what stands already is nothing new."""
        labels, taxonomy = Labels(session), self._config.taxonomy.name
        for said in labels.history(document_id):
            if (said.source, said.taxonomy, said.label, said.superseded_by) == ("import", taxonomy, label, None):
                return
        labels.add(document_id, label, taxonomy=taxonomy, source="import", author=self._author)


def _refuse_forgotten(sha256: str) -> None:
    with transaction() as session:
        Documents(session).refuse_forgotten([sha256])
