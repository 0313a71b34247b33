"""The client for programs that do not block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from uuid import UUID

import httpx

from dsdc.client import calls
from dsdc.client.calls import TIMEOUT, Call, Document
from dsdc.client.failures import ServiceUnreachable, unreachable
from dsdc.client.session import Session, Wait
from dsdc.errors import DatabaseUnavailable
from dsdc.settings import CascadeMode, Settings, settings
from dsdc.web.contract import (
    Account,
    ApiKey,
    AuditPage,
    Batch,
    BatchItem,
    DocumentEvent,
    LabelGiven,
    Lineage,
    ModelInfo,
    NewApiKey,
    Prediction,
    Similar,
    SnapshotLabel,
    Tokens,
)

T = TypeVar("T")


class AsyncClient:
    """The same for programs that do not block; one event loop."""

    def __init__(self, auth_url: str, predict_url: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._http = {
            "auth": httpx.AsyncClient(base_url=auth_url, timeout=timeout, trust_env=False),
            "predict": httpx.AsyncClient(base_url=predict_url, timeout=timeout, trust_env=False),
        }
        self._session = Session()
        self._renewing = asyncio.Lock()

    @classmethod
    def from_settings(cls, config: Settings | None = None) -> AsyncClient:
        config = config or settings()
        return cls(config.auth.url, config.streamlit.predict_url)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        for http in self._http.values():
            await http.aclose()

    @property
    def tokens(self) -> Tokens | None:
        return self._session.tokens

    def resume(self, tokens: Tokens) -> None:
        self._session.begin(tokens)

    async def sign_in(self, name: str, password: str) -> Tokens:
        tokens = await self._send(calls.sign_in(name, password))
        self._session.begin(tokens)
        return tokens

    async def sign_in_with_key(self, key: str) -> Tokens:
        """As the service account that the API key belongs to; raises InvalidCredentials, TooManyAttempts."""
        tokens = await self._send(calls.exchange_key(key))
        self._session.begin(tokens, key)
        return tokens

    async def refresh(self) -> Tokens:
        tokens = await self._send(self._session.renewal())
        self._session.keep(tokens)
        return tokens

    async def sign_out(self) -> None:
        if self._session.key is None:  # a key's tokens end by themselves, and with the key
            await self._send(calls.LOGOUT)
        self._session.begin(None)

    async def me(self) -> Account:
        return await self._send(calls.ME)

    async def change_password(self, current: str, new: str) -> None:
        await self._send(calls.change_password(current, new))
        self._session.begin(None)

    async def users(self) -> list[Account]:
        return await self._send(calls.USERS)

    async def create_user(self, name: str, password: str | None, role: str) -> Account:
        """Without a password a service account, which signs in with API keys."""
        return await self._send(calls.create_user(name, password, role))

    async def disable_user(self, user: UUID | str) -> Account:
        return await self._send(calls.set_enabled(user, False))

    async def enable_user(self, user: UUID | str) -> Account:
        return await self._send(calls.set_enabled(user, True))

    async def set_role(self, user: UUID | str, role: str) -> Account:
        return await self._send(calls.set_role(user, role))

    async def create_key(self, user: UUID | str, *, note: str = "", expires_days: int | None = None) -> NewApiKey:
        """A new key of a service account; `key` of the answer is told this once."""
        return await self._send(calls.create_key(user, note, expires_days))

    async def keys(self, user: UUID | str) -> list[ApiKey]:
        return await self._send(calls.keys(user))

    async def revoke_key(self, user: UUID | str, key: UUID | str) -> ApiKey:
        return await self._send(calls.revoke_key(user, key))

    async def audit(self, *, before: int | None = None, limit: int = 100, **filters: str) -> AuditPage:
        """The newest entries first; `filters`: action, actor, subject, outcome."""
        return await self._send(calls.audit(before, limit, filters))

    async def predict(
        self,
        document: Path | bytes,
        *,
        name: str | None = None,
        store: bool = True,
        cascade: CascadeMode | None = None,
        idempotency_key: str | None = None,
    ) -> Prediction:
        return await self._send(await asyncio.to_thread(calls.predict, document, name, store, cascade, idempotency_key))

    async def submit_batch(
        self, documents: Iterable[Document], *, store: bool = True, idempotency_key: str | None = None
    ) -> Batch:
        with calls.submit_batch(documents, store, idempotency_key) as call:
            return await self._send(call)

    async def batch(self, batch: UUID | str) -> Batch:
        return await self._send(calls.batch(batch))

    async def batch_items(self, batch: UUID | str) -> AsyncIterator[BatchItem]:
        after: int | None = 0
        while after is not None:
            page = await self._send(calls.batch_items(batch, after))
            for item in page.items:
                yield item
            after = page.next

    async def wait_for_batch(self, batch: UUID | str, *, timeout_s: float = 3600.0, poll_s: float = 1.0) -> Batch:
        wait = Wait(timeout_s)
        while True:
            with suppress(ServiceUnreachable, DatabaseUnavailable):
                if (found := await self.batch(batch)).is_over:
                    return found
            wait.check(batch)
            await asyncio.sleep(poll_s)

    async def cancel_batch(self, batch: UUID | str) -> Batch:
        return await self._send(calls.cancel_batch(batch))

    async def prediction(self, prediction: UUID | str) -> Prediction:
        return await self._send(calls.prediction(prediction))

    async def lineage(self, prediction: UUID | str) -> Lineage:
        return await self._send(calls.lineage(prediction))

    async def labels_behind(self, prediction: UUID | str, *, label: str | None = None) -> AsyncIterator[SnapshotLabel]:
        after: str | None = ""
        while after is not None:
            page = await self._send(calls.labels_behind(prediction, label, after))
            for one in page.labels:
                yield one
            after = page.next

    async def document_lineage(self, document_id: str) -> AsyncIterator[DocumentEvent]:
        after: int | None = 0
        while after is not None:
            page = await self._send(calls.document_lineage(document_id, after))
            for event in page.events:
                yield event
            after = page.next

    async def feedback(self, prediction: UUID | str, label: str) -> LabelGiven:
        return await self._send(calls.feedback(prediction, label))

    async def label_document(self, document_id: str, label: str) -> LabelGiven:
        return await self._send(calls.label_document(document_id, label))

    async def similar(self, document_id: str, *, limit: int = 10) -> Similar:
        return await self._send(calls.similar(document_id, limit))

    async def model(self) -> ModelInfo:
        return await self._send(calls.MODEL)

    async def reload_model(self) -> ModelInfo:
        return await self._send(calls.RELOAD)

    async def _send(self, call: Call[T]) -> T:
        headers = (await self._signed() if call.signed else {}) | dict(call.headers or {})
        http = self._http[call.service]
        try:
            response = await http.request(call.method, call.path, headers=headers, **(call.options or {}))
        except httpx.HTTPError as error:
            raise unreachable(call.service, http.base_url, error) from error
        return call.answer(response)

    async def _signed(self) -> dict[str, str]:
        async with self._renewing:
            if self._session.stale:
                await self.refresh()
        return self._session.headers()
