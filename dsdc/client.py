"""Typed Python clients of the platform's HTTP services, for programs that block and for those that do not.

::

    with Client.from_settings() as dsdc:
        dsdc.sign_in("ada", password)
        answer = dsdc.predict(Path("letter.pdf"))

A service signs in with its API key: `dsdc.sign_in_with_key(key)`. Tokens are renewed before they expire. What a service
refuses is raised as the error of `dsdc.errors` that it raised.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from dsdc import errors
from dsdc.errors import DsdcError, InvalidToken
from dsdc.settings import CascadeMode, Settings, settings
from dsdc.web.contract import (
    Account,
    ApiKey,
    AuditPage,
    Batch,
    BatchItem,
    BatchItems,
    DocumentEvent,
    DocumentLineage,
    LabelGiven,
    Lineage,
    ModelInfo,
    NewApiKey,
    Prediction,
    Similar,
    SnapshotLabel,
    SnapshotLabels,
    Tokens,
)

T = TypeVar("T")

#: A document of a batch: a file, or a name and bytes.
Document = Path | tuple[str, bytes]

RENEW_BEFORE_S = 30.0
# A document of many pages is read page by page; a connection that is not there is known at once.
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_PROBLEM_TYPE = "urn:dsdc:problem:"


class ServiceUnreachable(DsdcError):
    """The service does not answer."""

    category = "unreachable"


class BatchUnfinished(DsdcError):
    """The batch was not over in time; it goes on."""

    category = "unfinished"


class RequestRefused(DsdcError):
    """The service refused the request."""

    category = "refused"

    def __init__(self, message: str, *, status: int, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read. `auth` calls go to the auth service, others to predict."""

    method: str
    path: str
    read: Callable[[Any], T]
    service: str = "predict"
    signed: bool = True
    options: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None


def _as(kind: type[T]) -> Callable[[Any], T]:
    return TypeAdapter(kind).validate_python


def _nothing(_: Any) -> None:
    return None


