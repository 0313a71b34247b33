"""Processor versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import ProcessorVersion


class Processors:
    def __init__(self, session: Session) -> None:
        self._session = session

    def register(self, stage: str, name: str, version: str, params_hash: str, params: Mapping[str, Any]) -> int:
        """Id of this very version, recorded now if it never ran before."""
        known = select(ProcessorVersion.id).filter_by(stage=stage, name=name, version=version, params_hash=params_hash)
        if (found := self._session.scalar(known)) is not None:
            return found
        row = insert(ProcessorVersion).values(
            stage=stage, name=name, version=version, params_hash=params_hash, params=dict(params)
        )
        self._session.execute(row.on_conflict_do_nothing())
        return self._session.execute(known).scalar_one()

    def params_of(self, stage: str, name: str, version: str, params_hash: str) -> Mapping[str, Any] | None:
        """The parameters of a version that ran here; None where it never did."""
        found = select(ProcessorVersion.params).filter_by(
            stage=stage, name=name, version=version, params_hash=params_hash
        )
        return self._session.scalar(found)

    def find(self, stage: str, name: str, version: str, params_hash: str) -> ProcessorVersion | None:
        """The version that ran here under this identity; None where none did."""
        found = select(ProcessorVersion).filter_by(stage=stage, name=name, version=version, params_hash=params_hash)
        return self._session.scalar(found)

    def get(self, processor_id: int) -> ProcessorVersion | None:
        return self._session.get(ProcessorVersion, processor_id)
