"""Vectors that are no directions: the stage refuses them, and behind it the database does; each alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.exc import DataError, IntegrityError

from dsdc.db.repositories.embeddings import Embeddings, VectorRow
from dsdc.db.session import transaction
from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.pipeline.worker import run_stage
from dsdc.processors.contract import Vectors
from dsdc.settings import settings
from dsdc.storage import open_storage
from tests.fake_processors import SmallEmbedder
from tests.faults.documents import noise, saved
from tests.faults.invariant import rows
from tests.faults.passage import Engines, Passage

BAD: dict[str, list[float]] = {
    "NaN": [float("nan"), 0, 0, 1],
    "infinite": [float("inf"), 0, 0, 1],
    "minus infinite": [float("-inf"), 0, 0, 1],
    "zero": [0, 0, 0, 0],
    "twice as long": [2, 0, 0, 0],
    "half as long": [0.5, 0, 0, 0],
    "too wide": [1, 0, 0, 0, 0],
    "too narrow": [1, 0, 0],
}
ODD_WIDTH = 33  # of the picture whose vector is bad
WIDTHS = (30, 31, 32, ODD_WIDTH, 34, 35)


class OddEmbedder(SmallEmbedder):
    """Gives one picture a vector that no store may take."""

    name: ClassVar[str] = "odd"
    bad: Sequence[float]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        good = super().images(images)
        found = [
            np.array(self.bad, np.float32) if image.width == ODD_WIDTH else row
            for image, row in zip(images, good, strict=True)
        ]
        return found  # type: ignore[return-value]


def assembly_with(engines: Engines, bad: Sequence[float]) -> Assembly:
    embedder = OddEmbedder()
    embedder.bad = bad
    processors = replace(engines.of(settings()), embedder=embedder)
    return bind(settings(), processors, register(processors), open_storage(settings()))


def embedded() -> list[int]:
    """Widths of the pictures that have a vector."""
    found = rows("SELECT i.width FROM embeddings e JOIN processed_images i ON i.id = e.processed_image_id ORDER BY 1")
    return [width for (width,) in found]


def pictures() -> dict[str, bytes]:
    return {f"{width}.png": saved(noise(width, 20), "PNG") for width in WIDTHS}


@pytest.mark.parametrize("kind", BAD)
def test_a_models_unusable_vector_is_the_failure_of_its_page_alone(
    passage: Passage, engines: Engines, kind: str
) -> None:
    passage.render(pictures())
    report = run_stage("embed-image", assembly=assembly_with(engines, BAD[kind]))
    assert (report.done, report.failed, report.retried) == (len(WIDTHS) - 1, 1, 0)
    assert embedded() == [width for width in WIDTHS if width != ODD_WIDTH]
    ((message,),) = rows("SELECT message FROM stage_attempts WHERE state = 'failed'")
    assert "vector" in message
    assert rows("SELECT count(*) FROM original_documents WHERE state = 'stored'") == [(len(WIDTHS),)]
    passage.check()


@pytest.mark.parametrize("kind", BAD)
def test_what_the_stage_lets_through_the_database_refuses_and_that_row_alone(
    passage: Passage, engines: Engines, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    passage.render(pictures())
    monkeypatch.setattr("dsdc.pipeline.stages.embed._usable", lambda *_: True)
    report = run_stage("embed-image", assembly=assembly_with(engines, BAD[kind]))
    assert (report.done, report.failed) == (len(WIDTHS) - 1, 1)
    assert embedded() == [width for width in WIDTHS if width != ODD_WIDTH]
    assert rows("SELECT DISTINCT width, vector_dims(embedding) FROM embeddings") == [(4, 4)]
    passage.check()


@pytest.mark.parametrize("kind", BAD)
def test_the_table_itself_takes_no_such_vector(passage: Passage, kind: str) -> None:
    passage.render({"a.png": saved(noise(30, 20), "PNG")})
    ((image, processor),) = rows("SELECT id, processor_id FROM processed_images")
    bad, good = (np.array(values, np.float32) for values in (BAD[kind], [0, 1, 0, 0]))
    with pytest.raises((IntegrityError, DataError)), transaction() as session:
        Embeddings(session).add(processor, [VectorRow(bad, "x", 4, processed_image_id=image)])
    with transaction() as session:
        Embeddings(session).add(processor, [VectorRow(good, "x", 4, processed_image_id=image)])
    assert rows("SELECT count(*) FROM embeddings") == [(1,)]
    passage.check()
