"""`dsdc labels suspicious` over a champion whose held-out answers are known: real PostgreSQL, real nearest pages."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from dsdc.cli import console
from dsdc.cli import labels as command
from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.models import Member, Models, NewModel, Snapshots
from dsdc.db.session import clock, transaction
from dsdc.errors import NoChampion, WeightsError
from dsdc.ml import registry
from dsdc.ml.heldout import HeldOut
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.noise import suspicious_labels
from dsdc.pipeline.worker import run_stage
from dsdc.processors.contract import Vectors
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.fake_processors import NothingInside, SameCleaner, SmallEmbedder, WidthReader

CLASSES = ("letter", "memo")
SHADES = {"memo": 40, "letter": 200}
HEAD, RECIPE = "a" * 64, "b" * 64


class ShadeEmbedder(SmallEmbedder):
    """Pages of one shade point the same way."""

    name: ClassVar[str] = "shade"

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        shades = np.array([np.asarray(image.convert("L")).mean() / 128 for image in images])
        return np.stack([np.cos(shades), np.sin(shades), 0 * shades, 0 * shades], axis=1).astype(np.float32)


@pytest.fixture
def archive(database: Settings) -> Settings:
    """Twelve letters and twelve memos through all stages; a page called memo0 is a letter to the eye."""
    for slug, shade in SHADES.items():
        (database.path("to_ingest") / slug).mkdir()
        for number in range(12):
            seen = SHADES["letter"] if (slug, number) == ("memo", 0) else shade
            data = io.BytesIO()
            noise = np.random.default_rng(1000 * shade + number).integers(-9, 9, size=(40, 30))
            Image.fromarray((seen + noise).astype(np.uint8)).save(data, "PNG")
            (database.path("to_ingest") / slug / f"{slug}{number}.png").write_bytes(data.getvalue())
    ingest_inbox()
    ready = assembly(database)
    for stage in STAGES:
        run_stage(stage, assembly=ready)
    return database


def assembly(config: Settings) -> Assembly:
    processors = ProcessorSet(
        NothingInside(), PageRenderer(config.render), WidthReader(), SameCleaner(), ShadeEmbedder()
    )
    return bind(config, processors, register(processors), open_storage(config))


def train(config: Settings, doubted: Sequence[str]) -> dict[str, CurrentLabel]:
    """A champion that has learnt from the labels as they are, and doubts those of these files; labels by file name."""
    ready = assembly(config)
    with transaction() as session:
        labels = Labels(session).current(config.taxonomy.name)
        documents = Documents(session).many([label.document_id for label in labels])
        names = {document_id: document.original_name for document_id, document in documents.items()}
        members = [
            Member(label.document_id, label.label_id, label.label, f"fold-{row % 3}", row, [])
            for row, label in enumerate(labels)
        ]
        snapshot = Snapshots(session).add(
            "c" * 64,
            taxonomy=config.taxonomy.name,
            classes=CLASSES,
            processors=vars(ready.versions),
            params={},
            taken=clock(session),
            members=members,
        )
        model = NewModel(
            config.train.model_name, 1, "run", HEAD, RECIPE, snapshot, ready.versions.embed, "d" * 64, list(CLASSES),
            metrics={}, calibration={}, code_commit="unknown", airflow_run=None,
        )  # fmt: skip
        model_id = Models(session).add(model)
    registry.set_alias(config, "champion", model_id, author="test", reason="test")
    folder = registry.head_folder(config, HEAD, RECIPE)
    folder.mkdir(parents=True)
    _held_out(labels, [names[label.document_id] in doubted for label in labels]).save(folder)
    return {names[label.document_id]: label for label in labels}


def _held_out(labels: Sequence[CurrentLabel], doubted: Sequence[bool]) -> HeldOut:
    """Sure of each label, and surer of the other class where it is doubted, the more so the later the document."""
    given = np.array([CLASSES.index(label.label) for label in labels])
    shown = np.where(doubted, 1 - given, given)
    sure = np.where(doubted, np.linspace(0.92, 0.95, len(labels)), 0.85)
    probabilities = np.where(np.eye(2)[shown] > 0, sure[:, None], 1 - sure[:, None])
    return HeldOut(
        tuple(label.document_id for label in labels), CLASSES, given, np.arange(len(labels)) % 3, probabilities
    )


def suspicious(*arguments: str) -> Any:
    dsdc = typer.Typer()
    dsdc.add_typer(command.app)
    result = CliRunner().invoke(dsdc, ["labels", "suspicious", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_doubted_labels_come_with_their_evidence(archive: Settings) -> None:
    labels = train(archive, ["memo0.png", "letter3.png"])
    found = json.loads(suspicious("--json"))
    assert (found["version"], found["documents"], found["doubted"], found["restated"]) == (1, 24, 2, 0)
    assert {row["name"] for row in found["labels"]} == {"memo0.png", "letter3.png"}
    probabilities = [row["label_probability"] for row in found["labels"]]
    assert probabilities == sorted(probabilities)
    row = next(row for row in found["labels"] if row["name"] == "memo0.png")
    wanted = labels["memo0.png"]
    assert row["document_id"] == wanted.document_id
    assert (row["label"], row["suggested"]) == ("memo", "letter")
    assert row["label_probability"] < 0.1
    assert row["suggested_probability"] > 0.9
    assert (row["label_source"], row["author"]) == ("import", wanted.author)
    assert row["labelled"] == wanted.created.isoformat()
    assert row["likely_error"]
    near = [neighbour["document_id"] for neighbour in row["neighbours"]]
    assert len(near) == 3
    assert set(near) <= {label.document_id for name, label in labels.items() if name.startswith("letter")}
    assert all(neighbour["similarity"] > 0.9 for neighbour in row["neighbours"])


def test_a_label_stated_anew_since_is_nobodys_doubt(archive: Settings) -> None:
    """Corrected, or confirmed by a person: neither is listed again; a limit keeps the most suspicious."""
    names = ["memo0.png", "letter3.png", "letter4.png", "letter5.png"]
    labels = train(archive, names)
    with transaction() as session:
        for name, said in (("memo0.png", "letter"), ("letter3.png", "letter")):
            document_id = labels[name].document_id
            Labels(session).add(document_id, said, taxonomy=archive.taxonomy.name, source="human", author="ada")
    found = json.loads(suspicious("--json"))
    assert {row["name"] for row in found["labels"]} == {"letter4.png", "letter5.png"}
    assert (found["doubted"], found["restated"]) == (2, 2)
    limited = json.loads(suspicious("--json", "--limit", "1"))
    assert limited["labels"] == found["labels"][:1]
    assert limited["doubted"] == 2


def test_people_read_a_table(archive: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "_width", 200)  # decided when the module was imported
    labels = train(archive, ["memo0.png"])
    shown = suspicious()
    assert "Of 24 labels that" in shown
    assert "memo0.png" in shown
    assert labels["memo0.png"].document_id[:12] in shown
    assert "dsdc labels set ID CLASS" in shown


def test_without_a_champion_or_its_answers_it_is_said(archive: Settings) -> None:
    with pytest.raises(NoChampion):
        suspicious_labels(archive, limit=1)
    train(archive, [])
    (registry.head_folder(archive, HEAD, RECIPE) / "held_out.npz").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be read"):
        suspicious_labels(archive, limit=1)
