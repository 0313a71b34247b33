"""Receives batches: each file goes into the store as it arrives, and what cannot be accepted is noted as refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dsdc.db.repositories.batches import Batches, NewItem
from dsdc.db.repositories.idempotency import IdempotencyKeys
from dsdc.db.session import transaction
from dsdc.errors import Busy, Conflict, DocumentError, DsdcError, EmptyFile, TooLarge
from dsdc.log import get_logger
from dsdc.pipeline.uploads import discard, expect
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.settings import Settings
from dsdc.storage import Storage
from dsdc.web.errors import described
from dsdc.web.origin import request_id
from dsdc.web.parts import Part, parts
from dsdc.web.uploads import as_flag, clean_name
from services.predict.metrics import PredictMetrics
from services.predict.once import Once, request_of

log = get_logger(__name__)

_FIELD = "file"
_MAX_FIELDS = 4


@dataclass
class _Arriving:
    """A batch on its way in: what has come of it so far."""

    id: UUID
    owner: str
    request_id: str | None
    files: list[tuple[str, str, int]] = field(default_factory=list)  # name, SHA-256, size
    refused: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)


class Intake:
    """Takes batches in, so many at once and so many documents in all; more is told when to come again."""

    def __init__(self, config: Settings, storage: Storage, once: Once, metrics: PredictMetrics) -> None:
        self._config = config.predict
        self._storage = storage
        self._once = once
        self._metrics = metrics
        self._uploading = 0

    async def receive(self, request: Request, owner: str, *, keep: bool, key: str | None) -> UUID:
        """The id of the batch whose files the request holds, once all of them are durable.

        Raises:
            HTTPException: 400 for a malformed body, 415 for another content type, 422 for one without files.
            TooLarge: more files than a batch may have.
            Busy: too many documents wait already. KeyReused: the key came with another batch.
        """
        with self._place():
            arriving = _Arriving(uuid4(), owner, request_id(request))
            await run_in_threadpool(self._begin, arriving)
            kept = None
            try:
                await self._take_all(request, arriving)
                kept = await run_in_threadpool(self._accept, arriving, keep, key)
            finally:
                # Not this one: it failed, or the same was accepted under the same key before.
                if kept != arriving.id:
                    await run_in_threadpool(self._undo, arriving.id)
        return kept

    def _undo(self, batch_id: UUID) -> None:
        try:
            discard(self._storage, batch_id)
        except DsdcError as error:
            log.warning("batch.not_undone", batch=str(batch_id), error=str(error))  # somebody tidies up later

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._uploading >= self._config.batch_uploads:
            raise Busy("Too many batches are arriving.", retry_after_s=5)
        self._uploading += 1
        try:
            yield
        finally:
            self._uploading -= 1

    def _begin(self, arriving: _Arriving) -> None:
        with transaction("serve") as session:
            batches = Batches(session)
            if batches.waiting() >= self._config.batch_max_waiting:
                raise Busy("Too many documents of other batches wait.", retry_after_s=60)
            batches.begin(arriving.id, owner=arriving.owner, store=True)

    async def _take_all(self, request: Request, arriving: _Arriving) -> None:
        most = self._config.max_upload_mb * 1024 * 1024
        async with aclosing(parts(request, max_bytes=most)) as each:
            async for part in each:
                if part.filename is None:
                    self._take_field(part, arriving)
                elif part.name != _FIELD:
                    raise HTTPException(422, f"Send the files in fields called {_FIELD}.")
                else:
                    await run_in_threadpool(self._take_file, part, arriving)
        if not arriving.files:
            raise HTTPException(422, f"The batch has no files; send each in a field called {_FIELD}.")

    @staticmethod
    def _take_field(part: Part, arriving: _Arriving) -> None:
        if len(arriving.fields) >= _MAX_FIELDS:
            raise HTTPException(400, "The request has too many fields.")
        arriving.fields.append((part.name, part.text()))

    def _take_file(self, part: Part, arriving: _Arriving) -> None:
        """Note it, and then store its bytes: so nobody who removes bytes takes them for his own."""
        if len(arriving.files) >= self._config.batch_max_files:
            raise TooLarge(f"A batch has at most {self._config.batch_max_files:,} files.", hint="Send several batches.")
        name = clean_name(part.filename)
        arriving.files.append((name, part.sha256, part.size))
        problem = None
        try:
            self._check(part)
        except DocumentError as error:
            problem = described(error, arriving.request_id)
            arriving.refused += 1
        expect(arriving.id, NewItem(len(arriving.files), name, part.sha256, part.size, problem))
        if problem is None:
            part.file.seek(0)
            self._storage.put("uploads", part.file)

    @staticmethod
    def _check(part: Part) -> None:
        if part.is_excess:
            raise TooLarge(f"The file has {part.size:,} bytes; the limit is {part.max_bytes:,}.")
        if part.size == 0:
            raise EmptyFile
        detect(part.head(HEAD_BYTES))

    def _accept(self, arriving: _Arriving, keep: bool, key: str | None) -> UUID:
        """Promise the batch, in the transaction in which its key is remembered; the id of the one that is promised."""
        store = as_flag("store", dict(arriving.fields).get("store"), keep)
        with transaction("serve") as session:
            if key is not None:
                request = request_of(arriving.owner, "POST /v1/batches", key, store, arriving.files)
                claim = self._once.claim(session, request, arriving.id)
                if claim.done:
                    return claim.resource_id
                IdempotencyKeys(session).finish(claim)
            if not Batches(session).accept(arriving.id, store=store):
                raise Conflict("The batch took too long to arrive.", hint="Send it again, in smaller batches.")
        self._metrics.batch_items.labels("refused").inc(arriving.refused)
        log.info("batch.accepted", batch=str(arriving.id), documents=len(arriving.files), user=arriving.owner)
        return arriving.id
