"""A store without labels, then with a few, then with enough: each time a model that serves, on real PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsdc.errors import NotEnoughLabels
from dsdc.ml import recipe, registry
from dsdc.ml.heldout import HeldOut
from dsdc.pipeline import answer, evaluation, noise, purpose, training
from dsdc.pipeline.assembly import STAGES
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.training import TrainReport
from dsdc.pipeline.worker import run_stage
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.pipeline.test_training import CLASSES, bring, page, platform, scalar

__all__ = ["platform"]


def unlabelled(config: Settings, *numbers: int) -> None:
    """Pictures of every class through all stages, nobody saying what they are."""
    for slug in CLASSES:
        for number in numbers:
            (config.path("to_ingest") / f"{slug}-{number}.png").write_bytes(page(slug, number))
    ingest_inbox()
    ready = training.assemble(config)
    for stage in STAGES:
        run_stage(stage, assembly=ready)


def served(config: Settings) -> recipe.Head:
    return recipe.load(registry.champion(config).folder)


def answers(config: Settings) -> answer.Answerer:
    serving = answer.Answerer(config, open_storage(config))
    serving.load()
    return serving


def evaluated(config: Settings, folder: Path) -> dict[str, object]:
    """As `dsdc evaluate` does, on three pages per class that the store has not seen."""
    rows = [(f"{slug}{number}.png", slug, number) for slug in CLASSES for number in (700, 701, 702)]
    for name, slug, number in rows:
        (folder / name).write_bytes(page(slug, number))
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{name},{slug}\n" for name, slug, _ in rows))
    return evaluation.evaluate_files(config, folder, folder / "labels.csv")


def train(**overrides: object) -> TrainReport:
    return training.train_model(author="test", overrides=overrides)


def test_names_serve_before_there_is_a_label_and_labels_take_over(platform: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughLabels, match=r"no processed document in the store.*to_ingest"):
        train()
    unlabelled(platform, *range(400, 404))
    first = train()
    assert (first.method.method, first.documents, first.promoted) == ("zero-shot", 0, True)
    head = served(platform)
    assert (head.recipe.kind, head.recipe.calibration.method) == ("zero-shot", "fixed")
    assert len(head.classes) == len(platform.taxonomy.classes)
    assert len(HeldOut.load(registry.champion(platform).folder).document_ids) == 0
    verdict = answers(platform).answer(page("memo", 1), name="x.png", author="test").verdict
    assert verdict.decision == "review"
    assert len(verdict.prediction_set) == len(head.classes)
    assert (evaluated(platform, tmp_path)["n"], noise.suspicious_labels(platform, limit=5).doubted) == (9, 0)

    bring(platform, 4)
    few = train()
    assert (few.method.method, few.documents, few.promoted) == ("neighbours", 12, True)
    assert few.metrics["accuracy"] > 0.6
    assert answers(platform).answer(page("memo", 900), name="y.png", author="test").verdict.label == "memo"
    assert float(str(evaluated(platform, tmp_path)["accuracy"])) > 0.6

    assert purpose.labelled_change() == {}
    bring(platform, 20, first=4)
    assert purpose.labelled_change() == {"documents": 72, "new": 60}
    enough = train()
    assert (enough.method.method, enough.documents) == ("head", 72)
    assert enough.promoted
    assert enough.gate.documents == 72
    assert purpose.labelled_change() == {}
    assert served(platform).recipe.kind == "document-head"

    assert training.roll_back(author="test").version == few.version
    assert answers(platform).answer(page("memo", 901), name="z.png", author="test").verdict.label == "memo"
    again = train(method="zero-shot")
    assert not again.promoted, "names are worse than neighbours"
    assert again.gate.documents == 72
    assert scalar("SELECT count(*) FROM model_versions") == 4


def test_copies_of_one_page_are_one_label(platform: Settings) -> None:
    """Other bytes, the same picture: a head would be judged on what it has learnt by heart."""
    for slug in CLASSES:
        (platform.path("to_ingest") / slug).mkdir(exist_ok=True)
        for number in range(6):
            copy = page(slug, number // 3) + b"\0" * (1 + number % 3)
            (platform.path("to_ingest") / slug / f"{number}.png").write_bytes(copy)
    unlabelled(platform)
    report = train()
    assert (report.method.method, report.documents) == ("neighbours", 18)
    assert report.method.reason.startswith("6 different documents of 3 of")
    held_out = HeldOut.load(registry.champion(platform).folder)
    assert len(set(held_out.folds)) == 6, "a copy is held out with its original"
    assert served(platform).recipe.calibration.method == "fixed", "6 documents teach no threshold"


@pytest.mark.parametrize(("method", "labels"), [("zero-shot", 0), ("neighbours", 3)])
def test_the_same_labels_and_archive_make_the_same_model(platform: Settings, method: str, labels: int) -> None:
    unlabelled(platform, 400, 401)
    if labels:
        bring(platform, labels)
    one, two = (train() for _ in range(2))
    assert one.method.method == method
    assert one.head_sha256 == two.head_sha256
    assert one.snapshot_id == two.snapshot_id


def test_what_the_archive_tells_is_on_record(platform: Settings) -> None:
    unlabelled(platform, 400, 401)
    before = train()
    unlabelled(platform, 402)
    after = train()
    assert before.snapshot_sha256 != after.snapshot_sha256
    assert before.head_sha256 != after.head_sha256
    params = scalar(f"SELECT params FROM dataset_snapshots WHERE id = {after.snapshot_id}")
    stored = scalar("SELECT jsonb_agg(id ORDER BY id) FROM original_documents")
    assert params["archive"] == stored
    assert set(params["prompts"]) == {c.slug for c in platform.taxonomy.classes}


def test_a_class_that_comes_later_is_known_at_once(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.projects import forget_settings

    unlabelled(platform, 400, 401)
    assert train().promoted
    classes = [{"slug": slug, "name": slug.title()} for slug in (*CLASSES, "recipe")]
    monkeypatch.setenv("DSDC_TAXONOMY", json.dumps({"name": "rvl-cdip", "prompts": ["{}"], "classes": classes}))
    forget_settings()
    other = train()
    assert (other.promoted, served(platform).classes) == (True, (*CLASSES, "recipe")), other.gate.reason

    bring(platform, 8)
    assert train().method.method == "head"
    assert served(platform).classes == tuple(CLASSES)
    few = train(method="neighbours")
    assert set(recipe.load(registry.by_version(platform, few.version).folder).classes) == {*CLASSES, "recipe"}


def test_a_search_trains_with_the_best_and_belongs_to_it(platform: Settings) -> None:
    bring(platform, 3)
    with pytest.raises(NotEnoughLabels, match="no settings to search"):
        training.train_model(author="test", trials=2)
    bring(platform, 8, first=3)
    seen: list[tuple[int, int]] = []
    report = training.train_model(author="test", trials=2, progress=lambda *step: seen.append(step))
    assert seen[-1][1] == 0
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=training.settings().mlflow.uri)
    run = client.get_run(report.mlflow_run_id)
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.metrics["trials"] == 2
    assert run.data.params["learning_rate"] == parent.data.params["learning_rate"]