def _errors() -> dict[str, type[DsdcError]]:
    """Problem type -> error class, of those that a message makes."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DsdcError)]
    return {_PROBLEM_TYPE + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in kinds}


_ERRORS = _errors()


def error_of(response: httpx.Response) -> DsdcError:
    """The error that an answer of status 400 or more stands for."""
    try:
        body = response.json()
        detail, kind = str(body["detail"]), _ERRORS.get(body["type"])
    except (ValueError, KeyError, TypeError):
        body, detail, kind = {}, f"{response.request.url.path} answered {response.status_code}.", None
    if kind is errors.Busy or kind is errors.TooManyAttempts:
        seconds = response.headers.get("retry-after", "1")
        return kind(detail, retry_after_s=int(seconds) if seconds.isdigit() else 1)
    if kind is not None:
        return kind(detail)
    return RequestRefused(detail, status=response.status_code, request_id=body.get("request_id"))


# --- the calls, once for both clients -----------------------------------------------------------------------------


def _sign_in(name: str, password: str) -> Call[Tokens]:
    form = {"grant_type": "password", "username": name, "password": password}
    return Call("POST", "/token", _as(Tokens), "auth", signed=False, options={"data": form})


def _exchange(key: str) -> Call[Tokens]:
    form = {"grant_type": "client_credentials", "client_secret": key}
    return Call("POST", "/token", _as(Tokens), "auth", signed=False, options={"data": form})


def _refresh(token: str) -> Call[Tokens]:
    body = {"refresh_token": token}
    return Call("POST", "/token/refresh", _as(Tokens), "auth", signed=False, options={"json": body})


_LOGOUT: Call[None] = Call("POST", "/logout", _nothing, "auth")
_ME: Call[Account] = Call("GET", "/users/me", _as(Account), "auth")
_USERS: Call[list[Account]] = Call("GET", "/users", _as(list[Account]), "auth")
_MODEL: Call[ModelInfo] = Call("GET", "/v1/model", _as(ModelInfo))
_RELOAD: Call[ModelInfo] = Call("POST", "/v1/model/reload", _as(ModelInfo))


def _create_user(name: str, password: str | None, role: str) -> Call[Account]:
    body = {"name": name, "role": role} | ({} if password is None else {"password": password})
    return Call("POST", "/users", _as(Account), "auth", options={"json": body})


def _set_role(user: UUID | str, role: str) -> Call[Account]:
    return Call("PUT", f"/users/{user}/role", _as(Account), "auth", options={"json": {"role": role}})


def _create_key(user: UUID | str, note: str, expires_days: int | None) -> Call[NewApiKey]:
    body = {"note": note, "expires_days": expires_days}
    return Call("POST", f"/users/{user}/api-keys", _as(NewApiKey), "auth", options={"json": body})


def _keys(user: UUID | str) -> Call[list[ApiKey]]:
    return Call("GET", f"/users/{user}/api-keys", _as(list[ApiKey]), "auth")


def _revoke_key(user: UUID | str, key: UUID | str) -> Call[ApiKey]:
    return Call("POST", f"/users/{user}/api-keys/{key}/revoke", _as(ApiKey), "auth")


def _audit(before: int | None, limit: int, filters: Mapping[str, str]) -> Call[AuditPage]:
    params = {"limit": limit, **({} if before is None else {"before": before}), **filters}
    return Call("GET", "/audit", _as(AuditPage), "auth", options={"params": params})


def _change_password(current: str, new: str) -> Call[None]:
    body = {"current": current, "new": new}
    return Call("PUT", "/users/me/password", _nothing, "auth", options={"json": body})


def _once(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": f'"{key}"'}


def _predict(
    document: Path | bytes, name: str | None, store: bool, cascade: CascadeMode | None, key: str | None
) -> Call[Prediction]:
    data = document.read_bytes() if isinstance(document, Path) else document
    called = name or (document.name if isinstance(document, Path) else "document")
    params = {"store": str(store).lower()} | ({"cascade": cascade} if cascade else {})
    options = {"files": {"file": (called, data)}, "params": params}
    return Call("POST", "/v1/predict", _as(Prediction), options=options, headers=_once(key))


@contextmanager
def _submission(documents: Iterable[Document], store: bool, key: str | None) -> Iterator[Call[Batch]]:
    """Files are read while they are sent, so they are open within."""
    with ExitStack() as opened:
        files = [
            ("file", (d.name, opened.enter_context(d.open("rb"))) if isinstance(d, Path) else d) for d in documents
        ]
        options = {"files": files, "params": {"store": str(store).lower()}}
        yield Call("POST", "/v1/batches", _as(Batch), options=options, headers=_once(key))


def _batch(batch: UUID | str) -> Call[Batch]:
    return Call("GET", f"/v1/batches/{batch}", _as(Batch))


def _cancel_batch(batch: UUID | str) -> Call[Batch]:
    return Call("DELETE", f"/v1/batches/{batch}", _as(Batch))


def _labels_behind(prediction: UUID | str, label: str | None, after: str) -> Call[SnapshotLabels]:
    asked = {"after": after} | ({} if label is None else {"label": label})
    path = f"/v1/predictions/{prediction}/lineage/labels"
    return Call("GET", path, _as(SnapshotLabels), options={"params": asked})


def _life(document_id: str, after: int) -> Call[DocumentLineage]:
    path = f"/v1/documents/{document_id}/lineage"
    return Call("GET", path, _as(DocumentLineage), options={"params": {"after": after}})


def _batch_items(batch: UUID | str, after: int) -> Call[BatchItems]:
    return Call("GET", f"/v1/batches/{batch}/items", _as(BatchItems), options={"params": {"after": after}})


class _Wait:
    """How long a batch is waited for. A service that is being started anew is waited for too."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s

    def check(self, batch: UUID | str) -> None:
        if time.monotonic() > self._until:
            raise BatchUnfinished(f"Batch {batch} is not over yet.", hint="Ask again later; nothing is lost.")


def _feedback(prediction: UUID | str, label: str) -> Call[LabelGiven]:
    path = f"/v1/predictions/{prediction}/feedback"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def _label(document_id: str, label: str) -> Call[LabelGiven]:
    path = f"/v1/documents/{document_id}/labels"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def _similar(document_id: str, limit: int) -> Call[Similar]:
    return Call("GET", f"/v1/documents/{document_id}/similar", _as(Similar), options={"params": {"limit": limit}})


