"""Bytes in, a classified and stored answer out: what the prediction service and `dsdc predict` share."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

import dsdc
from dsdc.db.repositories.documents import Arrival, Documents
from dsdc.db.repositories.embeddings import Embeddings, Vectors
from dsdc.db.repositories.neighbours import Neighbour, Neighbours
from dsdc.db.repositories.predictions import NewPrediction, Predictions
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import retrying, transaction
from dsdc.errors import NoChampion
from dsdc.log import get_logger
from dsdc.ml.calibrate import evidence_of
from dsdc.ml.dataset import Known, blocks_of, known_of
from dsdc.ml.predict import Classifier, Verdict
from dsdc.ml.registry import Registered, champion
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.chain import Chain, Passed, keep, store_bytes
from dsdc.pipeline.match import require_match
from dsdc.processors.contract import Embedder, Processor
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.settings import CascadeMode, Predict, Settings
from dsdc.storage import Storage
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)

_PATIENCE_S = 5.0  # somebody waits for the answer


@dataclass(frozen=True)
class ModelInfo:
    """The model that serves."""

    name: str
    version: int
    head_sha256: str
    classes: tuple[str, ...]
    display_names: Mapping[str, str]
    clip: Mapping[str, Any]
    coverage: float
    review_threshold: float
    metrics: Mapping[str, Any]
    mlflow_run_id: str
    trained: datetime
    loaded: datetime


@dataclass(frozen=True)
class Answer:
    """One classified document; `as_dict` is the JSON that the API gives."""

    prediction_id: UUID
    document_id: str
    original_name: str
    pages: int
    verdict: Verdict
    neighbours: tuple[Neighbour, ...]
    versions: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    created: datetime

    def as_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "prediction_id": str(self.prediction_id),
            "document_id": self.document_id,
            "original_name": self.original_name,
            "pages": self.pages,
            "label": verdict.label,
            "probability": verdict.probability,
            "top": [{"label": label, "probability": p} for label, p in verdict.top],
            "prediction_set": list(verdict.prediction_set),
            "decision": verdict.decision,
            "neighbours": [n.as_dict() for n in self.neighbours],
            "versions": dict(self.versions),
            "timings_ms": dict(self.timings_ms),
            "created": self.created.isoformat(),
        }


@dataclass(frozen=True)
class _Loaded:
    """A model and the stages that it was trained on; replaced as a whole, so that no request sees a mixture."""

    registered: Registered
    classifier: Classifier
    assembly: Assembly
    info: ModelInfo


class Answerer:
    """Answers with the champion. Safe to share between threads; `load` may be called at any time."""

    def __init__(self, config: Settings, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._taxonomy = Taxonomy.from_settings(config.taxonomy)
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def model(self) -> ModelInfo | None:
        loaded = self._loaded
        return None if loaded is None else loaded.info

    def load(self) -> ModelInfo:
        """Load the champion if it is not the one that serves already. On any error the old one keeps serving.

        Raises:
            NoChampion: nothing has been trained.
            WeightsError: the head's bytes are not the recorded ones.
            ModelMismatch: it was trained on what other processors made.
            DatabaseUnavailable: the registry cannot be read.
        """
        with self._loading:
            wanted = champion(self._config)
            if self._loaded is not None and self._loaded.registered.id == wanted.id:
                return self._loaded.info
            assembly = self._loaded.assembly if self._loaded else assemble(self._config, self._storage)
            classifier = Classifier.load(wanted.folder, wanted.head_sha256, top=self._config.predict.top)
            require_match(f"{wanted.name} version {wanted.version}", classifier.origin, assembly.processors)
            if self._loaded is None:
                _make_ready(assembly.processors.embedder, self._config.predict)
                assembly.processors.keep_warm()
            self._loaded = _Loaded(wanted, classifier, assembly, self._info(wanted, classifier, assembly))
            log.info("model.loaded", name=wanted.name, version=wanted.version, head=wanted.head_sha256[:12])
            return self._loaded.info

    def _info(self, wanted: Registered, classifier: Classifier, assembly: Assembly) -> ModelInfo:
        embedder = assembly.processors.embedder
        return ModelInfo(
            name=wanted.name,
            version=wanted.version,
            head_sha256=wanted.head_sha256,
            classes=classifier.classes,
            display_names={slug: self._taxonomy.display(slug) for slug in classifier.classes},
            clip={**embedder.params, "processor": f"{embedder.name} {embedder.version}"},
            coverage=classifier.coverage,
            review_threshold=classifier.review_threshold,
            metrics=wanted.metrics,
            mlflow_run_id=wanted.mlflow_run_id,
            trained=wanted.created,
            loaded=datetime.now().astimezone(),
        )

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
    ) -> Answer:
        """Classify one document and store the answer; with `store`, the document and all that was made of it too.

        Args:
            cascade: `auto` leaves the text unread where the images are enough; the setting's, unless given. A stored
                document's text is read later, by the workers.
            prediction_id: an answer that is stored under it already stays as it is: nothing is answered twice.

        Raises:
            NoChampion: no model is loaded. DocumentError: the document cannot be read.
        """
        loaded = self._loaded
        if loaded is None:
            raise NoChampion("No model is loaded.", hint="Run the DAG train_model, then reload.")
        detect(data[:HEAD_BYTES])
        request = _Request(
            self._config,
            self._storage,
            self._taxonomy,
            loaded,
            data,
            name=name,
            author=author,
            source=source,
            cascade=cascade or self._config.predict.cascade,
            prediction_id=prediction_id,
        )
        return request.from_store() if store and request.is_stored() else request.compute(store=store)


class _Request:
    """One document on its way through one loaded model."""

    def __init__(
        self,
        config: Settings,
        storage: Storage,
        taxonomy: Taxonomy,
        loaded: _Loaded,
        data: bytes,
        *,
        name: str,
        author: str,
        source: str,
        cascade: CascadeMode,
        prediction_id: UUID | None,
    ) -> None:
        self._config = config
        self._storage = storage
        self._taxonomy = taxonomy
        self._loaded = loaded
        self._data = data
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._name = name
        self._author = author
        self._source = source
        self._cascade = cascade
        self._id = prediction_id or uuid4()
        self._started = time.perf_counter()

    @property
    def _arrival(self) -> Arrival:
        # Recording it again, after the answer to a COMMIT was lost, is no second arrival.
        key = hashlib.sha256(f"prediction|{self._id}".encode()).hexdigest()
        return Arrival(self._sha256, self._source, self._name, author=self._author, arrival_key=key)

    def is_stored(self) -> bool:
        """Whether the store holds all that these versions would make of these bytes.

        Raises:
            Forgotten: the document was forgotten on purpose.
        """
        with transaction() as session:
            Documents(session).refuse_forgotten([self._sha256])
            return Embeddings(session).complete(self._sha256, self._loaded.assembly.versions)

    def from_store(self) -> Answer:
        """From the stored vectors: nothing is computed twice."""
        known = retrying(self._seen_again, patience_s=_PATIENCE_S)
        pages = max(v.page for v in known.vectors)
        return self._finish(known, pages, {}, stored=True)

    def _seen_again(self) -> Known:
        with transaction() as session:
            self._hold(session)
            Documents(session).sight([self._arrival])
            return self._known(session)

    def _known(self, session: Session) -> Known:
        versions = self._loaded.assembly.versions
        return known_of(Embeddings(session), RawTexts(session), [self._sha256], versions)[self._sha256]

    def compute(self, *, store: bool) -> Answer:
        """Through all stages; the rows are stored as the workers would have stored them."""
        chain = Chain(self._loaded.assembly, self._config.predict.max_pages)
        may_skip = self._cascade == "auto" and self._loaded.classifier.cascade_threshold is not None
        enough = self._enough if may_skip else None
        with chain.run(self._data, enough) as (passed, scratch):
            if not store:
                return self._finish(passed.known(), len(passed.pages), passed.timings_ms, stored=False)
            before = time.perf_counter()
            store_bytes(passed, scratch, self._storage)
            known = retrying(lambda: self._keep(passed, scratch), patience_s=_PATIENCE_S)
            timings = passed.timings_ms | {"store": _ms(before)}
            return self._finish(known, len(passed.pages), timings, stored=True)

    def _enough(self, images: Known) -> bool:
        return self._loaded.classifier.sure(blocks_of([images], self._loaded.assembly.processors))

    def _keep(self, passed: Passed, scratch: Storage) -> Known:
        with transaction() as session:
            self._hold(session)
            store_bytes(passed, scratch, self._storage)  # a rejection may have removed them a moment ago
            keep(session, self._loaded.assembly, passed, self._arrival)
            return self._known(session)

    def _hold(self, session: Session) -> None:
        """From here on the document is not forgotten until the transaction ends; raises Forgotten if it was before."""
        Documents(session).hold([self._sha256])
        Documents(session).refuse_forgotten([self._sha256])

    def _finish(
        self,
        known: Known,
        pages: int,
        timings: Mapping[str, float],
        *,
        stored: bool,
    ) -> Answer:
        before = time.perf_counter()
        blocks = blocks_of([known], self._loaded.assembly.processors)
        verdict = self._loaded.classifier.classify(blocks)
        head_ms = _ms(before)
        versions = _versions(self._loaded, read=bool(known.pages)) | {"evidence": evidence_of(blocks)}
        if self._cascade == "auto":
            versions |= {"cascade": {"threshold": self._loaded.classifier.cascade_threshold}}

        def record() -> tuple[datetime, list[Neighbour]]:
            with transaction() as session:
                near = self._near(session, blocks["image"].first, blocks["text"].first)
                measured = {**timings, "head": head_ms, "total": _ms(self._started)}
                row = NewPrediction(
                    id=self._id,
                    document_sha256=self._sha256,
                    document_id=self._sha256 if stored else None,
                    original_name=self._name,
                    pages=pages,
                    model_version_id=self._loaded.registered.id,
                    embedding_ids=[v.id for v in known.vectors] if stored else [],
                    label=verdict.label,
                    probability=verdict.probability,
                    probabilities=verdict.probabilities,
                    prediction_set=list(verdict.prediction_set),
                    decision=verdict.decision,
                    neighbours=[n.as_dict() for n in near],
                    versions=versions,
                    timings_ms=measured,
                    source=self._source,
                    author=self._author,
                )
                return Predictions(session).add(row), near

        created, near = retrying(record, patience_s=_PATIENCE_S)
        measured = {**timings, "head": head_ms, "total": _ms(self._started)}
        return Answer(self._id, self._sha256, self._name, pages, verdict, tuple(near), versions, measured, created)

    def _near(self, session: Session, image: Vectors | None, words: Vectors | None) -> list[Neighbour]:
        return Neighbours(session).nearest(
            embed=self._loaded.assembly.versions.embed,
            image=image,
            words=words,
            taxonomy=self._taxonomy.name,
            exclude=self._sha256,
            limit=self._config.predict.neighbours,
        )


def _make_ready(embedder: Embedder, config: Predict) -> None:
    """Load CLIP now, and not during the first request."""
    _ = embedder.width
    if isinstance(embedder, OpenClipEmbedder) and (
        config.micro_batch == "on" or (config.micro_batch == "auto" and embedder.on_gpu)
    ):
        embedder.gather(config.micro_batch_wait_ms / 1000)


def _ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 2)


def _versions(loaded: _Loaded, *, read: bool) -> dict[str, Any]:
    """Everything that decided the answer, by name and hash; what nothing was `read` by had no part in it."""
    processors = loaded.assembly.processors

    def one(p: Processor) -> str:
        return f"{p.name} {p.version} ({p.params_hash[:12]})"

    decided = {
        "dsdc": dsdc.__version__,
        "model": f"{loaded.registered.name} {loaded.registered.version}",
        "head_sha256": loaded.registered.head_sha256,
        "clip": f"{processors.embedder.params['model']}",
        "clip_weights_sha256": processors.embedder.weights_sha256,
        "render": one(processors.renderer),
        "embed": one(processors.embedder),
    }
    if not read:
        return decided
    return decided | {
        "text": one(processors.reader),
        "clean": one(processors.cleaner),
        "describe": [one(describer) for describer in processors.describers],
    }
