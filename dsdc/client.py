"""Typed Python clients of the platform's HTTP services, for programs that block and for those that do not.

::

    with Client.from_settings() as dsdc:
        dsdc.sign_in("ada", password)
        answer = dsdc.predict(Path("letter.pdf"))

Tokens are renewed before they expire. What a service refuses is raised as the error of `dsdc.errors` that it raised.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from dsdc import errors
from dsdc.errors import DsdcError, InvalidToken
from dsdc.settings import Settings, settings
from dsdc.web.contract import Account, LabelGiven, Lineage, ModelInfo, Prediction, Similar, Tokens

T = TypeVar("T")
#: `auto`: the service leaves the text unread where the images are enough; not given: as it is configured.
Cascade = Literal["off", "auto"]

RENEW_BEFORE_S = 30.0
# A document of many pages is read page by page; a connection that is not there is known at once.
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_PROBLEM_TYPE = "urn:dsdc:problem:"


class ServiceUnreachable(DsdcError):
    """The service does not answer."""

    category = "unreachable"


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


def _refresh(token: str) -> Call[Tokens]:
    body = {"refresh_token": token}
    return Call("POST", "/token/refresh", _as(Tokens), "auth", signed=False, options={"json": body})


_LOGOUT: Call[None] = Call("POST", "/logout", _nothing, "auth")
_ME: Call[Account] = Call("GET", "/users/me", _as(Account), "auth")
_USERS: Call[list[Account]] = Call("GET", "/users", _as(list[Account]), "auth")
_MODEL: Call[ModelInfo] = Call("GET", "/v1/model", _as(ModelInfo))
_RELOAD: Call[ModelInfo] = Call("POST", "/v1/model/reload", _as(ModelInfo))


def _create_user(name: str, password: str, role: str) -> Call[Account]:
    body = {"name": name, "password": password, "role": role}
    return Call("POST", "/users", _as(Account), "auth", options={"json": body})


def _set_role(user: UUID | str, role: str) -> Call[Account]:
    return Call("PUT", f"/users/{user}/role", _as(Account), "auth", options={"json": {"role": role}})


def _change_password(current: str, new: str) -> Call[None]:
    body = {"current": current, "new": new}
    return Call("PUT", "/users/me/password", _nothing, "auth", options={"json": body})


def _predict(document: Path | bytes, name: str | None, store: bool, cascade: Cascade | None) -> Call[Prediction]:
    data = document.read_bytes() if isinstance(document, Path) else document
    called = name or (document.name if isinstance(document, Path) else "document")
    params = {"store": str(store).lower()} | ({"cascade": cascade} if cascade else {})
    options = {"files": {"file": (called, data)}, "params": params}
    return Call("POST", "/v1/predict", _as(Prediction), options=options)


def _feedback(prediction: UUID | str, label: str) -> Call[LabelGiven]:
    path = f"/v1/predictions/{prediction}/feedback"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def _label(document_id: str, label: str) -> Call[LabelGiven]:
    path = f"/v1/documents/{document_id}/labels"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def _similar(document_id: str, limit: int) -> Call[Similar]:
    return Call("GET", f"/v1/documents/{document_id}/similar", _as(Similar), options={"params": {"limit": limit}})


class _Session:
    """The tokens that a client holds."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self._expires = 0.0

    def keep(self, tokens: Tokens | None) -> None:
        self.tokens = tokens
        self._expires = time.monotonic() + (tokens.expires_in if tokens else 0)

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
    """The client for programs that block. Threads may share one."""

    def __init__(self, auth_url: str, predict_url: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._http = {
            "auth": httpx.Client(base_url=auth_url, timeout=timeout, trust_env=False),
            "predict": httpx.Client(base_url=predict_url, timeout=timeout, trust_env=False),
        }
        self._session = _Session()
        self._renewing = threading.Lock()

    @classmethod
    def from_settings(cls, config: Settings | None = None) -> Client:
        config = config or settings()
        return cls(config.auth.url, config.streamlit.predict_url)

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
        self._session.keep(tokens)

    def sign_in(self, name: str, password: str) -> Tokens:
        """Raises InvalidCredentials, TooManyAttempts, ServiceUnreachable."""
        tokens = self._send(_sign_in(name, password))
        self._session.keep(tokens)
        return tokens

    def refresh(self) -> Tokens:
        """New tokens; raises InvalidToken where the session has ended."""
        held = self._session.tokens
        tokens = self._send(_refresh(held.refresh_token if held else ""))
        self._session.keep(tokens)
        return tokens

    def sign_out(self) -> None:
        self._send(_LOGOUT)
        self._session.keep(None)

    def me(self) -> Account:
        return self._send(_ME)

    def change_password(self, current: str, new: str) -> None:
        """Ends all sessions of the account, this one too."""
        self._send(_change_password(current, new))
        self._session.keep(None)

    def users(self) -> list[Account]:
        return self._send(_USERS)

    def create_user(self, name: str, password: str, role: str) -> Account:
        return self._send(_create_user(name, password, role))

    def disable_user(self, user: UUID | str) -> Account:
        return self._send(Call("POST", f"/users/{user}/disable", _as(Account), "auth"))

    def enable_user(self, user: UUID | str) -> Account:
        return self._send(Call("POST", f"/users/{user}/enable", _as(Account), "auth"))

    def set_role(self, user: UUID | str, role: str) -> Account:
        return self._send(_set_role(user, role))

    def predict(
        self, document: Path | bytes, *, name: str | None = None, store: bool = True, cascade: Cascade | None = None
    ) -> Prediction:
        """The class of a document; raises the DocumentError that is at fault, Busy, NoChampion."""
        return self._send(_predict(document, name, store, cascade))

    def prediction(self, prediction: UUID | str) -> Prediction:
        return self._send(Call("GET", f"/v1/predictions/{prediction}", _as(Prediction)))

    def lineage(self, prediction: UUID | str) -> Lineage:
        return self._send(Call("GET", f"/v1/predictions/{prediction}/lineage", _as(Lineage)))

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
        headers = self._signed() if call.signed else {}
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
        self._session.keep(tokens)

    async def sign_in(self, name: str, password: str) -> Tokens:
        tokens = await self._send(_sign_in(name, password))
        self._session.keep(tokens)
        return tokens

    async def refresh(self) -> Tokens:
        held = self._session.tokens
        tokens = await self._send(_refresh(held.refresh_token if held else ""))
        self._session.keep(tokens)
        return tokens

    async def sign_out(self) -> None:
        await self._send(_LOGOUT)
        self._session.keep(None)

    async def me(self) -> Account:
        return await self._send(_ME)

    async def change_password(self, current: str, new: str) -> None:
        await self._send(_change_password(current, new))
        self._session.keep(None)

    async def users(self) -> list[Account]:
        return await self._send(_USERS)

    async def create_user(self, name: str, password: str, role: str) -> Account:
        return await self._send(_create_user(name, password, role))

    async def disable_user(self, user: UUID | str) -> Account:
        return await self._send(Call("POST", f"/users/{user}/disable", _as(Account), "auth"))

    async def enable_user(self, user: UUID | str) -> Account:
        return await self._send(Call("POST", f"/users/{user}/enable", _as(Account), "auth"))

    async def set_role(self, user: UUID | str, role: str) -> Account:
        return await self._send(_set_role(user, role))

    async def predict(
        self, document: Path | bytes, *, name: str | None = None, store: bool = True, cascade: Cascade | None = None
    ) -> Prediction:
        return await self._send(await asyncio.to_thread(_predict, document, name, store, cascade))

    async def prediction(self, prediction: UUID | str) -> Prediction:
        return await self._send(Call("GET", f"/v1/predictions/{prediction}", _as(Prediction)))

    async def lineage(self, prediction: UUID | str) -> Lineage:
        return await self._send(Call("GET", f"/v1/predictions/{prediction}/lineage", _as(Lineage)))

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
        headers = await self._signed() if call.signed else {}
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
