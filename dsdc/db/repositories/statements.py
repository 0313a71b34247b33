"""Which lines of labels files have found the files that they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import AppliedStatement, Sighting

Place = tuple[str, str]  # folder and name, relative to the inbox


@dataclass(frozen=True)
class Arrived:
    """The newest arrival at a place; `labelled` where a labels file has labelled it already."""

    sighting_id: int
    document_id: str
    labelled: bool


class Statements:
    def __init__(self, session: Session) -> None:
        self._session = session

    def applied(self, statements: Collection[str]) -> set[str]:
        """Those of these statements that have found their file."""
        query = text("SELECT statement FROM applied_statements WHERE statement = ANY (:statements)")
        return set(self._session.scalars(query, {"statements": list(statements)}))

    def apply(self, statements: Sequence[str], sighting_id: int | None) -> set[str]:
        """These statements have found their file; returns those that had found none before.

        Args:
            sighting_id: the arrival that they label, None where they label none.
        """
        rows = [{"statement": one, "sighting_id": sighting_id} for one in sorted(set(statements))]
        if not rows:
            return set()
        added = insert(AppliedStatement).values(rows).on_conflict_do_nothing(index_elements=["statement"])
        return set(self._session.scalars(added.returning(AppliedStatement.statement)))

    def sighting(self, arrival_key: str | None) -> int | None:
        """Id of an arrival."""
        return self._session.scalar(select(Sighting.id).where(Sighting.arrival_key == arrival_key))

    def newest(self, places: Collection[Place]) -> dict[Place, Arrived]:
        """What last arrived in the inbox at each of these places, of those where something did."""
        rows = self._session.execute(
            text("""
                SELECT DISTINCT ON (s.folder, s.name) s.folder, s.name, s.id, s.document_id,
                    EXISTS (SELECT FROM applied_statements a WHERE a.sighting_id = s.id) AS labelled
                FROM unnest(CAST(:folders AS text[]), CAST(:names AS text[])) AS place (folder, name)
                    JOIN sightings s ON s.folder = place.folder AND s.name = place.name AND s.source = 'inbox'
                ORDER BY s.folder, s.name, s.id DESC
            """),
            {"folders": [folder for folder, _ in places], "names": [name for _, name in places]},
        )
        return {(row.folder, row.name): Arrived(row.id, row.document_id, row.labelled) for row in rows}
