"""Pages with nothing on them: read with success, never asked for again, and classified by their image alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dsdc.db.repositories.embeddings import Embeddings
from dsdc.db.session import transaction
from dsdc.ml.dataset import pooled
from dsdc.ml.fit import fit
from dsdc.ml.predict import Classifier
from dsdc.ml.recipe import Head, Origin, ProcessorIdentity, library_versions, recipe_of
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import configured
from dsdc.settings import Train, settings
from dsdc.storage import open_storage
from tests.faults.documents import page_objects, pdf, saved, stream, written
from tests.faults.invariant import rows, sha256_of
from tests.faults.passage import Passage
from tests.model.head.synthetic import CLASSES, NAMES, clusters

BLANK = {
    "white.png": saved(Image.new("L", (300, 400), 255), "PNG"),
    "colour.jpg": saved(Image.new("RGB", (300, 400), "white"), "JPEG"),
    "fax.tif": saved(Image.new("1", (300, 400), 1), "TIFF", compression="group4"),
    "transparent.png": saved(Image.new("RGBA", (300, 400)), "PNG"),
    "black.png": saved(Image.new("L", (300, 400), 0), "PNG"),
    "empty content.pdf": pdf(page_objects([stream(b"")])),
    "no content.pdf": pdf(page_objects([stream(b"")]) | {10: b"<</Type/Page/Parent 2 0 R>>"}),
    "white on white.pdf": pdf(page_objects([stream(b"1 g 0 0 200 200 re f")])),
}
BETWEEN = pdf(page_objects([written(b"The first page"), stream(b""), written(b"The third page")]))


def run(assembly: Assembly) -> dict[str, dict[str, object]]:
    return {name: run_stage(name, assembly=assembly).as_dict() for name in STAGES}


def test_blank_pages_succeed_with_empty_text_and_are_never_pending_again(passage: Passage) -> None:
    assembly = passage.assembly
    passage.bring(BLANK | {"between.pdf": BETWEEN})
    documents, pages = len(BLANK) + 1, len(BLANK) + 3
    first = run(assembly)
    assert (first["render"]["done"], first["render"]["partial"]) == (documents, 0)
    assert [first[name]["done"] for name in ("text", "clean", "embed-image")] == [pages] * 3
    assert (first["embed-text"]["done"], first["embed-text"]["skipped"]) == (2, pages - 2)
    assert all(report["failed"] == report["retried"] == 0 for report in first.values())

    texts = rows("SELECT document_id, page, raw_text, confidence FROM raw_texts ORDER BY raw_text")
    assert [(text, confidence) for _, _, text, confidence in texts[: pages - 2]] == [("", None)] * (pages - 2)
    assert [text for *_, text, _ in texts[pages - 2 :]] == ["The first page", "The third page"]
    assert (sha256_of(BETWEEN), 2) in {(document, page) for document, page, *_ in texts[: pages - 2]}
    assert rows("SELECT count(*) FROM processed_texts WHERE processed_text = ''") == [(pages - 2,)]

    again = run(assembly)
    assert all(report["done"] == report["skipped"] == report["failed"] == 0 for report in again.values())
    assert rows("SELECT DISTINCT state FROM stage_attempts ORDER BY state") == [("done",), ("skipped",)]
    passage.check()


def test_a_blank_document_is_classified_by_its_image_alone(passage: Passage) -> None:
    """With the real embedder, and a head that was trained."""
    blank, config = BLANK["fax.tif"], settings()
    processors = replace(passage.assembly.processors, embedder=configured(config).embedder)
    assembly = bind(config, processors, register(processors), open_storage(config))
    passage.bring({"fax.tif": blank})
    run(assembly)
    with transaction() as session:
        vectors = Embeddings(session).of_documents([sha256_of(blank)], assembly.versions)
        assert Embeddings(session).complete(sha256_of(blank), assembly.versions)
    assert [(vector.page, vector.modality) for vector in vectors] == [(1, "image")]
    width = assembly.processors.embedder.width
    image, words = pooled([vectors], width)
    assert (image.present.tolist(), words.present.tolist()) == ([True], [False])
    verdict = trained(width).classify({"image": image, "text": words})
    assert verdict.label in CLASSES
    assert sum(verdict.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert all(np.isfinite(p) for p in verdict.probabilities.values())
    assert verdict.prediction_set
    assert verdict.decision in ("accept", "review")
    passage.check()


def trained(width: int) -> Classifier:
    """A head that has learned from made-up vectors of this width, some of them without text."""
    data = clusters(160, widths=(width, width))
    config = Train(epochs=4, hidden=16, members=1, folds=2)
    fitted = fit(data, config, coverage=0.9, review_budget=0.15, resamples=0)
    clip = ProcessorIdentity(stage="embed", name="test", version="1", params_hash="0" * 64, weights_sha256="1" * 64)
    origin = Origin(
        snapshot="2" * 64, clip=clip, processors=(clip,), code_commit="unknown", libraries=library_versions()
    )
    recipe = recipe_of(fitted, classes=NAMES, origin=origin)
    return Classifier(Head(fitted.run.head, recipe), top=3)
