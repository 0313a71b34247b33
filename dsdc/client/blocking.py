"""The client for programs that block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
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


class Client:
    """The client for programs that block. Threads may share one. `headers` go with every request."""

    def __init__(
        self,
        auth_url: str,
        predict_url: str,
        *,
        timeout: httpx.Timeout = TIMEOUT,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._http = {
            "auth": httpx.Client(base_url=auth_url, timeout=timeout, headers=headers, trust_env=False),
            "predict": httpx.Client(base_url=predict_url, timeout=timeout, headers=headers, trust_env=False),
        }
        self._session = Session()
        self._renewing = threading.Lock()

    @classmethod
    def from_settings(cls, config: Settings | None = None, *, headers: Mapping[str, str] | None = None) -> Client:
        config = config or settings()
        return cls(config.auth.url, config.streamlit.predict_url, headers=headers)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for http in self._http.values():
            http.close()

    @property
    def tokens(self) -> Tokens | None:
        """What this client holds; another client may go on with it by `resume`."""
        return self._session.tokens

    def resume(self, tokens: Tokens) -> None:
        self._session.begin(tokens)

    def sign_in(self, name: str, password: str) -> Tokens:
        """Raises InvalidCredentials, TooManyAttempts, ServiceUnreachable."""
        tokens = self._send(calls.sign_in(name, password))
        self._session.begin(tokens)
        return tokens

    def sign_in_with_key(self, key: str) -> Tokens:
        """As the service account that the API key belongs to; raises InvalidCredentials, TooManyAttempts."""
        tokens = self._send(calls.exchange_key(key))
        self._session.begin(tokens, key)
        return tokens

    def refresh(self) -> Tokens:
        """New tokens; raises InvalidToken where the session has ended."""
        tokens = self._send(self._session.renewal())
        self._session.keep(tokens)
        return tokens

    def sign_out(self) -> None:
        if self._session.key is None:  # a key's tokens end by themselves, and with the key
            self._send(calls.LOGOUT)
        self._session.begin(None)

    def me(self) -> Account:
        return self._send(calls.ME)

    def change_password(self, current: str, new: str) -> None:
        """Ends all sessions of the account, this one too."""
        self._send(calls.change_password(current, new))
        self._session.begin(None)

    def users(self) -> list[Account]:
        return self._send(calls.USERS)

    def create_user(self, name: str, password: str | None, role: str) -> Account:
        """Without a password a service account, which signs in with API keys."""
        return self._send(calls.create_user(name, password, role))

    def disable_user(self, user: UUID | str) -> Account:
        return self._send(calls.set_enabled(user, False))

    def enable_user(self, user: UUID | str) -> Account:
        return self._send(calls.set_enabled(user, True))

    def set_role(self, user: UUID | str, role: str) -> Account:
        return self._send(calls.set_role(user, role))

    def create_key(self, user: UUID | str, *, note: str = "", expires_days: int | None = None) -> NewApiKey:
        """A new key of a service account; `key` of the answer is told this once."""
        return self._send(calls.create_key(user, note, expires_days))

    def keys(self, user: UUID | str) -> list[ApiKey]:
        return self._send(calls.keys(user))

    def revoke_key(self, user: UUID | str, key: UUID | str) -> ApiKey:
        return self._send(calls.revoke_key(user, key))

    def audit(self, *, before: int | None = None, limit: int = 100, **filters: str) -> AuditPage:
        """The newest entries first; `filters`: action, actor, subject, outcome."""
        return self._send(calls.audit(before, limit, filters))

    def predict(
        self,
        document: Path | bytes,
        *,
        name: str | None = None,
        store: bool = True,
        cascade: CascadeMode | None = None,
        idempotency_key: str | None = None,
    ) -> Prediction:
        """The class of a document; raises the DocumentError that is at fault, Busy, NoChampion.

        With an idempotency key the same call may be repeated, and gives the first answer again; KeyReused where the
        key came with another document, StillRunning while the first call is being answered.
        """
        return self._send(calls.predict(document, name, store, cascade, idempotency_key))

    def submit_batch(
        self, documents: Iterable[Document], *, store: bool = True, idempotency_key: str | None = None
    ) -> Batch:
        """Hand in many documents, to be answered one after the other; raises TooLarge, Busy, KeyReused."""
        with calls.submit_batch(documents, store, idempotency_key) as call:
            return self._send(call)

    def batch(self, batch: UUID | str) -> Batch:
        """How far a batch is; raises NotFound where it is not one's own."""
        return self._send(calls.batch(batch))

    def batch_items(self, batch: UUID | str) -> Iterator[BatchItem]:
        """What became of each document, in their order; asks for page after page."""
        after: int | None = 0
        while after is not None:
            page = self._send(calls.batch_items(batch, after))
            yield from page.items
            after = page.next

    def wait_for_batch(self, batch: UUID | str, *, timeout_s: float = 3600.0, poll_s: float = 1.0) -> Batch:
        """The batch once nothing of it will change any more, over restarts of the service; raises BatchUnfinished."""
        wait = Wait(timeout_s)
        while True:
            with suppress(ServiceUnreachable, DatabaseUnavailable):
                if (found := self.batch(batch)).is_over:
                    return found
            wait.check(batch)
            time.sleep(poll_s)

    def cancel_batch(self, batch: UUID | str) -> Batch:
        """Begin nothing more of a batch; what is being answered is still finished."""
        return self._send(calls.cancel_batch(batch))

    def prediction(self, prediction: UUID | str) -> Prediction:
        return self._send(calls.prediction(prediction))

    def lineage(self, prediction: UUID | str) -> Lineage:
        return self._send(calls.lineage(prediction))

    def labels_behind(self, prediction: UUID | str, *, label: str | None = None) -> Iterator[SnapshotLabel]:
        """Every label that the answering model had learnt, or those of one class; asks for page after page."""
        after: str | None = ""
        while after is not None:
            page = self._send(calls.labels_behind(prediction, label, after))
            yield from page.labels
            after = page.next

    def document_lineage(self, document_id: str) -> Iterator[DocumentEvent]:
        """Everything that happened to a document, in the order of time; asks for page after page."""
        after: int | None = 0
        while after is not None:
            page = self._send(calls.document_lineage(document_id, after))
            yield from page.events
            after = page.next

    def feedback(self, prediction: UUID | str, label: str) -> LabelGiven:
        return self._send(calls.feedback(prediction, label))

    def label_document(self, document_id: str, label: str) -> LabelGiven:
        return self._send(calls.label_document(document_id, label))

    def similar(self, document_id: str, *, limit: int = 10) -> Similar:
        return self._send(calls.similar(document_id, limit))

    def model(self) -> ModelInfo:
        return self._send(calls.MODEL)

    def reload_model(self) -> ModelInfo:
        return self._send(calls.RELOAD)

    def _send(self, call: Call[T]) -> T:
        headers = (self._signed() if call.signed else {}) | dict(call.headers or {})
        http = self._http[call.service]
        try:
            response = http.request(call.method, call.path, headers=headers, **(call.options or {}))
        except httpx.HTTPError as error:
            raise unreachable(call.service, http.base_url, error) from error
        return call.answer(response)

    def _signed(self) -> dict[str, str]:
        with self._renewing:  # a refresh token is good once: one thread renews, the others wait for it
            if self._session.stale:
                self.refresh()
        return self._session.headers()
