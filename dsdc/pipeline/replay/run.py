"""The replay itself: which documents, what has to be made first, both sides' answers, and what they are worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.texts import ProcessedTexts
from dsdc.db.session import retrying, transaction
from dsdc.errors import Conflict, NotFound, PurposeFailed
from dsdc.log import get_logger
from dsdc.ml import registry
from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Floats
from dsdc.ml.recipe import Head
from dsdc.pipeline.assembly import Assembly, assemble, ensure_vector_index
from dsdc.pipeline.match import identity_of, require_match
from dsdc.pipeline.replay.change import Change
from dsdc.pipeline.replay.result import Counts, Flip, Opinion, Replayed, Texts
from dsdc.pipeline.replay.shadow import Shadow, affected
from dsdc.pipeline.replay.sides import Side, ask, elsewhere, side_of
from dsdc.pipeline.replay.verdict import Labelled, judge
from dsdc.pipeline.training import train_model
from dsdc.settings import Settings

log = get_logger(__name__)

AT_ONCE = 64  # documents whose vectors and texts are in memory
TEXTS = 8  # pages shown side by side

Tell = Callable[[str, int, int], None]  # (step, done, still to come)


@dataclass(frozen=True)
class Scope:
    """Which documents: all that are embedded, or `sample` of them drawn by `seed`; no longer than `minutes`."""

    sample: int | None = None
    seed: int = 0
    minutes: float = 60.0


class _Clock:
    def __init__(self, scope: Scope) -> None:
        self.started = datetime.now(UTC)
        self._begun = time.monotonic()
        self._until = self._begun + scope.minutes * 60

    @property
    def over(self) -> bool:
        return time.monotonic() > self._until

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun


def replay_model(config: Settings, version: int | None, scope: Scope, tell: Tell) -> Replayed:
    """What another model would answer, from stored vectors and texts: nothing is computed but the answers.

    Args:
        version: of the model; None for the challenger.

    Raises:
        NoChampion, NotFound: there is nothing to compare. Conflict: it is the one that serves.
        WeightsError, ModelMismatch: one of the two cannot be asked.
    """
    clock = _Clock(scope)
    champion = registry.champion(config)
    other = registry.with_alias(config, "challenger") if version is None else registry.by_version(config, version)
    if other is None:
        raise NotFound("There is no challenger.", hint="Train one (`dsdc train`), or name a version.")
    if other.id == champion.id:
        raise Conflict(f"{other.name} {other.version} is the one that serves.", hint="Name another version.")
    ready = assemble(config)
    before, after = (side_of(model, ready.processors, config) for model in (champion, other))
    work = _Work(config, scope, clock, tell, before.versions)
    notes = ["Both models answer from stored vectors and texts; nothing was computed anew."]
    if before.versions != after.versions:
        notes.append("Each is asked about what the processors made that it was trained on; these are not the same.")
    told = f"{other.name} {other.version}"
    return _finish(work, "model", f"model {told}", before, after, notes)


def replay_processors(
    config: Settings, change: Change, scope: Scope, tell: Tell, *, retrain: bool = False, author: str
) -> Replayed:
    """What other processors would change: first their rows are made for the documents in scope, then both are asked.

    Args:
        retrain: train a model on the new rows, in the ordinary way but for taking it into use, and ask that one.

    Raises:
        NoChampion: nothing serves. ModelMismatch: it cannot be asked about what is computed now.
        Conflict: the change changes nothing, or needs a model of its own. NotEnoughLabels: too few to retrain with.
    """
    clock = _Clock(scope)
    base, changed = assemble(config), assemble(change.config)
    stages = affected(base, changed)
    if not stages:
        raise Conflict(f"With {change.told} everything would be made as it is now.")
    champion = registry.champion(config)
    before = side_of(champion, base.processors, config)
    require_match(before.name, before.head.recipe.origin, base.processors)
    if not retrain:
        _require_same_weights(base, changed)
    work = _Work(config, scope, clock, tell, before.versions)
    shadow = Shadow(changed, stages, at_once=config.pipeline.claim_batch)
    work.make(shadow)
    if any(number for name, number in shadow.made.items() if name.startswith("embed")):
        retrying(lambda: ensure_vector_index(changed))
    if not retrain:
        after = elsewhere(before, changed.versions, change.told)
        notes = [
            "The model that serves was trained on what the processors in use make. Asked about what others make, it may"
            " do worse than a model trained on that (--retrain).",
        ]
        return _finish(work, "processors", change.told, before, after, notes, shadow=shadow)
    # Of documents out of scope there may be images alone, of these versions: they would teach it to do without text.
    report = train_model(author=author, config=change.config, promote=False, complete=True)
    trained = registry.by_version(change.config, report.version)
    after = side_of(trained, changed.processors, change.config)
    after = replace(after, name=f"{after.name} with {change.told}")
    notes = [
        f"{trained.name} {trained.version} was trained on {report.documents} documents that the other processors have"
        " gone through. It is registered as challenger and does not serve.",
    ]
    return _finish(work, "processors", change.told, before, after, notes, shadow=shadow, retrained=trained.version)


def _require_same_weights(base: Assembly, changed: Assembly) -> None:
    now, then = (identity_of(ready.processors.embedder) for ready in (base, changed))
    if now.weights_sha256 != then.weights_sha256:
        raise Conflict(
            "The vectors of another CLIP mean nothing to the model that serves.",
            hint="Add --retrain: a model is trained on them and compared, and not taken into use.",
        )


class _Work:
    """The documents of a replay, a few at a time, in an order that two passes have in common."""

    def __init__(self, config: Settings, scope: Scope, clock: _Clock, tell: Tell, versions: Versions) -> None:
        self.config = config
        self.scope = scope
        self.clock = clock
        self.stopped_early = False
        self._made = False
        self._tell = tell
        self._versions = versions
        self._left_out: set[str] = set()
        self._until: str | None = None
        with transaction() as session:
            embeddings = Embeddings(session)
            drawn = scope.sample is not None
            self._drawn = embeddings.drawn(versions, limit=scope.sample or 0, seed=scope.seed) if drawn else None
            self._total = embeddings.count_embedded(versions) if self._drawn is None else len(self._drawn)

    def make(self, shadow: Shadow) -> None:
        """What the other processors make of these documents, as far as time allows; the next pass goes no further."""
        done, last, self._made = 0, "", True
        for part in self._stream():
            if done and self.clock.over:
                self._end_after(done, last)
                break
            shadow.work(part)
            done, last = done + len(part), part[-1]
            self._tell("make", done, max(self._total - done, 0))
        self._left_out = set(shadow.failed)

    def parts(self) -> Iterator[list[str]]:
        """What there is to ask about: all for which rows were made, or else as far as time allows, but one part."""
        done, last = 0, ""
        for part in self._stream():
            if done and self.clock.over and not self._made:
                self._end_after(done, last)
                return
            yield [document_id for document_id in part if document_id not in self._left_out]
            done, last = done + len(part), part[-1]
            self._tell("answer", done, max(self._total - done, 0))

    def _end_after(self, done: int, last: str) -> None:
        self.stopped_early = True
        self._total = done
        self._until = last
        if self._drawn is not None:
            self._drawn = self._drawn[:done]

    def _stream(self) -> Iterator[list[str]]:
        if self._drawn is not None:
            for start in range(0, len(self._drawn), AT_ONCE):
                yield self._drawn[start : start + AT_ONCE]
            return
        after = ""
        while part := self._next(after):
            after = part[-1]
            yield part

    def _next(self, after: str) -> list[str]:
        with transaction() as session:
            found = Embeddings(session).embedded(self._versions, after=after, limit=AT_ONCE)
        return [document_id for document_id in found if self._until is None or document_id <= self._until]


def _finish(
    work: _Work,
    kind: Literal["processors", "model"],
    what: str,
    before: Side,
    after: Side,
    notes: list[str],
    *,
    shadow: Shadow | None = None,
    retrained: int | None = None,
) -> Replayed:
    found = _Found(work.config.taxonomy.name)
    missing = asked = 0
    for part in work.parts():
        asked += len(part)
        missing += len(part) - found.add(before, after, part)
    if not found.counts.compared:
        raise PurposeFailed(
            "There is no document that both sides can be asked about.", hint="`dsdc status` says what is still open."
        )
    if missing:
        notes.append(f"{missing} documents are not complete in both versions and were left out.")
    if work.stopped_early:
        notes.append("It was stopped when its time was over; the documents so far are a sample of all.")
    return Replayed(
        what=what,
        kind=kind,
        before=before.name,
        after=after.name,
        started=work.clock.started,
        seconds=work.clock.seconds,
        documents=asked,
        stopped_early=work.stopped_early,
        sample=work.scope.sample,
        seed=work.scope.seed,
        made={} if shadow is None else shadow.made,
        failed={} if shadow is None else shadow.failed,
        missing=missing,
        counts=found.counts,
        verdict=judge(before, after, found.labelled(before, after), seed=work.config.train.seed),
        notes=notes,
        texts=[] if shadow is None else _texts(before.versions, after.versions, found),
        retrained=retrained,
    )


class _Found:
    """Both sides' answers, piece by piece: all are counted, and of labelled documents all is kept."""

    def __init__(self, taxonomy: str) -> None:
        self._taxonomy = taxonomy
        self.counts = Counts()
        self.seen: list[str] = []  # the first few, to show texts of where nothing flips
        self._labels: list[CurrentLabel] = []
        self._before: list[Doubles] = []
        self._after: list[Doubles] = []
        self._images: list[Floats] = []
        self._hashes: list[int | None] = []

    def add(self, before: Side, after: Side, document_ids: Sequence[str]) -> int:
        """Ask both about those that are complete in both versions; returns how many these are."""
        with transaction() as session:
            store = Embeddings(session)
            complete = store.all_complete(document_ids, before.versions) & store.all_complete(
                document_ids, after.versions
            )
            ids = [document_id for document_id in document_ids if document_id in complete]
            documents = Documents(session).many(ids)
            labels = {label.document_id: label for label in Labels(session).current(self._taxonomy, ids)}
            hashes = ProcessedImages(session).first_page_hashes(list(labels), before.versions.render)
        if not ids:
            return 0
        old, new = ask(before, ids), ask(after, ids)
        self.seen += ids[: max(TEXTS - len(self.seen), 0)]
        for row, document_id in enumerate(ids):
            label = labels.get(document_id)
            self.counts.add(
                Flip(
                    document_id,
                    documents[document_id].original_name,
                    _opinion(before.head, old.probabilities[row]),
                    _opinion(after.head, new.probabilities[row]),
                    None if label is None else label.label,
                    None if label is None else label.source,
                )
            )
            if label is not None:
                self._labels.append(label)
                self._before.append(old.probabilities[row])
                self._after.append(new.probabilities[row])
                self._images.append(old.images[row])
                self._hashes.append(hashes.get(document_id))
        return len(ids)

    def labelled(self, before: Side, after: Side) -> Labelled:
        return Labelled(
            self._labels,
            _stacked(self._before, len(before.head.classes)),
            _stacked(self._after, len(after.head.classes)),
            np.stack(self._images) if self._images else np.zeros((0, 1), dtype=np.float32),
            self._hashes,
        )


