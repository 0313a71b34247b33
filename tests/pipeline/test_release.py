"""Out of quarantine: the way a file takes that arrives, and what is refused again stays."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text

from dsdc.cli.main import main
from dsdc.db.session import transaction
from dsdc.errors import CorruptFile, NotFound
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import reject_document, reject_file
from dsdc.pipeline.release import release
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.faults.inputs import arrive, picture
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.projects import forget_settings

LETTER = b"Dear Sir, this is plain text.\n" * 20


def reject(config: Settings, data: bytes) -> int:
    """Set a stored document aside; the id of its row in quarantine."""
    reject_document(
        config,
        open_storage(config),
        sha256_of(data),
        stage="render",
        category="corrupt",
        message="No page.",
        attempts=3,
    )
    return number(sha256_of(data))


def number(sha256: str) -> int:
    return rows(f"SELECT id FROM rejected_documents WHERE sha256 = '{sha256}' ORDER BY id")[0][0]


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def test_a_document_comes_back_with_its_failed_work_forgiven(inbox: Path, database: Settings) -> None:
    arrive(inbox, "invoice/scan 1.png", picture(1))
    ingest_inbox(author="test")
    document = sha256_of(picture(1))
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO processors (stage, name, version, params_hash, params)"
                f" VALUES ('render', 'x', '1', '{'0' * 64}', '{{}}')"
            )
        )
        session.execute(
            text(
                "INSERT INTO stage_attempts (stage, processor_id, input_id, document_id, state, attempts, failures)"
                f" SELECT 'render', id, '{document}', '{document}', 'failed', 3, 3 FROM processors"
            )
        )
    released = release([reject(database, picture(1))], author="somebody")
    assert (released.released, released.new, released.refused) == (1, 0, 0)
    assert rows("SELECT state FROM original_documents") == [("stored",)]
    assert rows("SELECT state, attempts, failures FROM stage_attempts") == [("pending", 0, 0)]
    assert rows("SELECT source, name, author FROM sightings ORDER BY id") == [
        ("inbox", "scan 1.png", "test"),
        ("cli", "scan 1.png", "somebody"),
    ]
    assert rows("SELECT released IS NOT NULL, attempts FROM rejected_documents") == [(True, 3)]
    assert list(database.path("rejected").iterdir()) == []
    check_invariant(database, [document])


def test_what_is_refused_again_stays_with_one_attempt_more(inbox: Path, database: Settings) -> None:
    arrive(inbox, "letter.pdf", LETTER)
    arrive(inbox, "empty.pdf", b"")
    ingest_inbox()
    report = release()
    assert (report.released, report.refused) == (0, 2)
    assert sorted(reason.partition(" ")[2] for reason in report.reasons) == ["empty.pdf", "letter.pdf"]
    assert rows("SELECT attempts FROM rejected_documents") == [(2,), (2,)]
    check_invariant(database, [sha256_of(LETTER), sha256_of(b"")])


def test_a_limit_that_was_raised_lets_a_file_in_with_its_class(
    inbox: Path, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused on arrival has no row of a document; its folder is remembered all the same."""
    data = picture(1) + bytes(2 << 20)
    arrive(inbox, "memo/large.png", data)
    monkeypatch.setenv("DSDC_INGEST_MAX_FILE_MB", "1")
    forget_settings()
    assert ingest_inbox().rejected == 1
    assert release().refused == 1
    monkeypatch.setenv("DSDC_INGEST_MAX_FILE_MB", "3")
    forget_settings()
    report = release()
    assert (report.released, report.new, report.labelled) == (1, 1, 1)
    assert rows("SELECT label, source FROM labels") == [("memo", "import")]
    assert rows("SELECT folder, name FROM sightings") == [("memo", "large.png")]
    check_invariant(database, [sha256_of(data)])