class _Session:
    """The tokens that a client holds, and the API key that they were given for, if any."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.key: str | None = None
        self._expires = 0.0

    def begin(self, tokens: Tokens | None, key: str | None = None) -> None:
        """Go on with these tokens as somebody who may be another than before."""
        self.key = key
        self.keep(tokens)

    def keep(self, tokens: Tokens | None) -> None:
        """Go on with these tokens as the same."""
        self.tokens = tokens
        self._expires = time.monotonic() + (tokens.expires_in if tokens else 0)

    def renewal(self) -> Call[Tokens]:
        """What gives new tokens."""
        if self.key is not None:
            return _exchange(self.key)
        return _refresh((self.tokens.refresh_token if self.tokens else None) or "")

    @property
    def stale(self) -> bool:
        return self.tokens is not None and time.monotonic() > self._expires - RENEW_BEFORE_S

    def headers(self) -> dict[str, str]:
        if self.tokens is None:
            raise InvalidToken("Nobody is signed in.", hint="Call sign_in first.")
        return {"Authorization": f"Bearer {self.tokens.access_token}"}


def _answer(call: Call[T], response: httpx.Response) -> T:
    if response.status_code >= 400:
        raise error_of(response)
    return call.read(response.json() if response.content else None)


def _unreachable(service: str, url: object, error: httpx.HTTPError) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"{service} at {url} does not answer ({type(error).__name__}).", hint="Start it with ./scripts/start.sh."
    )


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
        self._session = _Session()
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
        tokens = self._send(_sign_in(name, password))
        self._session.begin(tokens)
        return tokens

    def sign_in_with_key(self, key: str) -> Tokens:
        """As the service account that the API key belongs to; raises InvalidCredentials, TooManyAttempts."""
        tokens = self._send(_exchange(key))
        self._session.begin(tokens, key)
        return tokens

    def refresh(self) -> Tokens:
        """New tokens; raises InvalidToken where the session has ended."""
        tokens = self._send(self._session.renewal())
        self._session.keep(tokens)
        return tokens

    def sign_out(self) -> None:
        if self._session.key is None:  # a key's tokens end by themselves, and with the key
            self._send(_LOGOUT)
        self._session.begin(None)

    def me(self) -> Account:
        return self._send(_ME)

    def change_password(self, current: str, new: str) -> None:
        """Ends all sessions of the account, this one too."""
        self._send(_change_password(current, new))
        self._session.begin(None)

    def users(self) -> list[Account]:
        return self._send(_USERS)

    def create_user(self, name: str, password: str | None, role: str) -> Account:
        """Without a password a service account, which signs in with API keys."""
        return self._send(_create_user(name, password, role))

    def disable_user(self, user: UUID | str) -> Account:
        return self._send(Call("POST", f"/users/{user}/disable", _as(Account), "auth"))

    def enable_user(self, user: UUID | str) -> Account:
        return self._send(Call("POST", f"/users/{user}/enable", _as(Account), "auth"))

    def set_role(self, user: UUID | str, role: str) -> Account:
        return self._send(_set_role(user, role))

    def create_key(self, user: UUID | str, *, note: str = "", expires_days: int | None = None) -> NewApiKey:
        """A new key of a service account; `key` of the answer is told this once."""
        return self._send(_create_key(user, note, expires_days))

    def keys(self, user: UUID | str) -> list[ApiKey]:
        return self._send(_keys(user))

    def revoke_key(self, user: UUID | str, key: UUID | str) -> ApiKey:
        return self._send(_revoke_key(user, key))

    def audit(self, *, before: int | None = None, limit: int = 100, **filters: str) -> AuditPage:
        """The newest entries first; `filters`: action, actor, subject, outcome."""
        return self._send(_audit(before, limit, filters))

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
        return self._send(_predict(document, name, store, cascade, idempotency_key))

    def submit_batch(
        self, documents: Iterable[Document], *, store: bool = True, idempotency_key: str | None = None
    ) -> Batch:
        """Hand in many documents, to be answered one after the other; raises TooLarge, Busy, KeyReused."""
        with _submission(documents, store, idempotency_key) as call:
            return self._send(call)

    def batch(self, batch: UUID | str) -> Batch:
        """How far a batch is; raises NotFound where it is not one's own."""
        return self._send(_batch(batch))

    def batch_items(self, batch: UUID | str) -> Iterator[BatchItem]:
        """What became of each document, in their order; asks for page after page."""
        after: int | None = 0
        while after is not None:
            page = self._send(_batch_items(batch, after))
            yield from page.items
            after = page.next

    def wait_for_batch(self, batch: UUID | str, *, timeout_s: float = 3600.0, poll_s: float = 1.0) -> Batch:
        """The batch once nothing of it will change any more, over restarts of the service; raises BatchUnfinished."""
        wait = _Wait(timeout_s)
        while True:
            with suppress(ServiceUnreachable, errors.DatabaseUnavailable):
                if (found := self.batch(batch)).is_over:
                    return found
            wait.check(batch)
            time.sleep(poll_s)

    def cancel_batch(self, batch: UUID | str) -> Batch:
        """Begin nothing more of a batch; what is being answered is still finished."""
        return self._send(_cancel_batch(batch))

    def prediction(self, prediction: UUID | str) -> Prediction:
        return self._send(Call("GET", f"/v1/predictions/{prediction}", _as(Prediction)))

    def lineage(self, prediction: UUID | str) -> Lineage:
        return self._send(Call("GET", f"/v1/predictions/{prediction}/lineage", _as(Lineage)))

    def labels_behind(self, prediction: UUID | str, *, label: str | None = None) -> Iterator[SnapshotLabel]:
        """Every label that the answering model had learnt, or those of one class; asks for page after page."""
        after: str | None = ""
        while after is not None:
            page = self._send(_labels_behind(prediction, label, after))
            yield from page.labels
            after = page.next

    def document_lineage(self, document_id: str) -> Iterator[DocumentEvent]:
        """Everything that happened to a document, in the order of time; asks for page after page."""
        after: int | None = 0
        while after is not None:
            page = self._send(_life(document_id, after))
            yield from page.events
            after = page.next

    def feedback(self, prediction: UUID | str, label: str) -> LabelGiven:
        return self._send(_feedback(prediction, label))

    def label_document(self, document_id: str, label: str) -> LabelGiven:
        return self._send(_label(document_id, label))

    def similar(self, document_id: str, *, limit: int = 10) -> Similar:
        return self._send(_similar(document_id, limit))

    def model(self) -> ModelInfo:
        return self._send(_MODEL)

    def reload_model(self) -> ModelInfo:
        return self._send(_RELOAD)

    def _send(self, call: Call[T]) -> T:
        headers = (self._signed() if call.signed else {}) | dict(call.headers or {})
        http = self._http[call.service]
        try:
            response = http.request(call.method, call.path, headers=headers, **(call.options or {}))
        except httpx.HTTPError as error:
            raise _unreachable(call.service, http.base_url, error) from error
        return _answer(call, response)

    def _signed(self) -> dict[str, str]:
        with self._renewing:  # a refresh token is good once: one thread renews, the others wait for it
            if self._session.stale:
                self.refresh()
        return self._session.headers()


