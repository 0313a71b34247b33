"""The routes of `predict`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError

from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.settings import CascadeMode, Settings
from dsdc.taxonomy import Taxonomy
from dsdc.web.contract import (
    ClassInfo,
    DocumentLineage,
    LabelGiven,
    Lineage,
    ModelInfo,
    Prediction,
    Similar,
    SnapshotLabels,
)
from dsdc.web.guard import Caller, CallerDep, GuardedRoute, annotators, anyone_signed_in, model_admins
from dsdc.web.uploads import Upload, multipart_body, received
from services.predict import store as kept
from services.predict.answering import Answering, Model
from services.predict.bench import Bench
from services.predict.keeper import ModelKeeper
from services.predict.lineage import labels_behind, life_of, lineage_of
from services.predict.metrics import PredictMetrics
from services.predict.once import IdempotencyKeyHeader, Once, request_of
from services.predict.schemas import SLUG, DocumentId, LabelBody

PREDICT_PATH = "/v1/predict"
_UPLOAD = multipart_body("file", {"store": {"type": "boolean", "default": True}})


@dataclass(frozen=True)
class Parts:
    """What the routes work with."""

    config: Settings
    answerer: Answering
    keeper: ModelKeeper
    bench: Bench
    metrics: PredictMetrics
    taxonomy: Taxonomy
    once: Once

    def known(self, label: str) -> str:
        """`label`, if it is a class.

        Raises:
            RequestValidationError: it is none; the message names those that there are.
        """
        if label not in self.taxonomy.slugs:
            why = f"no class of {self.taxonomy.name}; the classes are {', '.join(self.taxonomy.slugs)}"
            raise RequestValidationError([{"loc": ("body", "label"), "msg": why, "type": "class"}])
        return label


def routers(parts: Parts) -> list[APIRouter]:
    return [_prediction_routes(parts), _document_routes(parts), _model_routes(parts)]


@dataclass(frozen=True)
class _Asked:
    """What a request for an answer says beside the file."""

    keep: bool
    cascade: CascadeMode | None


async def _predict(parts: Parts, request: Request, caller: Caller, asked: _Asked, key: str | None) -> Prediction:
    parts.keeper.model()  # without a model nobody has to send a document first
    async with parts.bench.place():
        most = parts.config.predict.max_upload_mb * 1024 * 1024
        async with received(request, field="file", max_bytes=most) as upload:
            asked = replace(asked, keep=upload.flag("store", asked.keep))
            answer = _answer if key is None else partial(_answer_once, key=key)
            return await parts.bench.work(partial(answer, parts, upload, caller, asked))


def _answer(
    parts: Parts, upload: Upload, caller: Caller, asked: _Asked, prediction_id: UUID | None = None
) -> Prediction:
    """In a worker thread: the file's bytes are in memory only while it is worked on."""
    detect(upload.head(HEAD_BYTES))
    given = parts.answerer.answer(
        upload.read(),
        name=upload.name,
        author=caller.name,
        store=asked.keep,
        cascade=asked.cascade,
        prediction_id=prediction_id,
    )
    prediction = Prediction.model_validate(given.as_dict())
    parts.metrics.predicted(prediction, prediction.timings_ms)
    return prediction


def _answer_once(parts: Parts, upload: Upload, caller: Caller, asked: _Asked, *, key: str) -> Prediction:
    """The same, and the first answer again where the request is repeated."""
    said = upload.name, upload.sha256(), asked.keep, asked.cascade
    request = request_of(caller.name, f"POST {PREDICT_PATH}", key, *said)
    made = parts.once.run(request, partial(_answer, parts, upload, caller, asked), kept.is_predicted)
    return kept.prediction_for(made, caller, top=parts.config.predict.top)


def _prediction_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["predictions"])
    one = "/v1/predictions/{prediction_id}"

    @routes.post(PREDICT_PATH, openapi_extra=anyone_signed_in() | _UPLOAD, summary="The class of a document")
    async def predict(
        request: Request,
        caller: CallerDep,
        store: Annotated[bool, Query(description="Keep the document; false keeps its hash and the answer.")] = True,
        cascade: Annotated[
            CascadeMode | None,
            Query(description="auto: leave the text unread where the images are enough; else as configured."),
        ] = None,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Prediction:
        return await _predict(parts, request, caller, _Asked(store, cascade), idempotency_key)

    @routes.get(one, openapi_extra=anyone_signed_in(), summary="An answer that was given")
    def prediction(prediction_id: UUID, caller: CallerDep) -> Prediction:
        return kept.prediction_for(prediction_id, caller, top=parts.config.predict.top)

    @routes.get(one + "/lineage", openapi_extra=anyone_signed_in(), summary="What an answer stands on")
    def lineage(prediction_id: UUID, caller: CallerDep) -> Lineage:
        kept.prediction_for(prediction_id, caller, top=1)
        return lineage_of(prediction_id, caller)

    @routes.get(one + "/lineage/labels", openapi_extra=annotators(), summary="Every label that the model had learnt")
    def labels(
        prediction_id: UUID,
        label: Annotated[str | None, Query(pattern=SLUG, description="Of this class alone.")] = None,
        after: Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$", description="Begin after this document.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> SnapshotLabels:
        return labels_behind(prediction_id, label=label, after=after, limit=limit)

    @routes.post(one + "/feedback", openapi_extra=annotators(), status_code=201, summary="What it really is")
    def feedback(prediction_id: UUID, caller: CallerDep, body: LabelBody) -> LabelGiven:
        return kept.label_prediction(
            prediction_id, parts.known(body.label), taxonomy=parts.taxonomy.name, author=caller.name
        )

    return routes


def _document_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["documents"], prefix="/v1/documents/{document_id}")

    @routes.post("/labels", openapi_extra=annotators(), status_code=201, summary="Say what class it is of")
    def label(document_id: DocumentId, caller: CallerDep, body: LabelBody) -> LabelGiven:
        return kept.label_document(
            document_id, parts.known(body.label), taxonomy=parts.taxonomy.name, author=caller.name
        )

    @routes.get("/similar", openapi_extra=anyone_signed_in(), summary="Labelled documents near to it")
    def similar(document_id: DocumentId, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> Similar:
        return kept.similar_to(
            document_id, model=parts.config.train.model_name, taxonomy=parts.taxonomy.name, limit=limit
        )

    @routes.get("/lineage", openapi_extra=annotators(), summary="Everything that happened to it, in order of time")
    def lineage(
        document_id: DocumentId,
        after: Annotated[int, Query(ge=0, le=10**9, description="Skip so many events.")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> DocumentLineage:
        return life_of(document_id, after=after, limit=limit)

    return routes


def _model_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["model"], prefix="/v1/model")

    @routes.get("", openapi_extra=anyone_signed_in(), summary="The model that answers")
    async def model() -> ModelInfo:
        return _info(parts.keeper.model())

    @routes.post("/reload", openapi_extra=model_admins(), summary="Load the champion now")
    async def reload() -> ModelInfo:
        return _info(await parts.keeper.load())

    return routes


def _info(model: Model) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        version=model.version,
        head_sha256=model.head_sha256,
        clip=dict(model.clip),
        classes=[ClassInfo(slug=slug, name=model.display_names[slug]) for slug in model.classes],
        coverage=model.coverage,
        review_threshold=model.review_threshold,
        metrics=dict(model.metrics),
        mlflow_run_id=model.mlflow_run_id,
        trained=model.trained,
        loaded=model.loaded,
    )
