"""Page images and page texts -> CLIP vectors. One processor, two stages."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError
from sqlalchemy import Select
from sqlalchemy.orm import Session

from dsdc.db.repositories.embeddings import Embeddings, VectorRow, Vectors
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.texts import ProcessedTexts
from dsdc.errors import BytesMissing, DocumentError, ModelError
from dsdc.pipeline.contract import Produced, Stage
from dsdc.processors.contract import Embedder
from dsdc.storage import Storage


@dataclass(frozen=True)
class ImageInput:
    """A page image; `id` is that of its row, 0 where nothing is stored."""

    id: int
    image_file: str


@dataclass(frozen=True)
class CleanInput:
    """Cleaned text of a page; `id` is that of its row, 0 where nothing is stored."""

    id: int
    text: str


def _usable(vector: Vectors, width: int) -> bool:
    """A vector that the store would take: of the model's width, finite and of length 1."""
    return bool(
        vector.shape == (width,) and np.isfinite(vector).all() and 0.99 <= float(np.linalg.norm(vector)) <= 1.01
    )


def _produced(index: int, vector: Vectors, width: int) -> Produced[Vectors]:
    if _usable(vector, width):
        return Produced(index, (vector,))
    return Produced(index, error=DocumentError("The model gave no usable vector for this page."))


def clip_version(embedder: Embedder) -> str:
    """What the embeddings table shows people; the processor row holds the whole truth."""
    return f"{embedder.params['model']}@{embedder.weights_sha256[:12]}"


class EmbedImageStage(Stage[ImageInput, Vectors]):
    name = "embed-image"

    def __init__(self, embedder: Embedder, processor_id: int, renderer_id: int, storage: Storage) -> None:
        super().__init__(embedder, processor_id)
        self._embedder = embedder
        self._renderer_id = renderer_id
        self._storage = storage

    def inputs(self) -> Select[str, str]:
        return ProcessedImages.made_by(self._renderer_id)

    def load(self, session: Session, input_ids: Sequence[str]) -> list[ImageInput]:
        images = ProcessedImages(session).many([int(i) for i in input_ids])
        return [ImageInput(int(i), images[int(i)].image_file) for i in input_ids]

    def compute(self, inputs: Sequence[ImageInput]) -> Generator[Produced[Vectors], None, None]:
        # Opened, not decoded: the embedder decodes and shrinks in its own threads, ahead of the model.
        images: dict[int, Image.Image] = {}
        for index, page in enumerate(inputs):
            try:
                images[index] = Image.open(io.BytesIO(self._storage.read(page.image_file)))
            except (BytesMissing, UnidentifiedImageError) as error:
                yield Produced(index, error=error)
        if images:
            for index, vector in zip(images, self._embedder.images(list(images.values())), strict=True):
                yield _produced(index, vector, self._embedder.width)

    def record(self, session: Session, source: ImageInput, rows: Sequence[Vectors]) -> None:
        version, width = clip_version(self._embedder), self._embedder.width
        Embeddings(session).add(
            self.processor_id, [VectorRow(row, version, width, processed_image_id=source.id) for row in rows]
        )


class EmbedTextStage(Stage[CleanInput, Vectors]):
    name = "embed-text"

    def __init__(self, embedder: Embedder, processor_id: int, cleaner_id: int) -> None:
        super().__init__(embedder, processor_id)
        self._embedder = embedder
        self._cleaner_id = cleaner_id

    def inputs(self) -> Select[str, str]:
        return ProcessedTexts.made_by(self._cleaner_id)

    def load(self, session: Session, input_ids: Sequence[str]) -> list[CleanInput]:
        texts = ProcessedTexts(session).many([int(i) for i in input_ids])
        return [CleanInput(int(i), texts[int(i)].processed_text) for i in input_ids]

    def compute(self, inputs: Sequence[CleanInput]) -> Generator[Produced[Vectors], None, None]:
        worded = [index for index, page in enumerate(inputs) if page.text.strip()]
        for index in sorted(set(range(len(inputs))) - set(worded)):
            yield Produced(index, skipped=True)  # a blank page has no text to embed; that is no failure
        if not worded:
            return
        vectors = self._embedder.texts([inputs[index].text for index in worded])
        if len(vectors) != len(worded):
            raise ModelError(f"The text encoder gave {len(vectors)} vectors for {len(worded)} texts.")
        for index, vector in zip(worded, vectors, strict=True):
            yield _produced(index, vector, self._embedder.width)

    def record(self, session: Session, source: CleanInput, rows: Sequence[Vectors]) -> None:
        version, width = clip_version(self._embedder), self._embedder.width
        Embeddings(session).add(
            self.processor_id, [VectorRow(row, version, width, processed_text_id=source.id) for row in rows]
        )