class AsyncClient:
    """The same for programs that do not block; one event loop."""

    def __init__(self, auth_url: str, predict_url: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._http = {
            "auth": httpx.AsyncClient(base_url=auth_url, timeout=timeout, trust_env=False),
            "predict": httpx.AsyncClient(base_url=predict_url, timeout=timeout, trust_env=False),
        }
        self._session = _Session()
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
        tokens = await self._send(_sign_in(name, password))
        self._session.begin(tokens)
        return tokens

    async def sign_in_with_key(self, key: str) -> Tokens:
        """As the service account that the API key belongs to; raises InvalidCredentials, TooManyAttempts."""
        tokens = await self._send(_exchange(key))
        self._session.begin(tokens, key)
        return tokens

    async def refresh(self) -> Tokens:
        tokens = await self._send(self._session.renewal())
        self._session.keep(tokens)
        return tokens

    async def sign_out(self) -> None:
        if self._session.key is None:  # a key's tokens end by themselves, and with the key
            await self._send(_LOGOUT)
        self._session.begin(None)

    async def me(self) -> Account:
        return await self._send(_ME)

    async def change_password(self, current: str, new: str) -> None:
        await self._send(_change_password(current, new))
        self._session.begin(None)

    async def users(self) -> list[Account]:
        return await self._send(_USERS)

    async def create_user(self, name: str, password: str | None, role: str) -> Account:
        """Without a password a service account, which signs in with API keys."""
        return await self._send(_create_user(name, password, role))

    async def disable_user(self, user: UUID | str) -> Account:
        return await self._send(Call("POST", f"/users/{user}/disable", _as(Account), "auth"))

    async def enable_user(self, user: UUID | str) -> Account:
        return await self._send(Call("POST", f"/users/{user}/enable", _as(Account), "auth"))

    async def set_role(self, user: UUID | str, role: str) -> Account:
        return await self._send(_set_role(user, role))

    async def create_key(self, user: UUID | str, *, note: str = "", expires_days: int | None = None) -> NewApiKey:
        """A new key of a service account; `key` of the answer is told this once."""
        return await self._send(_create_key(user, note, expires_days))

    async def keys(self, user: UUID | str) -> list[ApiKey]:
        return await self._send(_keys(user))

    async def revoke_key(self, user: UUID | str, key: UUID | str) -> ApiKey:
        return await self._send(_revoke_key(user, key))

    async def audit(self, *, before: int | None = None, limit: int = 100, **filters: str) -> AuditPage:
        """The newest entries first; `filters`: action, actor, subject, outcome."""
        return await self._send(_audit(before, limit, filters))

    async def predict(
        self,
        document: Path | bytes,
        *,
        name: str | None = None,
        store: bool = True,
        cascade: CascadeMode | None = None,
        idempotency_key: str | None = None,
    ) -> Prediction:
        return await self._send(await asyncio.to_thread(_predict, document, name, store, cascade, idempotency_key))

    async def submit_batch(
        self, documents: Iterable[Document], *, store: bool = True, idempotency_key: str | None = None
    ) -> Batch:
        with _submission(documents, store, idempotency_key) as call:
            return await self._send(call)

    async def batch(self, batch: UUID | str) -> Batch:
        return await self._send(_batch(batch))

    async def batch_items(self, batch: UUID | str) -> AsyncIterator[BatchItem]:
        after: int | None = 0
        while after is not None:
            page = await self._send(_batch_items(batch, after))
            for item in page.items:
                yield item
            after = page.next

    async def wait_for_batch(self, batch: UUID | str, *, timeout_s: float = 3600.0, poll_s: float = 1.0) -> Batch:
        wait = _Wait(timeout_s)
        while True:
            with suppress(ServiceUnreachable, errors.DatabaseUnavailable):
                if (found := await self.batch(batch)).is_over:
                    return found
            wait.check(batch)
            await asyncio.sleep(poll_s)

    async def cancel_batch(self, batch: UUID | str) -> Batch:
        return await self._send(_cancel_batch(batch))

    async def prediction(self, prediction: UUID | str) -> Prediction:
        return await self._send(Call("GET", f"/v1/predictions/{prediction}", _as(Prediction)))

    async def lineage(self, prediction: UUID | str) -> Lineage:
        return await self._send(Call("GET", f"/v1/predictions/{prediction}/lineage", _as(Lineage)))

    async def labels_behind(self, prediction: UUID | str, *, label: str | None = None) -> AsyncIterator[SnapshotLabel]:
        after: str | None = ""
        while after is not None:
            page = await self._send(_labels_behind(prediction, label, after))
            for one in page.labels:
                yield one
            after = page.next

    async def document_lineage(self, document_id: str) -> AsyncIterator[DocumentEvent]:
        after: int | None = 0
        while after is not None:
            page = await self._send(_life(document_id, after))
            for event in page.events:
                yield event
            after = page.next

    async def feedback(self, prediction: UUID | str, label: str) -> LabelGiven:
        return await self._send(_feedback(prediction, label))

    async def label_document(self, document_id: str, label: str) -> LabelGiven:
        return await self._send(_label(document_id, label))

    async def similar(self, document_id: str, *, limit: int = 10) -> Similar:
        return await self._send(_similar(document_id, limit))

    async def model(self) -> ModelInfo:
        return await self._send(_MODEL)

    async def reload_model(self) -> ModelInfo:
        return await self._send(_RELOAD)

    async def _send(self, call: Call[T]) -> T:
        headers = (await self._signed() if call.signed else {}) | dict(call.headers or {})
        http = self._http[call.service]
        try:
            response = await http.request(call.method, call.path, headers=headers, **(call.options or {}))
        except httpx.HTTPError as error:
            raise _unreachable(call.service, http.base_url, error) from error
        return _answer(call, response)

    async def _signed(self) -> dict[str, str]:
        async with self._renewing:
            if self._session.stale:
                await self.refresh()
        return self._session.headers()
