"""Text as read -> text ready for embedding."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.texts import CleanTextRow, ProcessedTexts, RawTexts
from dsdc.pipeline.contract import Produced, Stage
from dsdc.processors.contract import CleanedText, Cleaner


@dataclass(frozen=True)
class TextInput:
    """Raw text of one page; `id` is that of its row, 0 where nothing is stored."""

    id: int
    text: str


class CleanStage(Stage[TextInput, CleanedText]):
    name = "clean"

    def __init__(self, cleaner: Cleaner, processor_id: int, reader_id: int) -> None:
        super().__init__(cleaner, processor_id)
        self._cleaner = cleaner
        self._reader_id = reader_id

    def inputs(self) -> Select[str, str]:
        return RawTexts.made_by(self._reader_id)

    def load(self, session: Session, input_ids: Sequence[str]) -> list[TextInput]:
        texts = RawTexts(session).many([int(i) for i in input_ids])
        return [TextInput(int(i), texts[int(i)].raw_text) for i in input_ids]

    def compute(self, inputs: Sequence[TextInput]) -> Generator[Produced[CleanedText], None, None]:
        for index, text in enumerate(inputs):
            yield Produced(index, (self._cleaner.clean(text.text),))

    def record(self, session: Session, source: TextInput, rows: Sequence[CleanedText]) -> None:
        ProcessedTexts(session).add(
            self.processor_id, [CleanTextRow(source.id, row.text, dict(row.changes)) for row in rows]
        )
