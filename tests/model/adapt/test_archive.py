"""From rows in a real store to a new model beside the old one, and embeddings of both."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sqlalchemy import text
from typer.testing import CliRunner

from dsdc.cli.clip import app
from dsdc.db.repositories.documents import Documents, NewDocument
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.repositories.pairs import Pairs
from dsdc.db.repositories.texts import CleanTextRow, ProcessedTexts, RawTextRow, RawTexts
from dsdc.db.session import transaction
from dsdc.errors import ModelError, PurposeFailed
from dsdc.ml.adapt.export import RECORD
from dsdc.ml.adapt.params import AdaptParams
from dsdc.ml.adapt.parts import part
from dsdc.pipeline.adaptation import AdaptReport, adapt_clip
from dsdc.pipeline.assembly import assemble
from dsdc.pipeline.status import stage_counts
from dsdc.pipeline.worker import run_stage
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, open_storage
from tests.model.adapt.pages import Page, blank, page
from tests.projects import forget_settings

QUICK = {"epochs": 30, "batch": 32, "learning_rate": 0.02, "weight_decay": 0.01, "dropout": 0.05, "held_out": 0.2}


@pytest.fixture
def archive(database: Settings, own_models: Path, towers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty store whose CLIP is a small one of random weights."""
    use(f"local-dir:{towers['timm']}", monkeypatch)
    return settings()


