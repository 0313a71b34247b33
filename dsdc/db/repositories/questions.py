"""Questions about lineage, put to the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from dsdc.db.questions import Question, sql_of


class Questions:
    def __init__(self, session: Session) -> None:
        self._session = session

    def ask(self, question: Question, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of the answer; `parameters` are those that the question's file names."""
        rows = self._session.execute(text(sql_of(question)), dict(parameters))
        return [dict(row._mapping) for row in rows]
