"""Stages in other versions, over some documents only: rows beside rows, and nobody is told of failures but the caller.

A worker would take whatever is pending, and set documents aside that cannot be read. Here a document that another
version cannot read stays what it is, for the versions in use can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Session

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.session import retrying, transaction
from dsdc.errors import PLATFORM_FAULTS, BytesMissing
from dsdc.log import get_logger
from dsdc.pipeline.assembly import STAGES, Assembly
from dsdc.pipeline.contract import Produced, Stage
from dsdc.pipeline.leases import worker_name
from dsdc.pipeline.stages.render import RenderStage

log = get_logger(__name__)

#: Stage -> the one whose rows it starts from.
_AFTER = {"text": "render", "embed-image": "render", "clean": "text", "embed-text": "clean"}


def affected(base: Assembly, changed: Assembly) -> list[str]:
    """Stages whose rows would be others: those with another processor, and those that start from their rows."""
    found: list[str] = []
    for name in STAGES[1:]:
        other = base.stage(name).processor_id != changed.stage(name).processor_id
        if other or _AFTER.get(name) in found:
            found.append(name)
    return found


class Shadow:
    """Makes what is missing of some stages; `failed` says which documents could not be had, and why."""

    def __init__(self, ready: Assembly, stages: Sequence[str], *, at_once: int) -> None:
        self._ready = ready
        self._stages = stages
        self._at_once = at_once
        self.made = dict.fromkeys(stages, 0)
        self.failed: dict[str, str] = {}

    def work(self, document_ids: Sequence[str]) -> None:
        """All of these documents through all of the stages.

        Raises:
            DatabaseError, StorageError, ModelError, SetupError: the platform failed; what is done stays.
        """
        for name in self._stages:
            stage = self._ready.stage(name)
            inputs = retrying(lambda stage=stage: self._open(stage, document_ids))  # type: ignore[misc]
            for start in range(0, len(inputs), self._at_once):
                self._batch(stage, inputs[start : start + self._at_once])

    def _open(self, stage: Stage[Any, Any], document_ids: Sequence[str]) -> list[tuple[str, str]]:
        left = [document_id for document_id in document_ids if document_id not in self.failed]
        with transaction() as session:
            return StageAttempts(session).unfinished(stage.name, stage.processor_id, stage.inputs(), left)

    def _batch(self, stage: Stage[Any, Any], inputs: Sequence[tuple[str, str]]) -> None:
        try:
            self._compute(stage, inputs)
        except PLATFORM_FAULTS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an engine may raise over one input of a batch
            if len(inputs) > 1:
                for one in inputs:
                    self._batch(stage, [one])
            else:
                self._fail(stage, inputs[0][1], error)

    def _compute(self, stage: Stage[Any, Any], inputs: Sequence[tuple[str, str]]) -> None:
        with transaction() as session:
            stored = self._stored(session, stage, inputs)
            inputs = [one for one in inputs if one[1] in stored]
            if not inputs:
                return
            sources = stage.load(session, [input_id for input_id, _ in inputs])
        ready: list[Produced[Any]] = []
        for produced in stage.compute(sources):
            if produced.error is not None:
                if isinstance(produced.error, PLATFORM_FAULTS) and not isinstance(produced.error, BytesMissing):
                    raise produced.error
                self._fail(stage, inputs[produced.index][1], produced.error)
            else:
                ready.append(produced)
        retrying(lambda: self._keep(stage, inputs, sources, ready))
        self.made[stage.name] += sum(produced.last for produced in ready)

    def _fail(self, stage: Stage[Any, Any], document_id: str, error: Exception) -> None:
        log.warning("replay.failed", stage=stage.name, document=document_id, error=str(error))
        self.failed.setdefault(document_id, f"{stage.name}: {error}")

    def _keep(
        self,
        stage: Stage[Any, Any],
        inputs: Sequence[tuple[str, str]],
        sources: Sequence[Any],
        results: Sequence[Produced[Any]],
    ) -> None:
        """Rows, and that the work is done, in one transaction; of documents that have left the store, nothing."""
        with transaction() as session:
            queue = StageAttempts(session)
            # No claim of it would be refused: from here on nobody rejects or forgets these documents.
            Documents(session).hold([document_id for _, document_id in inputs])
            stored = self._stored(session, stage, inputs)
            results = [result for result in results if inputs[result.index][1] in stored]
            for result in results:
                record = stage.record_pages if isinstance(stage, RenderStage) else stage.record
                record(session, sources[result.index], result.rows)
            done = [result for result in results if result.last]
            if isinstance(stage, RenderStage):
                done = list(_as_many_pages(Documents(session), ProcessedImages(session), stage, sources, done))
            for result in done:
                queue.record_done(
                    stage.name,
                    stage.processor_id,
                    [inputs[result.index]],
                    worker=worker_name(self._ready.config),
                    partial=result.partial,
                    skipped=result.skipped,
                )

    def _stored(self, session: Session, stage: Stage[Any, Any], inputs: Sequence[tuple[str, str]]) -> set[str]:
        """Documents of these inputs that are in the store; the others may have been rejected or forgotten meanwhile."""
        states = Documents(session).states([document_id for _, document_id in inputs])
        for document_id, state in states.items():
            if state != "stored":
                self.failed.setdefault(document_id, f"{stage.name}: The document is {state}.")
        return {document_id for document_id, state in states.items() if state == "stored"}


def _as_many_pages(
    documents: Documents,
    images: ProcessedImages,
    stage: RenderStage,
    sources: Sequence[Any],
    results: Sequence[Produced[Any]],
) -> Iterator[Produced[Any]]:
    """Those whose document has as many pages as before; of the others a worker decides, once this version is in use."""
    known = documents.many([sources[result.index].id for result in results])
    for result in results:
        document = known[sources[result.index].id]
        if images.last_page(document.id, stage.processor_id) == document.page_count:
            yield result
