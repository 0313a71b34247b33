"""From labelled pictures to a champion, the gate, a rollback, and an evaluation: real PostgreSQL, real MLflow store."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.errors import Conflict, NotEnoughLabels, NotFound, SettingsError, WeightsError
from dsdc.ml import registry
from dsdc.ml.recipe import HEAD_FILE
from dsdc.pipeline import answer, evaluation, purpose, training
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.fsck import fsck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.processors.contract import Vectors
from dsdc.processors.describe import WordLayout, WordNgrams
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.fake_processors import NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.projects import forget_settings

CLASSES = {"memo": 20, "letter": 110, "invoice": 200}


class ShadeEmbedder(SmallEmbedder):
    """An image's vector is its shade, so that three shades are three classes, and noise, so that no two are twins."""

    name: ClassVar[str] = "shades"
    width = 16  # type: ignore[assignment]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        shades = np.array([np.asarray(image.convert("L")).mean() / 255 for image in images])
        angles = np.stack([np.cos(3 * shades), np.sin(3 * shades), shades, np.ones_like(shades)], axis=1)
        noise = np.stack([np.random.default_rng(int(shade * 1e6)).normal(0, 0.15, 12) for shade in shades])
        vectors = np.concatenate([angles, noise], axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.tile(np.eye(16, dtype=np.float32)[0], (len(texts), 1))


def page(slug: str, number: int) -> bytes:
    """A picture of the class's shade, a little different each time."""
    data = io.BytesIO()
    random = np.random.default_rng(CLASSES[slug] * 1000 + number)
    shades = np.clip(random.normal(CLASSES[slug] + random.normal(0, 8), 4, size=(40, 30)), 0, 255)
    Image.fromarray(shades.astype(np.uint8)).save(data, "PNG")
    return data.getvalue()


def scalar(query: str):
    with transaction() as session:
        return session.execute(text(query)).scalar()


@pytest.fixture
def platform(database: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("DSDC_MLFLOW_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("DSDC_TRAIN_EPOCHS", "30")
    monkeypatch.chdir(tmp_path)  # a store without a server keeps its artefacts beside the process
    forget_settings()
    config = settings()

    def assemble(_: Settings, storage: object = None) -> Assembly:
        processors = ProcessorSet(
            NothingInside(),
            PageRenderer(config.render),
            WidthReader(),
            SameCleaner(),
            ShadeEmbedder(),
            describers=(WordLayout(), WordNgrams()),
        )
        return bind(config, processors, register(processors), open_storage(config))

    for module in (training, evaluation, answer, purpose):
        monkeypatch.setattr(module, "assemble", assemble)
    return config


def bring(config: Settings, count: int, *, first: int = 0) -> None:
    """Labelled pictures through all stages."""
    for slug in CLASSES:
        folder = config.path("to_ingest") / slug
        folder.mkdir(exist_ok=True)
        for number in range(first, first + count):
            (folder / f"{number}.png").write_bytes(page(slug, number))
    ingest_inbox()
    ready = training.assemble(config)
    for stage in STAGES:
        run_stage(stage, assembly=ready)


def test_the_life_of_models(platform: Settings, tmp_path: Path) -> None:
    bring(platform, 24)
    first = training.train_model(author="test", airflow_run="run-1")
    assert first.promoted
    assert first.gate.reason == "There was no champion."
    assert first.metrics["accuracy"] > 0.9
    assert (first.documents, first.version) == (72, 1)
    assert scalar("SELECT airflow_run FROM model_versions") == "run-1"
    assert scalar("SELECT count(*) FROM snapshot_members") == 72
    assert purpose.labelled_change() == {}, "all of it has been learnt"

    bring(platform, 12, first=24)
    second = training.train_model(author="test", overrides={"seed": 5})
    assert (second.version, second.documents) == (2, 108)
    assert second.snapshot_id != first.snapshot_id
    assert second.gate.documents > 0
    assert registry.champion(platform).version == (2 if second.promoted else 1)

    training.promote_version(1, author="test", reason="to see")
    assert registry.champion(platform).version == 1
    training.promote_version(2, author="test", reason="to see")
    assert training.roll_back(author="test").version == 1
    with pytest.raises(Conflict, match="dsdc promote VERSION"):
        training.roll_back(author="test")
    assert registry.champion(platform).version == 1, "and not what the rollback has left"
    assert scalar("SELECT count(*) FROM model_aliases WHERE alias = 'champion'") >= 4
    with pytest.raises(NotFound, match="no version 9"):
        training.promote_version(9, author="test", reason="nothing there")

    _answers(platform)
    _evaluates(platform, tmp_path)
    _refuses_a_changed_head(platform)


def two_pages(shade: int) -> bytes:
    """A document whose second page the reader finds empty."""
    data = io.BytesIO()
    pages = [Image.new("L", (40 + number, 30), shade + number) for number in range(2)]
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:])
    return data.getvalue()


def test_a_blank_page_of_a_predicted_document_is_left_as_workers_leave_it(platform: Settings) -> None:
    bring(platform, 3)
    (platform.path("to_ingest") / "worked.tif").write_bytes(two_pages(60))
    bring(platform, 1, first=3)
    training.train_model(author="test", overrides={"method": "neighbours", "folds": 2, "members": 1})
    answerer = answer.Answerer(platform, open_storage(platform))
    answerer.load()
    answerer.answer(two_pages(80), name="predicted.tif", author="test")

    left = (
        "SELECT array_agg(a.stage || ' ' || a.state ORDER BY a.stage, a.state) FROM stage_attempts a"
        " JOIN original_documents d ON d.id = a.document_id WHERE d.original_name = '{}.tif'"
    )
    predicted = scalar(left.format("predicted"))
    assert predicted == scalar(left.format("worked"))
    assert predicted[2:6] == ["embed-image done"] * 2 + ["embed-text done", "embed-text skipped"]
    report = fsck(platform, open_storage(platform), renderer=PageRenderer(platform.render))
    assert report.findings == []


def _answers(config: Settings) -> None:
    answerer = answer.Answerer(config, open_storage(config))
    answerer.load()
    data = page("invoice", 999)
    kept = answerer.answer(data, name="new.png", author="test")
    assert kept.verdict.label == "invoice"
    assert {n.label for n in kept.neighbours} == {"invoice"}
    assert kept.as_dict()["prediction_set"][0] == "invoice"
    again = answerer.answer(data, name="same bytes.png", author="test")
    assert again.verdict == kept.verdict
    assert "render" not in again.timings_ms, "stored vectors are used again"
    before = scalar("SELECT count(*) FROM original_documents")
    gone = answerer.answer(page("memo", 999), name="secret.png", author="test", store=False)
    assert gone.verdict.label == "memo"
    assert scalar("SELECT count(*) FROM original_documents") == before
    assert scalar("SELECT count(*) FROM predictions WHERE document_id IS NULL") == 1
    assert scalar("SELECT count(*) FROM prediction_lineage WHERE embedding_id IS NOT NULL") == 4
    assert all(run_stage(stage, assembly=training.assemble(config)).done == 0 for stage in STAGES)


def _evaluates(config: Settings, folder: Path) -> None:
    rows = [("memo", "memo"), ("letter", "letter"), ("invoice", "memo")]
    for number, (slug, _) in enumerate(rows):
        (folder / f"e{number}.png").write_bytes(page(slug, 500 + number))
    (folder / "broken.png").write_bytes(page("memo", 1)[:60])
    labels = folder / "labels.csv"
    labels.write_text(
        "file,label\n" + "".join(f"e{n}.png,{label}\n" for n, (_, label) in enumerate(rows)) + "broken.png,memo\n"
    )
    result = evaluation.evaluate_files(config, folder, labels, folder / "out.csv")
    assert (result["n"], result["failed"]) == (3, 1)
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert {"macro_f1", "ece", "auroc_correct", "coverage", "mean_set_size", "per_class"} <= set(result)
    written = list(csv.DictReader((folder / "out.csv").open()))
    assert list(written[0]) == ["file", "label", "predicted", "probability", "decision"]
    assert [row["predicted"] for row in written] == ["memo", "letter", "invoice"]
    with pytest.raises(NotFound, match="columns file,label"):
        (folder / "wrong.csv").write_text("a,b\n1,2\n")
        evaluation.evaluate_files(config, folder, folder / "wrong.csv")


def _refuses_a_changed_head(config: Settings) -> None:
    """The one that serves goes on serving; a service that starts now says why it cannot."""
    serving = answer.Answerer(config, open_storage(config))
    serving.load()
    other = registry.by_version(config, 2)
    head = other.folder / HEAD_FILE
    head.write_bytes(head.read_bytes()[:-1] + b"\x00" + b"\x01")
    registry.set_alias(config, "champion", other.id, author="test", reason="a broken file")
    with pytest.raises(WeightsError, match="SHA-256"):
        serving.load()
    assert serving.answer(page("memo", 7777), name="x.png", author="test").verdict.label == "memo"
    with pytest.raises(WeightsError):
        answer.Answerer(config, open_storage(config)).load()


def test_what_cannot_be_trained_on_is_said(platform: Settings) -> None:
    with pytest.raises(NotEnoughLabels, match="to_ingest/<class>/"):
        training.train_model(author="test", overrides={"method": "head"})
    bring(platform, 6)
    with pytest.raises(SettingsError, match="epochs"):
        training.train_model(author="test", overrides={"epochs": 0})
    with pytest.raises(Conflict, match="earlier champion"):
        training.roll_back(author="test")
    assert scalar("SELECT count(*) FROM model_versions") == 0
