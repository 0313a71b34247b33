"""What the store has recorded of one prediction: the rows that a verification compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.embeddings import Embeddings, Modality, PageVector, Versions
from dsdc.db.repositories.lineage import LineageStore
from dsdc.db.repositories.models import Models, Snapshots
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.repositories.texts import ProcessedTexts, RawTexts
from dsdc.db.session import transaction
from dsdc.db.tables import (
    DatasetSnapshot,
    ModelVersion,
    OriginalDocument,
    Prediction,
    ProcessedImage,
    ProcessedText,
    RawText,
)
from dsdc.errors import NotFound
from dsdc.ml.snapshots import versions_of


@dataclass(frozen=True)
class PageRecord:
    """One page as it entered the answer; without texts where the answer was given from the images alone."""

    image: ProcessedImage
    raw: RawText | None
    clean: ProcessedText | None
    vectors: Mapping[Modality, PageVector]

    @property
    def page(self) -> int:
        return self.image.page


@dataclass(frozen=True)
class Record:
    """A prediction with everything behind it. `document` is None where it was not kept; `lost` ids have no row now."""

    prediction: Prediction
    document: OriginalDocument | None
    model: ModelVersion
    snapshot: DatasetSnapshot
    versions: Versions
    pages: tuple[PageRecord, ...]
    neighbours: Sequence[Mapping[str, Any]]
    lost: tuple[int, ...]

    @property
    def read(self) -> bool:
        """Whether the answer stands on the pages' texts too."""
        return "text" in self.prediction.versions

    @property
    def gone(self) -> str | None:
        """Why there is nothing to compute again; None where there is."""
        if self.document is None:
            return "the document was not kept"
        return None if self.document.state == "stored" else f"the document is {self.document.state}"


def load(prediction_id: UUID) -> Record:
    """The record of one prediction.

    Raises:
        NotFound: there is no such prediction, or its model's processors are not on record.
    """
    with transaction() as session:
        prediction = Predictions(session).get(prediction_id)
        if prediction is None:
            raise NotFound(f"There is no prediction {prediction_id}.")
        model = Models(session).get(prediction.model_version_id)
        snapshot = Snapshots(session).get(model.snapshot_id) if model else None
        if model is None or snapshot is None:
            raise NotFound(f"The model of prediction {prediction_id} is not on record.")
        versions = versions_of(snapshot)
        document = Documents(session).get(prediction.document_id) if prediction.document_id else None
        pages = _pages(session, prediction, versions) if document else ()
        there = {vector.id for page in pages for vector in page.vectors.values()}
        return Record(
            prediction=prediction,
            document=document,
            model=model,
            snapshot=snapshot,
            versions=versions,
            pages=pages,
            neighbours=LineageStore(session).neighbours(prediction_id),
            lost=tuple(sorted(set(prediction.embedding_ids) - there)),
        )


def _pages(session: Session, prediction: Prediction, versions: Versions) -> tuple[PageRecord, ...]:
    document_id, entered = str(prediction.document_id), set(prediction.embedding_ids)
    images = ProcessedImages(session).of_document(document_id, versions.render)
    raw: Mapping[int, RawText] = {}
    clean: Mapping[int, ProcessedText] = {}
    if "text" in prediction.versions:
        raw = RawTexts(session).of_images([image.id for image in images], versions.text)
        clean = ProcessedTexts(session).of_raw_texts([text.id for text in raw.values()], versions.clean)
    vectors = [v for v in Embeddings(session).of_documents([document_id], versions) if v.id in entered]
    return tuple(_page(image, raw.get(image.id), clean, vectors) for image in images)


def _page(
    image: ProcessedImage, raw: RawText | None, clean: Mapping[int, ProcessedText], vectors: Sequence[PageVector]
) -> PageRecord:
    of_page = {vector.modality: vector for vector in vectors if vector.page == image.page}
    return PageRecord(image, raw, clean.get(raw.id) if raw else None, of_page)
