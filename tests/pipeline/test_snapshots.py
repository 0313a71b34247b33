"""Snapshots as files and compared; and what is said of them once one of their documents is forgotten."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from dsdc.cli.erasure import _learnt
from dsdc.db.session import transaction
from dsdc.errors import Conflict, Forgotten, NotFound
from dsdc.ml.dataset import collect_all
from dsdc.pipeline import answer, erasure, reproduction, training
from dsdc.pipeline.erasure_plan import Plan, plan_for
from dsdc.pipeline.reproduction import reproduce
from dsdc.pipeline.snapshot_file import export
from dsdc.pipeline.snapshots import diff, find, listing
from dsdc.settings import Settings
from dsdc.storage import open_storage
from dsdc.taxonomy import Taxonomy
from tests.pipeline.test_release import command_line, dsdc
from tests.pipeline.test_training import bring, page, platform, scalar
from tests.projects import forget_settings

__all__ = ["command_line", "platform"]


@pytest.fixture
def store(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(reproduction, "assemble", training.assemble)
    return platform


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forget(config: Settings, document: str) -> Plan:
    plan = plan_for(config, [document])
    erasure.forget(config, open_storage(config), plan.documents, author="ann", reason="", told=plan.told())
    return plan


def test_a_file_has_every_member_as_training_sees_it_and_always_the_same_bytes(store: Settings, tmp_path: Path) -> None:
    bring(store, 6)
    taken = training.take_snapshot()
    written = export(find(str(taken.id)), tmp_path / "a.parquet")
    again = export(find(taken.content_sha256[:9]), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (written.rows, written.faults, again.bytes) == (18, {}, written.bytes)
    read = pq.read_table(tmp_path / "a.parquet")
    footer = json.loads(read.schema.metadata[b"dsdc"])
    assert footer["content_sha256"] == taken.content_sha256
    assert footer["processors"]["embed"] == {
        "name": "shades",
        "version": "1",
        "params_hash": footer["processors"]["embed"]["params_hash"],
    }
    ready = training.assemble(store)
    dataset = collect_all(Taxonomy.from_settings(store.taxonomy), ready.versions, ready.processors)
    assert read["document_id"].to_pylist() == list(dataset.data.document_ids)
    assert read["label"].to_pylist() == [label.label for label in dataset.labels]
    assert read["label_created"].to_pylist() == [label.created for label in dataset.labels]
    assert set(read["label_source"].to_pylist()) == {"import"}
    assert read["duplicate_group"].to_pylist() == dataset.data.groups.tolist()
    assert set(read["split"].to_pylist()) == {f"fold-{number}" for number in range(5)}
    for name, vectors in (("image_vector", dataset.data.image), ("text_vector", dataset.data.text)):
        assert read.schema.field(name).type.list_size == 16
        assert np.array_equal(np.array(read[name].to_pylist(), dtype=np.float32), vectors)
    with pytest.raises(Conflict, match="exists already"):
        export(find(str(taken.id)), tmp_path / "a.parquet")
    assert sorted(path.name for path in tmp_path.glob("*parquet*")) == ["a.parquet", "b.parquet"]


def test_two_snapshots_are_compared_member_by_member(store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(store, 5)
    first = training.take_snapshot()
    relabelled = sha256(page("memo", 0))
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO labels (document_id, taxonomy, label, source, author)"
                f" VALUES ('{relabelled}', 'rvl-cdip', 'letter', 'human', 'ann')"
            )
        )
    bring(store, 1, first=5)
    gone = sha256(page("letter", 1))
    forget(store, gone)
    second = training.take_snapshot()
    found = diff(find(str(first.id)), find(str(second.id)))
    assert found.removed == (gone,)
    assert set(found.added) == {sha256(page(slug, 5)) for slug in ("memo", "letter", "invoice")}
    assert [(c.document_id, c.was, c.now) for c in found.relabelled] == [(relabelled, "memo", "letter")]
    assert (found.reembedded, found.reread, found.processors, found.params) == ((), (), {}, {})
    back = diff(find(str(second.id)), find(str(first.id)))
    assert (back.added, back.removed) == (found.removed, found.added)
    changed, other = scalar(
        f"SELECT array_agg(embedding_ids[1]) FROM snapshot_members WHERE snapshot_id = {second.id}"
    )[:2]
    with transaction("owner") as session:
        vector = f"(SELECT embedding FROM embeddings WHERE id = {other})"
        session.execute(text(f"UPDATE embeddings SET embedding = {vector} WHERE id = {changed}"))
    monkeypatch.setenv("DSDC_TRAIN_SEED", "5")
    forget_settings()
    third = training.take_snapshot()
    found = diff(find(str(second.id)), find(str(third.id)))
    (reread,) = found.reread
    assert changed in scalar(f"SELECT embedding_ids FROM snapshot_members WHERE document_id = '{reread.document_id}'")
    assert found.params == {"seed": (20260101, 5)}
    assert {change.was for change in found.resplit} <= {f"fold-{number}" for number in range(5)}
    assert found.resplit
    assert [one["id"] for one in listing()] == [third.id, second.id, first.id]
    assert [one["forgotten"] for one in listing()] == [0, 0, 1]
    for named in ("999", "abc", "0" * 12):
        with pytest.raises(NotFound):
            find(named)


def test_who_learnt_from_a_forgotten_document_is_said(store: Settings, tmp_path: Path) -> None:
    bring(store, 3)
    quick = {"folds": 2, "members": 1}
    methods = ("zero-shot", "neighbours")
    zero, few = (training.train_model(author="test", overrides=quick | {"method": method}) for method in methods)
    training.promote_version(few.version, author="test", reason="test")
    bring(store, 1, first=3)
    answerer = answer.Answerer(store, open_storage(store))
    answerer.load()
    asked = answerer.answer(page("memo", 800), name="new.png", author="test")
    document = next(n.document_id for n in asked.neighbours if n.document_id != sha256(page("memo", 3)))
    tracked = [
        path for path in tmp_path.rglob("*") if path.is_file() and "data" not in path.relative_to(tmp_path).parts
    ]
    assert any(path.name == "held_out.npz" for path in tracked)
    assert [p for p in tracked for word in (b"1.png", b"wide 30") if word in p.read_bytes()] == [], "no name, no text"
    plan = forget(store, document)
    said = {model.version: (model.kind, model.champion, model.holds_vectors) for model in plan.models}
    assert said == {zero.version: ("zero-shot", False, False), few.version: ("neighbours", True, True)}
    told = next(model for model in plan.models if model.holds_vectors)
    assert Path(told.folder).is_dir()
    assert f"train and promote another model, then remove {told.folder}" in _learnt(told)
    assert f"vectors: remove {told.folder}" in _learnt(replace(told, champion=False)), "it serves no more"
    assert plan.targets[0].neighbour_of == (str(asked.prediction_id),)
    assert scalar("SELECT details -> 'models' FROM audit_log WHERE action = 'document.forget'") == [
        f"dsdc-head {zero.version}",
        f"dsdc-head {few.version}",
    ]
    new = sha256(page("memo", 3))
    assert plan_for(store, [new]).models == (), "it came after both"

    found = reproduce(few.version)
    (inputs,) = [step for step in found.steps if step.name == "inputs"]
    assert (found.same, inputs.same) == (False, False)
    assert "forgotten" in inputs.detail
    assert document[:12] in inputs.detail
    written = export(find(few.snapshot_sha256), tmp_path / "a.parquet")
    assert written.faults == {document: "the document was forgotten"}
    read = {row["document_id"]: row for row in pq.read_table(tmp_path / "a.parquet").to_pylist()}
    assert (any(read[document]["image_vector"]), read[document]["label"]) == (False, "memo")
    assert [name for name, row in read.items() if not (row["has_image"] or row["has_text"])] == [document]

    forgotten = next(page("memo", n) for n in range(4) if sha256(page("memo", n)) == document)
    before = scalar("SELECT count(*) FROM predictions")
    with pytest.raises(Forgotten, match="forgotten on purpose"):
        answerer.answer(forgotten, name="again.png", author="test")
    assert scalar("SELECT count(*) FROM predictions") == before
    assert list(open_storage(store).keys("raw")) != []
    once = answerer.answer(forgotten, name="again.png", author="test", store=False)
    assert document not in [neighbour.document_id for neighbour in once.neighbours]
    assert scalar(f"SELECT count(*) FROM processed_images WHERE document_id = '{document}'") == 0


@pytest.mark.usefixtures("command_line")
def test_by_command(
    store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(store, 5)

    def said(*arguments: str) -> dict:
        capsys.readouterr()
        assert dsdc(monkeypatch, "snapshot", *arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    first = said()
    assert first["documents"] == 15
    assert said() == first, "equal content is one snapshot"
    assert [one["content_sha256"] for one in said("list")] == [first["sha256"]]
    assert said("export", first["sha256"][:8], str(tmp_path / "s.parquet"))["rows"] == 15
    assert said("diff", str(first["snapshot"]), first["sha256"])["counts"]["added"] == 0
    for arguments in ((), ("list",), ("export", "1", str(tmp_path / "t.parquet")), ("diff", "1", "1")):
        assert dsdc(monkeypatch, "snapshot", *arguments) == 0
    assert dsdc(monkeypatch, "snapshot", "export", "1", str(tmp_path / "none" / "t.parquet")) == 1
