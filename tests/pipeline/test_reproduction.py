"""A model made once more from its snapshot: the same bytes, or what is not as it was; and an earlier one restored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.errors import WeightsError
from dsdc.ml import recipe, registry
from dsdc.ml.dataset import Dataset
from dsdc.pipeline import answer, material, reproduction, training
from dsdc.pipeline.assembly import Assembly
from dsdc.pipeline.reproduction import Reproduction, reproduce
from dsdc.pipeline.training import TrainReport
from dsdc.processors.contract import Vectors
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.pipeline.test_release import command_line, dsdc
from tests.pipeline.test_training import bring, page, platform, scalar

__all__ = ["command_line", "platform"]


@pytest.fixture
def store(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(reproduction, "assemble", training.assemble)
    return platform


def learn(**overrides: object) -> TrainReport:
    quick = {"folds": 2, "members": 1, "min_per_class": 4, "epochs": 5}
    return training.train_model(author="test", overrides=quick | overrides)


def execute(statement: str) -> None:
    with transaction("owner") as session:
        session.execute(text(statement))


def steps(found: Reproduction) -> dict[str, bool | None]:
    return {step.name: step.same for step in found.steps}


def detail(found: Reproduction, name: str) -> str:
    return next(step.detail for step in found.steps if step.name == name)


def counts() -> list[int]:
    tables = ("model_versions", "model_aliases", "dataset_snapshots", "snapshot_members", "predictions")
    return [scalar(f"SELECT count(*) FROM {table}") for table in tables]


def mlflow_runs(folder: Path) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return len(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def test_a_head_comes_out_the_same_until_a_row_behind_it_is_changed(
    store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(store, 6)
    first = learn(seed=3)
    bring(store, 2, first=6)  # what has come since is no matter, nor what the settings say now
    monkeypatch.setenv("DSDC_TRAIN_HIDDEN", "8")
    before, runs = counts(), mlflow_runs(tmp_path)
    found = reproduce(first.version)
    assert found.same, found
    assert found.head_sha256 == first.head_sha256
    assert {name for name, same in steps(found).items() if same is not True} == {"code"}, "no checkout, no commit"
    assert (counts(), mlflow_runs(tmp_path)) == (before, runs), "nothing is registered, promoted or logged"

    (changed,) = scalar("SELECT array_agg(document_id) FROM (SELECT document_id FROM snapshot_members LIMIT 1) m")
    execute(
        "UPDATE embeddings SET embedding = (SELECT e.embedding FROM embeddings e JOIN processed_images i"
        f" ON i.id = e.processed_image_id WHERE i.document_id <> '{changed}' ORDER BY e.id LIMIT 1)"
        f" WHERE processed_image_id = (SELECT id FROM processed_images WHERE document_id = '{changed}')"
    )
    found = reproduce(first.version)
    assert not found.same
    assert {name: same for name, same in steps(found).items() if same is False}.keys() >= {"snapshot", "head"}
    assert list(found.faults) == [changed]
    assert changed[:12] in detail(found, "snapshot")
    assert found.difference is not None
    assert 0 < found.difference.max_probability < 1
    assert found.difference.documents == 18


@pytest.mark.usefixtures("command_line")
def test_a_label_that_was_rewritten_and_a_vector_that_is_gone_are_named(
    store: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(store, 5)
    version = learn().version
    label, document = scalar("SELECT ARRAY[max(label_id)::text, max(document_id)] FROM snapshot_members")
    owner = scalar(f"SELECT document_id FROM labels WHERE id = {label}")
    execute(f"UPDATE labels SET label = 'budget' WHERE id = {label}")
    found = reproduce(version)
    assert (steps(found)["snapshot"], steps(found)["head"]) == (False, True), "the member knows what it was"
    assert "its row says budget" in found.faults[owner].detail
    execute(
        "DELETE FROM embeddings WHERE processed_image_id IN"
        f" (SELECT id FROM processed_images WHERE document_id = '{document}')"
    )
    capsys.readouterr()
    assert dsdc(monkeypatch, "reproduce", str(version), "--json") == 1
    said = json.loads(capsys.readouterr().out)
    found = {step["name"]: step for step in said["steps"]}
    assert (said["same"], found["inputs"]["same"], found["head"]["same"]) == (False, False, False)
    assert document[:12] in found["inputs"]["detail"]
    assert said["head_sha256"] is None, "what cannot come out the same is not trained"


@pytest.mark.parametrize("method", ["neighbours", "zero-shot"])
def test_models_of_references_come_out_the_same(store: Settings, method: str) -> None:
    bring(store, 3)
    version = learn(method=method).version
    bring(store, 1, first=3)
    found = reproduce(version)
    assert found.same, found
    assert {name for name, same in steps(found).items() if same is not True} == {"code"}, "no checkout, no commit"


def test_other_describers_and_other_code_are_told(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(store, 3)
    version = learn(method="neighbours").version
    ready = training.assemble(store)

    class Newer(type(ready.processors.describers[0])):  # type: ignore[misc]
        version = "newer"

    def assemble(_: Settings, storage: object = None) -> Assembly:
        made = training.assemble(store)
        describers = (Newer(), *made.processors.describers[1:])
        object.__setattr__(made.processors, "describers", describers)
        return made

    monkeypatch.setattr(reproduction, "assemble", assemble)
    monkeypatch.setattr(recipe, "code_commit", lambda root: "f" * 40)
    found = reproduce(version)
    assert (steps(found)["processors"], steps(found)["code"]) == (False, None)
    assert "newer" in detail(found, "processors")
    assert detail(found, "code").endswith("f" * 40)
    assert (steps(found)["head"], found.head_sha256) == (False, None)
    assert "other processors" in detail(found, "head")


def test_a_model_of_references_is_not_made_with_another_clip(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(store, 3)
    version = learn(method="neighbours").version

    class Narrow(type(training.assemble(store).processors.embedder)):  # type: ignore[misc]
        name = "narrow"
        width = 8

        def texts(self, texts: Sequence[str]) -> Vectors:
            return super().texts(texts)[:, :8]

    def assemble(_: Settings, storage: object = None) -> Assembly:
        made = training.assemble(store)
        object.__setattr__(made.processors, "embedder", Narrow())
        return made

    monkeypatch.setattr(reproduction, "assemble", assemble)
    found = reproduce(version)
    assert (steps(found)["processors"], steps(found)["head"]) == (False, False)
    assert "narrow" in detail(found, "processors")


def test_what_comes_while_a_training_reads_is_no_part_of_it(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(store, 5)
    collect, last = material.collect_all, scalar("SELECT max(id) FROM raw_texts")
    reader, other = scalar(
        f"SELECT ARRAY[processor_id, (SELECT min(id) FROM processors)] FROM raw_texts WHERE id = {last}"
    )
    execute(f"UPDATE raw_texts SET processor_id = {other} WHERE id = {last}")

    def slowly(*args: Any, **given: Any) -> Dataset:
        found = collect(*args, **given)
        execute(f"UPDATE raw_texts SET processor_id = {reader}, created = clock_timestamp() WHERE id = {last}")
        return found

    monkeypatch.setattr(material, "collect_all", slowly)
    version = learn().version
    assert reproduce(version).same


def test_an_earlier_model_is_champion_again_and_serves_and_a_damaged_one_is_not(store: Settings) -> None:
    bring(store, 5)
    versions = [learn(seed=seed).version for seed in (1, 2)]
    serving = answer.Answerer(store, open_storage(store))
    training.promote_version(versions[1], author="test", reason="the newest")
    assert serving.load().version == versions[1]
    training.promote_version(versions[0], author="ann", reason="the experiment of May was right")
    assert serving.load().version == versions[0]
    given = serving.answer(page("memo", 900), name="x.png", author="test")
    assert given.versions["head_sha256"] == registry.by_version(store, versions[0]).head_sha256
    with transaction() as session:
        newest = session.execute(text("SELECT author, reason FROM model_aliases ORDER BY id DESC LIMIT 1")).one()
    assert tuple(newest) == ("ann", "the experiment of May was right")

    for name in (recipe.HEAD_FILE, recipe.RECIPE_FILE):
        path = registry.by_version(store, versions[1]).folder / name
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"0", b"1", 1))
        with pytest.raises(WeightsError):
            training.promote_version(versions[1], author="test", reason="damaged")
        with pytest.raises(WeightsError):
            reproduce(versions[1])
        path.write_bytes(whole)
    assert training.unservable(store, registry.champion(store)) == ""
    assert registry.champion(store).version == versions[0]
    assert serving.load().version == versions[0]