def test_a_limit_that_was_raised_lets_a_file_in_that_arrives_again(
    inbox: Path, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(1) + bytes(2 << 20)
    for limit in ("1", "3"):
        arrive(inbox, "large.png", data)
        monkeypatch.setenv("DSDC_INGEST_MAX_FILE_MB", limit)
        forget_settings()
        ingest_inbox()
    assert rows("SELECT released IS NOT NULL FROM rejected_documents") == [(True,)]
    assert list(database.path("rejected").iterdir()) == []


def test_the_same_bytes_under_several_names_come_back_together(inbox: Path, database: Settings) -> None:
    data = picture(1) + bytes(2 << 20)
    for name in ("a.png", "b.png"):
        reject_file(database, io.BytesIO(data), name, CorruptFile("No page."), stage="unpack")
    ids = [row[0] for row in rows("SELECT id FROM rejected_documents ORDER BY id")]
    assert release(ids).released == 2
    assert rows("SELECT name FROM sightings ORDER BY name") == [("a.png",), ("b.png",)]
    assert rows("SELECT count(*) FROM original_documents") == [(1,)]
    assert list(database.path("rejected").iterdir()) == []


def test_unknown_and_released_ids_are_named_before_anything_is_done(inbox: Path, database: Settings) -> None:
    for shade in (1, 2):
        arrive(inbox, f"{shade}.png", picture(shade))
    ingest_inbox()
    first, second = reject(database, picture(1)), reject(database, picture(2))
    release([first])
    with pytest.raises(NotFound, match=r"released on") as caught:
        release([second, first])
    assert "dsdc rejected" in str(caught.value)
    with pytest.raises(NotFound, match="no rejected document 999"):
        release([second, 999])
    assert rows(f"SELECT released FROM rejected_documents WHERE id = {second}") == [(None,)]


def test_a_file_that_is_no_longer_what_was_set_aside_stays(inbox: Path, database: Settings) -> None:
    arrive(inbox, "1.png", picture(1))
    ingest_inbox()
    reject(database, picture(1))
    (kept,) = (p for p in database.path("rejected").iterdir() if p.suffix == ".png")
    kept.write_bytes(picture(2))
    assert "now has SHA-256" in str(release().reasons)
    kept.unlink()
    assert "is not in" in str(release().reasons)
    assert list(database.path("raw").glob("??/??/*")) == []
    kept.write_bytes(picture(1))
    assert release().released == 1


def test_rejected_and_arrived_again_through_the_inbox(inbox: Path, database: Settings) -> None:
    for name in ("1.png", "again.png"):
        arrive(inbox, name, picture(1))
        ingest_inbox()
        if name == "1.png":
            reject(database, picture(1))
    assert release().released == 0
    assert list(database.path("rejected").iterdir()) == []
    check_invariant(database, [sha256_of(picture(1))] * 2)


def dsdc(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dsdc", *arguments])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def command_line() -> Iterator[None]:
    """The command sends the log to what is standard error now; later tests have another."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("command_line")
def test_by_command(
    inbox: Path, database: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrive(inbox, "[red]/b].png", picture(1))
    arrive(inbox, "letter.pdf", LETTER)
    ingest_inbox()
    reject(database, picture(1))
    capsys.readouterr()
    assert dsdc(monkeypatch, "rejected", "--json") == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (listed["b].png"]["category"], listed["b].png"]["attempts"]) == ("corrupt", 3)
    assert listed["letter.pdf"]["stage"] == "ingest"
    assert dsdc(monkeypatch, "rejected") == 0
    assert "letter.pdf" in capsys.readouterr().out
    assert dsdc(monkeypatch, "ingest", "--release", str(listed["b].png"]["id"]), "--json") == 0
    assert json.loads(capsys.readouterr().out)["released"] == 1
    assert dsdc(monkeypatch, "ingest", "--release", "all") == 1
    captured = capsys.readouterr()
    assert "1 of 1 files were refused again" in captured.err
    assert "plain text" in captured.out
    assert dsdc(monkeypatch, "ingest", "--release", str(listed["b].png"]["id"])) == 1
    assert "was released on" in capsys.readouterr().err
    for wrong in (["--release", "x"], ["--release", "1", str(inbox)]):
        assert dsdc(monkeypatch, "ingest", *wrong) == 2
    capsys.readouterr()
    arrive(inbox, "[/]/x.pdf", LETTER)
    assert dsdc(monkeypatch, "ingest") == 0
    assert "x.pdf" in capsys.readouterr().out
    assert dsdc(monkeypatch, "fsck", "--json") == 0
    assert json.loads(capsys.readouterr().out)["found"] == {}
    (database.path("rejected") / rows("SELECT file_path FROM rejected_documents WHERE released IS NULL")[0][0]).unlink()
    assert dsdc(monkeypatch, "fsck") == 1
    assert "missing" in capsys.readouterr().out
