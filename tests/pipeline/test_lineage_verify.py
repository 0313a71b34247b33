"""An answer computed again from the stored bytes: the real processors, and each thing that may be changed behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import typer
from sqlalchemy import text
from structlog.testing import capture_logs
from typer.testing import CliRunner

from dsdc.cli import lineage
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.lineage import LineageStore
from dsdc.db.session import transaction
from dsdc.ml.recipe import HEAD_FILE
from dsdc.ml.registry import champion
from dsdc.pipeline.answer import Answer, Answerer
from dsdc.pipeline.assembly import STAGES, assemble
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.lineage.steps import Tolerance, near, same_text
from dsdc.pipeline.lineage.verify import Verifier
from dsdc.pipeline.training import train_model
from dsdc.pipeline.worker import run_stage
from dsdc.processors.embed.lite import build as lite
from dsdc.samples import generate
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.projects import forget_settings

LABELLED, UNSEEN = 6, 2


@pytest.fixture
def platform(database: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The real processors with the engine that starts quickest; weights of its own, for they will be changed."""
    (database.root / "config.local.yaml").write_text("ocr:\n  engine: tesseract\n")
    shared = database.path("models") / "clip"
    target = shared.resolve()
    shared.unlink()
    shutil.copytree(target, shared)
    monkeypatch.setenv("DSDC_MLFLOW_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # a store without a server keeps its artefacts beside the process
    forget_settings()
    return settings()


def bring_and_answer(config: Settings, folder: Path) -> list[Answer]:
    """Labelled samples through all stages, a model of them, and answers about others."""
    samples = generate(folder, count=LABELLED + UNSEEN, seed=5, slugs=("letter", "questionnaire"))
    for sample in samples[:LABELLED]:
        (config.path("to_ingest") / sample.label).mkdir(exist_ok=True)
        shutil.copy(folder / sample.file, config.path("to_ingest") / sample.label / Path(sample.file).name)
    ingest_inbox()
    ready = assemble(config)
    for stage in STAGES:
        run_stage(stage, assembly=ready)
    train_model(author="test", airflow_run="run-1")
    answerer = Answerer(config, open_storage(config))
    answerer.load()
    kept = [answerer.answer((folder / s.file).read_bytes(), name=s.file, author="test") for s in samples[LABELLED:]]
    passing = (folder / samples[-1].file).read_bytes() + b"\n"
    return [*kept, answerer.answer(passing, name="passing", author="test", store=False)]


def command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()  # without the callback of the whole command, which takes over the test run's logging
    lineage.attach(app)
    with capture_logs():
        done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout


def fresh(config: Settings) -> Verifier:
    """One that has looked at no head, no weights and no snapshot yet."""
    return Verifier(config, open_storage(config))


def wrong(verifier: Verifier, answer: Answer) -> dict[str, str]:
    """Steps that are not well, with their outcomes."""
    found = verifier.verify(answer.prediction_id)
    return {step.name: step.outcome for step in found.steps if step.outcome != "ok"}


@contextmanager
def flipped(path: Path, at: int = -1) -> Iterator[None]:
    """One bit of a file changed, for a while."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    yield
    data[at] ^= 1
    path.write_bytes(data)


@contextmanager
def updated(statement: str, back: str, **parameters: object) -> Iterator[None]:
    for query in (statement, back):
        with transaction("owner") as session:
            assert session.execute(text(query), parameters).rowcount == 1
        if query == statement:
            yield


@pytest.mark.slow
def test_an_answer_comes_out_again_and_each_change_is_found(platform: Settings, tmp_path: Path) -> None:
    first, second, passing = bring_and_answer(platform, tmp_path / "samples")
    before = rows_of_every_table()
    code, told = command("--verify", "--all")
    assert (code, told.strip().splitlines()[-1]) == (0, "2 predictions: 2 reproduced")
    _tells_every_step(first)
    verifier = fresh(platform)
    _finds_changed_bytes(platform, first, verifier)
    _finds_changed_rows(first, verifier)
    _finds_changed_labels(platform, first)
    _finds_changed_weights(platform, first, second)
    _says_what_it_cannot_judge(platform, first, passing, verifier)
    _goes_on_after_a_damaged_page(first)
    assert rows_of_every_table() == before, "nothing was written"


def rows_of_every_table() -> dict[str, int]:
    with transaction("owner") as session:
        names = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return {name: session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}


def _tells_every_step(answer: Answer) -> None:
    code, told = command(str(answer.prediction_id)[:13], "--verify", "--json")
    found = json.loads(told)
    assert (code, found["summary"]) == (0, {"predictions": 1, "reproduced": 1, "differ": 0, "cannot": 0})
    steps = [step["name"] for step in found["predictions"][0]["steps"]]
    assert steps[0] == "bytes"
    pages = [f"page {number}: {what}" for number in range(1, answer.pages + 1) for what in ("stored image", "image")]
    texts = ("text", "words", "cleaned text", "image vector", "text vector")
    pages += [f"page 1: {what}" for what in texts]
    last = ["weights", "head", "recipe", "snapshot", "probabilities", "answer", "neighbours"]
    assert set(pages) <= set(steps)
    assert steps[-len(last) :] == last


def _finds_changed_bytes(config: Settings, answer: Answer, verifier: Verifier) -> None:
    storage = open_storage(config)
    with transaction() as session:
        row = LineageStore(session).of_prediction(answer.prediction_id)[0]
    with storage.local(row["file_path"]) as path, flipped(path):
        found = wrong(verifier, answer)
        assert found.pop("bytes") == "differs"
        assert found == {"pages": "cannot"}, "what does not come of the bytes is judged all the same"
    with storage.local(row["image_file"]) as path, flipped(path):
        assert wrong(verifier, answer) == {f"page {row['page']}: stored image": "differs"}
    with storage.local(row["file_path"]) as path:
        path.rename(path.with_suffix(".away"))
        assert wrong(verifier, answer)["bytes"] == "differs"
        path.with_suffix(".away").rename(path)


def _finds_changed_rows(answer: Answer, verifier: Verifier) -> None:
    one = {"document": answer.document_id}
    page = "WHERE document_id = :document AND page = 1"
    with updated(
        f"UPDATE raw_texts SET raw_text = 'X' || raw_text {page}",
        f"UPDATE raw_texts SET raw_text = substr(raw_text, 2) {page}",
        **one,
    ):
        assert wrong(verifier, answer) == {"page 1: text": "differs"}
    cleaned = "WHERE raw_text_id = (SELECT id FROM raw_texts WHERE document_id = :document AND page = 1)"
    with updated(
        f"UPDATE processed_texts SET processed_text = processed_text || '!' {cleaned}",
        f"UPDATE processed_texts SET processed_text = rtrim(processed_text, '!') {cleaned}",
        **one,
    ):
        assert wrong(verifier, answer) == {"page 1: cleaned text": "differs"}
    probabilities = "UPDATE predictions SET probabilities = jsonb_set(probabilities, '{letter}', :value) WHERE id = :id"
    value = answer.verdict.probabilities["letter"]
    given = {"id": answer.prediction_id, "was": json.dumps(value), "other": json.dumps(1 - value)}
    with updated(
        probabilities.replace(":value", "CAST(:other AS jsonb)"),
        probabilities.replace(":value", "CAST(:was AS jsonb)"),
        **given,
    ):
        assert wrong(verifier, answer) == {"probabilities": "differs"}
    _finds_a_changed_author(answer, verifier)


def _finds_a_changed_author(answer: Answer, verifier: Verifier) -> None:
    neighbour = {"document": answer.neighbours[0].document_id}
    label = "UPDATE labels SET author = {} WHERE document_id = :document"
    with updated(label.format("author || 'x'"), label.format("left(author, -1)"), **neighbour):
        assert wrong(verifier, answer) == {"neighbours": "differs"}


def _finds_changed_labels(config: Settings, answer: Answer) -> None:
    neighbour = {"document": answer.neighbours[0].document_id}
    label = "UPDATE labels SET label = {} WHERE document_id = :document"
    with updated(label.format("label || 'x'"), label.format("left(label, -1)"), **neighbour):
        assert wrong(fresh(config), answer) == {"snapshot": "differs", "neighbours": "differs"}
    member = "UPDATE snapshot_members SET label = {} WHERE document_id = :document"
    with updated(member.format("label || 'x'"), member.format("left(label, -1)"), **neighbour):
        assert wrong(fresh(config), answer) == {"snapshot": "differs"}
    with transaction() as session:  # a later word about a neighbour changes nothing of what was said before
        Labels(session).add(neighbour["document"], "letter", taxonomy="rvl-cdip", source="human", author="ada")
    assert wrong(fresh(config), answer) == {}
    with transaction("owner") as session:
        session.execute(text("DELETE FROM labels WHERE author = 'ada'"))


def _finds_changed_weights(config: Settings, first: Answer, second: Answer) -> None:
    with flipped(champion(config).folder / HEAD_FILE):
        expected = {"head": "differs", "probabilities": "cannot", "answer": "cannot"}
        assert wrong(fresh(config), first) == expected
    with flipped(config.path("models") / "clip" / lite.NAME / lite.WEIGHTS):
        found = wrong(fresh(config), second)
        assert found.pop("weights") == "differs"
        assert set(found.values()) == {"cannot"}
        assert {name.split(": ")[-1] for name in found} == {"image vector", "text vector"}
        code, told = command(second.document_id[:8], "--verify")
        assert (code, told.strip().splitlines()[-1]) == (1, "1 prediction: 0 reproduced, 1 differs")


def _says_what_it_cannot_judge(config: Settings, answer: Answer, passing: Answer, verifier: Verifier) -> None:
    found = wrong(verifier, passing)
    assert set(found.values()) == {"cannot"}
    assert not {"weights", "head", "recipe", "snapshot"} & found.keys()
    local = config.root / "config.local.yaml"
    settled = local.read_text()
    local.write_text(settled + "  min_layer_chars: 31\n")
    forget_settings()
    assert wrong(fresh(settings()), answer) == {}, "the recorded reader is made from what is recorded of it"
    version = "UPDATE processors SET version = {} WHERE stage = 'text'"
    with updated(version.format("version || 'x'"), version.format("left(version, -1)")):
        found = wrong(fresh(settings()), answer)
    assert set(found.values()) == {"cannot"}
    assert {name.split(": ")[-1] for name in found} == {"text"}, "the rest goes on from the recorded text"
    local.write_text(settled)
    forget_settings()


def _goes_on_after_a_damaged_page(answer: Answer) -> None:
    """The renderer is of another version, so the stored image is all that there is; it opens, but is cut off."""
    with transaction() as session:
        row = LineageStore(session).of_prediction(answer.prediction_id)[0]
    version = "UPDATE processors SET version = {} WHERE stage = 'render'"
    with (
        updated(version.format("version || 'x'"), version.format("left(version, -1)")),
        open_storage(settings()).local(row["image_file"]) as path,
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        found = wrong(fresh(settings()), answer)
        code, told = command("--verify", "--all", "--json")
        path.write_bytes(whole)
    assert found.pop(f"page {row['page']}: stored image") == "differs"
    assert set(found.values()) == {"cannot"}
    assert f"page {row['page']}: image vector" in found
    every = json.loads(told)
    assert (code, every["summary"]) == (1, {"predictions": 2, "reproduced": 0, "differ": 1, "cannot": 1})
    assert {one["prediction_id"]: one["outcome"] for one in every["predictions"]}[
        str(answer.prediction_id)
    ] == "differs"


def test_what_differs_is_shown_where_it_differs() -> None:
    step = same_text("text", "a" * 50 + "1,204.00 due", "a" * 50 + "1,264.00 due")
    assert (step.outcome, step.expected, step.found) == (
        "differs",
        repr("a" * 27 + "1,204.00 due"),
        repr("a" * 27 + "1,264.00 due"),
    )
    assert "from character 54 on" in step.detail
    assert same_text("text", "abc", "ab").detail.startswith("from character 3 on")


def test_vectors_are_near_within_what_is_stated() -> None:
    vector = np.eye(4, dtype=np.float32)[0]
    moved = vector + np.float32([0, 2e-4, 0, 0])
    assert near("v", vector, vector, Tolerance()).outcome == "ok"
    assert near("v", vector, moved, Tolerance()).outcome == "differs"
    assert near("v", vector, moved, Tolerance(5e-3)).outcome == "ok"
    assert near("v", vector, vector[:3], Tolerance()).outcome == "differs"
