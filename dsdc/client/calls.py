"""The requests that both clients send, each with how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from dsdc.client.failures import error_of
from dsdc.settings import CascadeMode
from dsdc.web.contract import (
    Account,
    ApiKey,
    AuditPage,
    Batch,
    BatchItems,
    DocumentLineage,
    LabelGiven,
    Lineage,
    ModelInfo,
    NewApiKey,
    Prediction,
    Similar,
    SnapshotLabels,
    Tokens,
)

T = TypeVar("T")

# A document of many pages is read page by page; a connection that is not there is known at once.
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
#: A document of a batch: a file, or a name and bytes.
Document = Path | tuple[str, bytes]


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

    def answer(self, response: httpx.Response) -> T:
        """What the service said; raises the error that it stands for."""
        if response.status_code >= 400:
            raise error_of(response)
        return self.read(response.json() if response.content else None)


def _as(kind: type[T]) -> Callable[[Any], T]:
    return TypeAdapter(kind).validate_python


def _nothing(_: Any) -> None:
    return None


def sign_in(name: str, password: str) -> Call[Tokens]:
    form = {"grant_type": "password", "username": name, "password": password}
    return Call("POST", "/token", _as(Tokens), "auth", signed=False, options={"data": form})


def exchange_key(key: str) -> Call[Tokens]:
    form = {"grant_type": "client_credentials", "client_secret": key}
    return Call("POST", "/token", _as(Tokens), "auth", signed=False, options={"data": form})


def refresh(token: str) -> Call[Tokens]:
    body = {"refresh_token": token}
    return Call("POST", "/token/refresh", _as(Tokens), "auth", signed=False, options={"json": body})


LOGOUT: Call[None] = Call("POST", "/logout", _nothing, "auth")
ME: Call[Account] = Call("GET", "/users/me", _as(Account), "auth")
USERS: Call[list[Account]] = Call("GET", "/users", _as(list[Account]), "auth")
MODEL: Call[ModelInfo] = Call("GET", "/v1/model", _as(ModelInfo))
RELOAD: Call[ModelInfo] = Call("POST", "/v1/model/reload", _as(ModelInfo))


def create_user(name: str, password: str | None, role: str) -> Call[Account]:
    body = {"name": name, "role": role} | ({} if password is None else {"password": password})
    return Call("POST", "/users", _as(Account), "auth", options={"json": body})


def set_enabled(user: UUID | str, enabled: bool) -> Call[Account]:
    return Call("POST", f"/users/{user}/{'enable' if enabled else 'disable'}", _as(Account), "auth")


def set_role(user: UUID | str, role: str) -> Call[Account]:
    return Call("PUT", f"/users/{user}/role", _as(Account), "auth", options={"json": {"role": role}})


def create_key(user: UUID | str, note: str, expires_days: int | None) -> Call[NewApiKey]:
    body = {"note": note, "expires_days": expires_days}
    return Call("POST", f"/users/{user}/api-keys", _as(NewApiKey), "auth", options={"json": body})


def keys(user: UUID | str) -> Call[list[ApiKey]]:
    return Call("GET", f"/users/{user}/api-keys", _as(list[ApiKey]), "auth")


def revoke_key(user: UUID | str, key: UUID | str) -> Call[ApiKey]:
    return Call("POST", f"/users/{user}/api-keys/{key}/revoke", _as(ApiKey), "auth")


def audit(before: int | None, limit: int, filters: Mapping[str, str]) -> Call[AuditPage]:
    params = {"limit": limit, **({} if before is None else {"before": before}), **filters}
    return Call("GET", "/audit", _as(AuditPage), "auth", options={"params": params})


def change_password(current: str, new: str) -> Call[None]:
    body = {"current": current, "new": new}
    return Call("PUT", "/users/me/password", _nothing, "auth", options={"json": body})


def _once(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": f'"{key}"'}


def predict(
    document: Path | bytes, name: str | None, store: bool, cascade: CascadeMode | None, key: str | None
) -> Call[Prediction]:
    data = document.read_bytes() if isinstance(document, Path) else document
    called = name or (document.name if isinstance(document, Path) else "document")
    params = {"store": str(store).lower()} | ({"cascade": cascade} if cascade else {})
    options = {"files": {"file": (called, data)}, "params": params}
    return Call("POST", "/v1/predict", _as(Prediction), options=options, headers=_once(key))


@contextmanager
def submit_batch(documents: Iterable[Document], store: bool, key: str | None) -> Iterator[Call[Batch]]:
    """Files are read while they are sent, so they are open within."""
    with ExitStack() as opened:
        files = [
            ("file", (d.name, opened.enter_context(d.open("rb"))) if isinstance(d, Path) else d) for d in documents
        ]
        options = {"files": files, "params": {"store": str(store).lower()}}
        yield Call("POST", "/v1/batches", _as(Batch), options=options, headers=_once(key))


def batch(batch: UUID | str) -> Call[Batch]:
    return Call("GET", f"/v1/batches/{batch}", _as(Batch))


def cancel_batch(batch: UUID | str) -> Call[Batch]:
    return Call("DELETE", f"/v1/batches/{batch}", _as(Batch))


def prediction(prediction: UUID | str) -> Call[Prediction]:
    return Call("GET", f"/v1/predictions/{prediction}", _as(Prediction))


def lineage(prediction: UUID | str) -> Call[Lineage]:
    return Call("GET", f"/v1/predictions/{prediction}/lineage", _as(Lineage))


def labels_behind(prediction: UUID | str, label: str | None, after: str) -> Call[SnapshotLabels]:
    asked = {"after": after} | ({} if label is None else {"label": label})
    path = f"/v1/predictions/{prediction}/lineage/labels"
    return Call("GET", path, _as(SnapshotLabels), options={"params": asked})


def document_lineage(document_id: str, after: int) -> Call[DocumentLineage]:
    path = f"/v1/documents/{document_id}/lineage"
    return Call("GET", path, _as(DocumentLineage), options={"params": {"after": after}})


def batch_items(batch: UUID | str, after: int) -> Call[BatchItems]:
    return Call("GET", f"/v1/batches/{batch}/items", _as(BatchItems), options={"params": {"after": after}})


def feedback(prediction: UUID | str, label: str) -> Call[LabelGiven]:
    path = f"/v1/predictions/{prediction}/feedback"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def label_document(document_id: str, label: str) -> Call[LabelGiven]:
    path = f"/v1/documents/{document_id}/labels"
    return Call("POST", path, _as(LabelGiven), options={"json": {"label": label}})


def similar(document_id: str, limit: int) -> Call[Similar]:
    return Call("GET", f"/v1/documents/{document_id}/similar", _as(Similar), options={"params": {"limit": limit}})
