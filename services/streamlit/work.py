"""What one signed-in person has on the desk.

It lives in Streamlit's session state, on the server; the tokens inside the client never reach the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import streamlit as st

from dsdc.client import Client
from dsdc.errors import DsdcError
from dsdc.web.contract import Account, Lineage, ModelInfo, Prediction
from services.streamlit.preview import Preview

_KEY, _NOTICE = "work", "notice"


class UploadedBytes(Protocol):
    """What the uploader hands over."""

    file_id: str
    name: str

    def getvalue(self) -> bytes: ...


@dataclass
class Document:
    """One uploaded file and what came of it: a prediction or an error, never neither once it was sent."""

    id: str
    name: str
    data: bytes
    kept: bool = True
    prediction: Prediction | None = None
    error: DsdcError | None = None
    preview: Preview | DsdcError | None = None
    stated: str | None = None  # the class that the person said it is
    lineage: Lineage | None = None

    @property
    def sent(self) -> bool:
        return self.prediction is not None or self.error is not None


@dataclass
class Work:
    client: Client
    user: Account
    model: ModelInfo | DsdcError | None = None
    documents: dict[str, Document] = field(default_factory=dict)

    def take(self, uploads: Iterable[UploadedBytes]) -> list[Document]:
        """Bring the desk to what the uploader holds; returns what was not sent yet."""
        held = {u.file_id: u for u in uploads}
        self.documents = {
            key: self.documents.get(key) or Document(key, upload.name, upload.getvalue())
            for key, upload in held.items()
        }
        return [d for d in self.documents.values() if not d.sent]

    @property
    def may_label(self) -> bool:
        """Whether this person's word about a document counts; the service decides, this only spares a refusal."""
        return self.user.role in ("annotator", "model-admin", "admin")


def current() -> Work | None:
    return st.session_state.get(_KEY)


def begin(work: Work) -> None:
    st.session_state[_KEY] = work


def end(notice: str = "") -> None:
    """Forget the tokens and the documents; `notice` is shown above the sign-in form."""
    desk = current()
    if desk is not None:
        desk.client.close()
    st.session_state.clear()
    st.session_state[_NOTICE] = notice


def notice() -> str:
    """What `end` left to say; told once."""
    return str(st.session_state.pop(_NOTICE, ""))