def use(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_CLIP_MODEL", model)
    monkeypatch.setenv("DSDC_CLIP_DEVICE", "cpu")
    forget_settings()


def put(config: Settings, *documents: list[Page]) -> None:
    """Documents with these pages, as if they had been rendered, read and cleaned."""
    versions, storage = assemble(config).versions, open_storage(config)
    for pages in documents:
        stored = storage.put_bytes("raw", repr([p.text for p in pages]).encode())
        with transaction() as session:
            Documents(session).add([NewDocument(stored.sha256, stored.key, "scan.tif", "image/tiff", stored.size)])
            images = [_row(storage, number, p.image) for number, p in enumerate(pages, start=1)]
            ProcessedImages(session).add(stored.sha256, versions.render, images)
            found = ProcessedImages(session).of_document(stored.sha256, versions.render)
            RawTexts(session).add(
                versions.text,
                [
                    RawTextRow(stored.sha256, image.page, image.id, p.text, "ocr", 0.9)
                    for image, p in zip(found, pages, strict=True)
                ],
            )
            raw = RawTexts(session).of_images([image.id for image in found], versions.text)
            ProcessedTexts(session).add(versions.clean, [CleanTextRow(row.id, row.raw_text) for row in raw.values()])


def _row(storage: Storage, number: int, image: Image.Image) -> PageRow:
    data = io.BytesIO()
    image.save(data, "PNG")
    stored = storage.put_bytes("processed", data.getvalue())
    return PageRow(number, stored.key, stored.sha256, stored.size, *image.size, image.mode, None)


def pages(count: int) -> list[list[Page]]:
    """Documents of two pages each."""
    return [[page(n), page(n + 1)] for n in range(0, count, 2)]


def run(**changes: object) -> AdaptReport:
    return adapt_clip(overrides=QUICK | changes, author="test")


def pairs(config: Settings, **changes: int) -> list[tuple[str, int]]:
    with transaction() as session:
        found = Pairs(session).distinct(
            assemble(config).versions, **({"least_characters": 40, "limit": 1000, "seed": 1} | changes)
        )
    return [(row.document_id, row.page) for row in found]


def count(query: str) -> list[tuple[str, int]]:
    with transaction() as session:
        return [(row[0], row[1]) for row in session.execute(text(query))]


def test_pairs_are_different_pages_with_text(archive: Settings) -> None:
    one, two = page(1), page(2)
    put(
        archive,
        [one, two],
        [Page(one.text, page(7).image)],  # the same text on another scan
        [Page("another text that is long enough to say something", two.image)],  # the same scan, read differently
        [Page("", blank())],
        [Page("short text", page(8).image)],
    )
    found = pairs(archive)
    assert len(found) == 2
    assert len({p.image_file for p in _pair_rows(archive)}) == 2
    assert pairs(archive, least_characters=5) != found


def _pair_rows(config: Settings):
    with transaction() as session:
        return Pairs(session).distinct(assemble(config).versions, least_characters=40, limit=1000, seed=1)


def test_a_limit_takes_the_same_documents_again_and_forgotten_ones_never(archive: Settings) -> None:
    put(archive, *pages(40))
    first = pairs(archive, limit=10)
    assert first == pairs(archive)[:10]
    assert pairs(archive, limit=10, seed=2) != first
    with transaction() as session:
        Documents(session).set_state(first[0][0], "forgotten")
    assert first[0][0] not in {document for document, _ in pairs(archive)}


def test_a_model_for_this_archive_and_both_versions_side_by_side(
    archive: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(archive, *pages(200))
    for stage in ("embed-image", "embed-text"):
        assert run_stage(stage).as_dict()["done"] == 200
    before = count("SELECT clip_version, count(*) FROM embeddings GROUP BY 1")
    report = run()
    assert report.better
    assert report.adapted.after.reciprocal_rank > report.adapted.before.reciprocal_rank + 0.1
    assert report.weights.folder is not None
    assert report.weights.folder.parent == archive.path("models") / "clip"
    record = json.loads((report.weights.folder / RECORD).read_text())
    assert record["base"]["weights_sha256"] == assemble(archive).processors.embedder.weights_sha256
    assert record["after"] == report.adapted.after.as_dict()
    assert record["pairs"]["train"] + record["pairs"]["valid"] + record["pairs"]["test"] == record["pairs"]["pairs"]
    # Nothing was switched: what there was is there, and nothing is to do.
    assert count("SELECT clip_version, count(*) FROM embeddings GROUP BY 1") == before
    assert stage_counts(assemble(archive))["embed-image"]["pending"] == 0

    use(report.model, monkeypatch)
    ready = assemble(settings())
    assert stage_counts(ready)["embed-image"]["pending"] == 200
    assert stage_counts(ready)["embed-text"]["pending"] == 200
    assert stage_counts(ready)["render"]["pending"] == stage_counts(assemble(archive))["render"]["pending"]
    for stage in ("embed-image", "embed-text"):
        assert run_stage(stage).as_dict()["done"] == 200
    after = dict(count("SELECT clip_version, count(*) FROM embeddings GROUP BY 1"))
    assert after == dict(before) | {f"local-dir:{report.weights.folder.name}@{report.weights.sha256[:12]}": 400}


def test_one_archive_and_one_seed_give_one_model_embedded_or_not(archive: Settings) -> None:
    put(archive, *pages(120))
    first = run()
    run_stage("embed-text")
    assert run().weights == first.weights
    put(archive, *[[page(n)] for n in range(500, 520)])
    other = run()
    assert other.weights.sha256 != first.weights.sha256
    assert other.pairs["sha256"] != first.pairs["sha256"]


def test_no_document_is_learnt_and_measured(archive: Settings) -> None:
    put(archive, *pages(200))
    rows = _pair_rows(archive)
    images, texts = np.random.default_rng(0).normal(size=(2, len(rows), 16)).astype(np.float32)
    images[5], texts[5] = images[6], texts[6] + 0.01  # another scan of the same page
    images[7] = images[8]  # the same form, filled in differently
    parts = part(rows, _unit(images), _unit(texts), AdaptParams())
    documents = [{rows[row].document_id for row in numbers} for numbers in parts.by_name().values()]
    assert not documents[0] & documents[1]
    assert not documents[0] & documents[2]
    assert not documents[1] & documents[2]
    assert sum(len(numbers) for numbers in parts.by_name().values()) == 199
    assert 20 <= len(parts.test) <= 22
    assert 20 <= len(parts.valid) <= 22


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_pages_whose_bytes_are_gone_are_left_out(archive: Settings) -> None:
    put(archive, *pages(120))
    gone = _pair_rows(archive)[0]
    open_storage(archive).delete(gone.image_file)
    made = run().pairs
    assert made["pairs"] + made["near_duplicates_left_out"] == 119


def test_too_few_pages_are_said_with_what_to_do(archive: Settings) -> None:
    put(archive, *pages(20))
    with pytest.raises(ModelError, match=r"20 different pages with text; .* at least 50") as caught:
        run()
    assert "dsdc ingest" in str(caught.value.hint)
    put(archive, [page(n) for n in range(100, 180)])  # of one long document nothing can be held out
    with pytest.raises(ModelError, match=r"of \d+ documents; at least 10 are needed"):
        adapt_clip(overrides=QUICK | {"max_pairs": 82}, author="test")


def test_no_gain_is_an_error_and_writes_nothing_unless_it_is_forced(archive: Settings) -> None:
    order = np.random.default_rng(0).permutation(200)
    shuffled = [[Page(page(int(other)).text, page(n).image)] for n, other in enumerate(order)]
    put(archive, *shuffled)
    clip = archive.path("models") / "clip"
    with pytest.raises(PurposeFailed, match="no better"):
        run()
    assert list(clip.glob("*adapted*")) == []
    forced = adapt_clip(overrides=QUICK, author="test", force=True)
    assert forced.weights.folder is not None
    record = json.loads((forced.weights.folder / RECORD).read_text())
    assert (record["forced"], record["better"]) == (True, False)


def test_the_command_says_what_to_do_next(archive: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(archive, *pages(200))
    options = [f"--{key.replace('_', '-')}={QUICK[key]}" for key in ("epochs", "batch", "learning_rate")]
    result = CliRunner().invoke(app, ["adapt", *options, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout[result.stdout.index("{\n") :])
    assert report["better"] is True
    told = CliRunner().invoke(app, ["adapt", *options], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    start, end = told.output.index("  clip:"), told.output.index("Then run")
    assert told.output[start:end].strip() == "\n  ".join(report["setting"].splitlines())
    (archive.root / "config.local.yaml").write_text(report["setting"])
    monkeypatch.delenv("DSDC_CLIP_MODEL")
    forget_settings()
    assert settings().clip.model == report["model"]
    assert yaml.safe_load(report["setting"])["clip"]["sha256"] == report["weights_sha256"]
    assert assemble(settings()).processors.embedder.weights_sha256 == report["weights_sha256"]
