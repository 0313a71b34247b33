"""`dsdc labels set`: a person corrects a label at the command line, and that is what counts from then on."""

from __future__ import annotations

import getpass
import io
import json
from typing import Any

import pytest
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from dsdc.cli import labels as command
from dsdc.db.repositories.labels import Labels
from dsdc.db.session import transaction
from dsdc.errors import NotFound
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.lineage import told
from dsdc.settings import Settings


@pytest.fixture
def memo(database: Settings) -> str:
    """The id of a document that came as a memo."""
    folder = database.path("to_ingest") / "memo"
    folder.mkdir()
    data = io.BytesIO()
    Image.new("L", (30, 40), 128).save(data, "PNG")
    (folder / "page.png").write_bytes(data.getvalue())
    ingest_inbox(author="post")
    return counts(database).document_id


def counts(config: Settings) -> Any:
    """The label that counts, of the only document."""
    with transaction() as session:
        (label,) = Labels(session).current(config.taxonomy.name)
    return label


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.add_typer(command.app)
    return CliRunner().invoke(app, ["labels", "set", *arguments])


def test_a_persons_word_counts_from_now_on(database: Settings, memo: str) -> None:
    assert (counts(database).label, counts(database).source) == ("memo", "import")
    done = run(memo[:12], "Scientific Report", "--json")
    assert done.exit_code == 0, done.output
    given = json.loads(done.stdout)
    assert given["before"]["label"] == "memo"
    assert {key: given[key] for key in ("document_id", "label", "source", "author")} == {
        "document_id": memo,
        "label": "scientific_report",
        "source": "human",
        "author": getpass.getuser(),
    }
    now = counts(database)
    assert (now.label_id, now.label, now.source) == (given["label_id"], "scientific_report", "human")


def test_a_persons_word_can_be_corrected_by_another(database: Settings, memo: str) -> None:
    """Which a file that is dropped into the inbox again does not: that is an import's word."""
    with transaction() as session:
        Labels(session).add(memo, "letter", taxonomy=database.taxonomy.name, source="human", author="ada")
    done = run(memo, "invoice")
    assert "is invoice now" in done.stdout
    assert "before it was letter, said by ada (human)" in done.stdout
    assert counts(database).label == "invoice"


def test_a_note_is_told_with_the_documents_life(database: Settings, memo: str) -> None:
    assert run(memo[:8], "letter", "--note", "it has a salutation").exit_code == 0
    with transaction() as session:
        events = told.of_document(session, memo)
    (noted,) = [event for event in events if "note" in (event["details"] or {})]
    assert noted["details"]["note"] == "it has a salutation"
    assert noted["details"]["label_id"] == counts(database).label_id


def test_what_is_no_document_or_no_class_is_said(database: Settings, memo: str) -> None:
    for arguments, said in (
        (("0" * 12, "memo"), "no document"),
        (("memo.png", "memo"), "is no id"),
        ((memo[:4], "memo"), "is no id"),
        ((memo, "poem"), "'poem' is no class of rvl-cdip"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1
        assert isinstance(done.exception, NotFound)
        assert said in done.exception.message
        assert done.exception.hint
    with transaction("owner") as session:
        session.connection().exec_driver_sql("UPDATE original_documents SET state = 'forgotten'")
    assert isinstance(run(memo, "letter").exception, NotFound)
    with transaction() as session:
        assert [label.label for label in Labels(session).history(memo)] == ["memo"]
