"""E-mails -> what is attached to them, as documents of their own."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument, RejectedDocuments
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, DocumentError, Forgotten
from dsdc.pipeline.contract import Produced, Stage
from dsdc.pipeline.inbox import printable
from dsdc.pipeline.quarantine import discard_released, reject_file, remove_rejected
from dsdc.processors.contract import Attachment, Unpacker
from dsdc.processors.media_type import EMAIL, HEAD_BYTES, detect
from dsdc.settings import Settings
from dsdc.storage import Storage, Stored

_NAMED = 5  # refused attachments that the outcome names


@dataclass(frozen=True)
class MailInput:
    """A stored e-mail."""

    id: str
    file_path: str


@dataclass(frozen=True)
class StoredPart:
    """An attachment whose bytes are in the store; `number` counts a message's attachments from 1."""

    number: int
    name: str
    media_type: str
    stored: Stored


class UnpackStage(Stage[MailInput, StoredPart]):
    """What is of no supported type goes to quarantine as a file of its own, whatever becomes of the others."""

    name = "unpack"

    def __init__(self, unpacker: Unpacker, processor_id: int, storage: Storage, config: Settings) -> None:
        super().__init__(unpacker, processor_id)
        self._unpacker = unpacker
        self._storage = storage
        self._config = config

    def inputs(self) -> Select[str, str]:
        return Documents.emails()

    def load(self, session: Session, input_ids: Sequence[str]) -> list[MailInput]:
        documents = Documents(session).many(input_ids)
        return [MailInput(i, documents[i].file_path) for i in input_ids]

    def compute(self, inputs: Sequence[MailInput]) -> Generator[Produced[StoredPart], None, None]:
        for index, mail in enumerate(inputs):
            try:
                yield self._unpacked(index, mail)
            except Exception as error:  # noqa: BLE001 - whatever a parser may raise concerns this message alone
                yield Produced(index, error=error)

    def _unpacked(self, index: int, mail: MailInput) -> Produced[StoredPart]:
        parts: list[StoredPart] = []
        refused: list[str] = []
        for number, attachment in self._attachments(mail):
            name = printable(attachment.name)
            try:
                media_type = detect(attachment.data[:HEAD_BYTES])
            except DocumentError as error:
                refused.append(f"{name} ({error.category})")
                self._refuse(mail, name, attachment.data, error)
            else:
                parts.append(StoredPart(number, name, media_type, self._storage.put_bytes("raw", attachment.data)))
        return Produced(index, parts, skipped=not parts and not refused, partial=_without(refused))

    def _refuse(self, mail: MailInput, name: str, data: bytes, error: DocumentError) -> None:
        # Where the message is forgotten meanwhile, its results are refused as a whole: nobody asks for this one.
        with suppress(Forgotten):
            reject_file(self._config, io.BytesIO(data), name, error, stage=self.name, parent=mail.id)

    def _attachments(self, mail: MailInput) -> Iterator[tuple[int, Attachment]]:
        with self._storage.local(mail.file_path) as path:
            yield from enumerate(self._unpacker.attachments(path, EMAIL), start=1)

    def record(self, session: Session, source: MailInput, rows: Sequence[StoredPart]) -> None:
        """Documents with the e-mail as parent; one that is known already keeps the parent that it has, if any.

        One that was forgotten on purpose stays within its message: unpacking it is nobody's wish to have it back.
        """
        documents = Documents(session)
        found = [
            NewDocument(row.stored.sha256, row.stored.key, row.name, row.media_type, row.stored.size, source.id)
            for row in rows
        ]
        new = documents.add(found)
        revived = documents.revive([document for document in found if document.id not in new])
        if revived:
            StageAttempts(session).forgive(revived)
        RejectedDocuments(session).release(new)
        self._check_presence(row.stored.key for row in rows if row.stored.sha256 in new.union(revived))
        forgotten = documents.forgotten([document.id for document in found])
        documents.sight([self._arrival(source, row) for row in rows if row.stored.sha256 not in forgotten])

    def _check_presence(self, keys: Iterable[str]) -> None:
        """A rejection that was under way may have removed bytes since they were put; from here on it cannot."""
        for key in keys:
            if not self._storage.exists(key):
                raise BytesMissing(f"{key} was removed just now.", hint="Run the stage again.")

    def committed(self, rows: Sequence[StoredPart]) -> None:
        """What lay in quarantine and is in the store now has no place there any more; what is forgotten, in neither."""
        if not rows:
            return
        ids = {row.stored.sha256 for row in rows}
        discard_released(self._config, ids)
        with transaction() as session:
            forgotten = Documents(session).forgotten(ids)
        for document_id in sorted(forgotten):
            remove_rejected(self._storage, document_id)

    def lost(self, source: MailInput, rows: Sequence[StoredPart]) -> None:
        with transaction() as session:
            documents = Documents(session)
            if not documents.forgotten([source.id]):
                return
            documents.hold([row.stored.sha256 for row in rows])
            states = documents.states([row.stored.sha256 for row in rows])
            for row in rows:
                if states.get(row.stored.sha256) != "stored":
                    self._storage.delete(row.stored.key)

    def _arrival(self, source: MailInput, row: StoredPart) -> Arrival:
        # Who unpacks the same message again with the same unpacker sees nothing new.
        key = hashlib.sha256(f"{source.id}|{row.number}|{self.processor_id}".encode()).hexdigest()
        return Arrival(row.stored.sha256, "attachment", row.name, arrival_key=key, parent_id=source.id)


def _without(refused: Sequence[str]) -> str | None:
    """What of the message is in quarantine, in words."""
    if not refused:
        return None
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"Refused: {', '.join(refused[:_NAMED])}{more}; see the quarantine."
