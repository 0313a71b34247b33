"""What the service needs of whoever answers: `dsdc.pipeline.answer.Answerer`, or a stand-in in its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from dsdc.settings import CascadeMode


class Model(Protocol):
    """The loaded model. `classes` are slugs in the order of its outputs."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def head_sha256(self) -> str: ...
    @property
    def clip(self) -> Mapping[str, Any]: ...
    @property
    def display_names(self) -> Mapping[str, str]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def coverage(self) -> float: ...
    @property
    def review_threshold(self) -> float: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def mlflow_run_id(self) -> str: ...
    @property
    def trained(self) -> datetime: ...
    @property
    def loaded(self) -> datetime: ...


class Given(Protocol):
    """An answer; `as_dict` is its JSON."""

    def as_dict(self) -> dict[str, Any]: ...


class Answering(Protocol):
    """Thread-safe. Both methods block and take long."""

    @property
    def model(self) -> Model | None: ...

    def load(self) -> Model:
        """Load the champion; raises NoChampion, WeightsError, ModelMismatch, DatabaseUnavailable."""
        ...

    def answer(
        self,
        data: bytes,
        *,
        name: str,
        author: str,
        source: str = "api",
        store: bool = True,
        cascade: CascadeMode | None = None,
        prediction_id: UUID | None = None,
    ) -> Given:
        """Raises DocumentError where the document is at fault. What has been answered under an id stays."""
        ...