def _stacked(rows: Sequence[Doubles], width: int) -> Doubles:
    return np.stack(rows) if rows else np.zeros((0, width))


def _opinion(head: Head, probabilities: Doubles) -> Opinion:
    best = int(probabilities.argmax())
    probability = round(float(probabilities[best]), 6)
    return Opinion(head.classes[best], probability, head.decide(probability))


def _texts(before: Versions, after: Versions, found: _Found) -> list[Texts]:
    """Pages whose cleaned texts differ: of documents that flip first, one page a document."""
    ids = list(dict.fromkeys([*(flip.document_id for flip in found.counts.sorted()[:TEXTS]), *found.seen]))
    with transaction() as session:
        names = {key: row.original_name for key, row in Documents(session).many(ids).items()}
        old, new = (
            ProcessedTexts(session).of_documents(ids, render=side.render, text=side.text, clean=side.clean)
            for side in (before, after)
        )
    shown: dict[str, Texts] = {}
    for document_id, page in sorted(old.keys() & new.keys(), key=lambda place: (ids.index(place[0]), place[1])):
        texts = old[document_id, page], new[document_id, page]
        if document_id not in shown and texts[0] != texts[1]:
            shown[document_id] = Texts(document_id, names[document_id], page, *texts)
    return list(shown.values())[:TEXTS]
