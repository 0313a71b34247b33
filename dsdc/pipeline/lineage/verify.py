"""`dsdc lineage --verify`: a prediction computed again from the stored bytes, and compared step by step.

Judged are: the document's bytes and stored page images; the images, texts, words, cleaned texts and vectors that the
recorded processors make of the bytes; CLIP's weights, the head and its recipe; the snapshot that the head was trained
on; the probabilities and the answer; and the neighbours, by their labels then and how near they are. The search for
neighbours itself is not repeated, for the archive has grown since. Nothing is written to the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from dsdc.db.repositories.embeddings import Vectors
from dsdc.db.repositories.neighbours import Neighbours
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import DsdcError, WeightsError
from dsdc.ml.calibrate import evidence_of
from dsdc.ml.dataset import Known, blocks_of
from dsdc.ml.features import Block
from dsdc.ml.predict import Classifier
from dsdc.ml.recipe import HEAD_FILE, RECIPE_FILE
from dsdc.ml.registry import head_folder
from dsdc.ml.snapshots import content_again, forgotten_of
from dsdc.pipeline.lineage.again import remake
from dsdc.pipeline.lineage.record import Record, load
from dsdc.pipeline.lineage.runnable import Toolbox, Tools
from dsdc.pipeline.lineage.steps import Step, Tolerance, Verified, cannot, same
from dsdc.settings import Settings
from dsdc.storage import Storage


@dataclass(frozen=True)
class _Head:
    """The files of a model, judged once for all its predictions; None where they are not what was recorded."""

    steps: tuple[Step, ...]
    classifier: Classifier | None


class Verifier:
    """Verifies one prediction after the other; weights, heads and snapshots are read once for all of them."""

    def __init__(self, config: Settings, storage: Storage, tolerance: Tolerance | None = None) -> None:
        self._config = config
        self._storage = storage
        self._tolerance = tolerance or Tolerance()
        self._toolbox = Toolbox(config)
        self._heads: dict[int, _Head] = {}
        self._snapshots: dict[int, Step] = {}

    def verify(self, prediction_id: UUID) -> Verified:
        """One prediction, step by step.

        Raises:
            NotFound: there is no such prediction. DatabaseError, StorageError: the platform failed, nothing is judged.
        """
        record = load(prediction_id)
        tools = self._toolbox.tools(record.snapshot.processors)
        remade = remake(self._config, self._storage, record, tools, self._tolerance)
        head = self._head(record)
        steps = [*remade.steps, _weights(record, tools), *head.steps, self._snapshot(record.snapshot)]
        steps += self._answer(record, tools, head.classifier, remade.known)
        return Verified(
            prediction_id=prediction_id,
            document_id=record.prediction.document_sha256,
            model=f"{record.model.name} {record.model.version}",
            steps=tuple(steps),
        )

    def _head(self, record: Record) -> _Head:
        model = record.model
        if model.id not in self._heads:
            folder = head_folder(self._config, model.head_sha256, model.recipe_sha256)
            files = {"head": (HEAD_FILE, model.head_sha256), "recipe": (RECIPE_FILE, model.recipe_sha256)}
            steps = tuple(
                same(name, sha256, _sha256(folder / file), "no file") for name, (file, sha256) in files.items()
            )
            good = all(step.outcome == "ok" for step in steps)
            try:
                classifier = Classifier.load(folder, model.head_sha256, top=self._config.predict.top) if good else None
            except WeightsError as error:
                steps, classifier = (*steps, *cannot(["loading the head"], str(error))), None
            self._heads[model.id] = _Head(steps, classifier)
        return self._heads[model.id]

    def _snapshot(self, snapshot: DatasetSnapshot) -> Step:
        if snapshot.id not in self._snapshots:
            self._snapshots[snapshot.id] = _content(snapshot)
        return self._snapshots[snapshot.id]

    def _answer(
        self, record: Record, tools: Tools, classifier: Classifier | None, known: Known | None
    ) -> Iterator[Step]:
        names = ("probabilities", "answer", "neighbours")
        why = record.gone or ("none of its vectors are there" if known is None else None)
        if why is not None or known is None:
            yield from cannot(names, str(why))
            return
        try:
            blocks = blocks_of([known], tools.processors)
        except DsdcError as error:
            yield from cannot(names, str(error))
            return
        yield from self._judged(record, tools, classifier, blocks)
        yield self._neighbours(record, blocks["image"].first, blocks["text"].first)

    def _judged(
        self, record: Record, tools: Tools, classifier: Classifier | None, blocks: Mapping[str, Block]
    ) -> Iterator[Step]:
        names = ("probabilities", "answer")
        why = "the head is not the recorded one" if classifier is None else tools.undescribed
        if why is not None or classifier is None:
            yield from cannot(names, str(why))
            return
        try:
            verdict = classifier.classify(blocks)
        except ValueError as error:  # it reads other modalities than are computed here
            yield from cannot(names, str(error))
            return
        then = record.prediction
        yield self._probabilities(then.probabilities, verdict.probabilities)
        # Predictions of the first days say nothing of what they were judged by.
        evidence = evidence_of(blocks) if "evidence" in then.versions else None
        yield same(
            "answer",
            _told(then.label, then.decision, then.prediction_set, then.versions.get("evidence")),
            _told(verdict.label, verdict.decision, verdict.prediction_set, evidence),
        )

    def _probabilities(self, then: Mapping[str, float], now: Mapping[str, float]) -> Step:
        if then.keys() != now.keys():
            return same("probabilities", ", ".join(sorted(then)), ", ".join(sorted(now)))
        worst = max(then, key=lambda slug: abs(then[slug] - now[slug]))
        largest, allowed = abs(then[worst] - now[worst]), self._tolerance.probability
        told = f"largest difference {largest:.1e}"
        if largest <= allowed:
            return Step("probabilities", "ok", told)
        detail = f"{worst}: {told}, {allowed:.1e} allowed"
        return Step("probabilities", "differs", detail, f"{then[worst]:.6f}", f"{now[worst]:.6f}")

    def _neighbours(self, record: Record, image: Vectors | None, words: Vectors | None) -> Step:
        with transaction() as session:
            now = Neighbours(session).similarities(
                [near["document_id"] for near in record.neighbours],
                embed=record.versions.embed,
                image=image,
                words=words,
                until=record.prediction.created,
            )
        wrong = [told for near in record.neighbours if (told := self._neighbour(near, now)) is not None]
        gone = [near["document_id"] for near in record.neighbours if near["state"] == "forgotten"]
        if wrong:
            return Step("neighbours", "differs", "; ".join(told for told, _, _ in wrong), wrong[0][1], wrong[0][2])
        if gone:
            return Step("neighbours", "cannot", f"{len(gone)} of {len(record.neighbours)} were forgotten since")
        return Step("neighbours", "ok", f"{len(record.neighbours)}, their labels and how near they are")

    def _neighbour(self, near: Mapping[str, Any], now: Mapping[str, float]) -> tuple[str, str, str] | None:
        """What is not as recorded: in words, expected, found."""
        document, similarity = near["document_id"], near["similarity"]
        if near["label_id"] is None:
            labelled = f"{near['label']} by {near['author']} ({near['label_source']})"
            return f"{document[:12]}: nobody said so by then", labelled, "no such label"
        if near["state"] == "forgotten":
            return None
        found = now.get(document)
        if found is None or abs(found - similarity) > self._tolerance.probability:
            return f"{document[:12]}: not as near", f"{similarity:.4f}", "none" if found is None else f"{found:.4f}"
        return None


def _weights(record: Record, tools: Tools) -> Step:
    """CLIP's weights, which have been read through by now; what refused them says which hash they have."""
    name, expected = "weights", record.model.clip_weights_sha256
    try:
        found = tools.processors.embedder.weights_sha256
    except WeightsError as error:
        return same(name, expected, None, str(error))
    why = tools.why_not.get("embed")
    return Step(name, "cannot", why) if why and found != expected else same(name, expected, found)


def _content(snapshot: DatasetSnapshot) -> Step:
    if gone := forgotten_of(snapshot):
        return Step("snapshot", "cannot", f"{len(gone)} of its documents were forgotten")
    found = content_again(snapshot)
    if found.faults:
        return Step("snapshot", "differs", found.told(), snapshot.content_sha256, found.sha256)
    return same("snapshot", snapshot.content_sha256, found.sha256)


def _sha256(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _told(label: str, decision: str, members: Sequence[str], evidence: str | None) -> str:
    return f"{label}, {decision}, of {{{', '.join(members)}}}" + (f", by {evidence}" if evidence else "")
