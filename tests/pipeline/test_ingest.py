"""Files of the inbox become documents; nothing is lost, nothing doubled."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from dsdc import failpoints
from dsdc.db.session import transaction
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.settings import Settings
from dsdc.storage import open_storage, verify
from tests.projects import forget_settings


def picture(shade: int, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("L", (60, 80), shade).save(data, form)
    return data.getvalue()


def rows(query: str) -> list[tuple]:
    with transaction() as session:
        return [tuple(row) for row in session.execute(text(query))]


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def test_a_file_becomes_a_document_and_leaves_the_inbox(inbox: Path, database: Settings) -> None:
    (inbox / "invoice").mkdir()
    (inbox / "invoice" / "a.png").write_bytes(picture(1))
    (inbox / "loose.png").write_bytes(picture(2))
    report = ingest_inbox(author="test")
    assert (report.taken, report.new, report.labelled) == (2, 2, 1)
    assert not list(inbox.rglob("*.png"))
    storage = open_storage(database)
    for (key,) in rows("SELECT file_path FROM original_documents"):
        verify(storage, key)
    assert rows("SELECT label, source, author FROM labels") == [("invoice", "import", "test")]
    assert rows("SELECT folder, name, source FROM sightings ORDER BY folder") == [
        ("", "loose.png", "inbox"),
        ("invoice", "a.png", "inbox"),
    ]


def test_equal_bytes_are_one_document_with_each_arrival_on_record(inbox: Path) -> None:
    for name in ("a.png", "b.png"):
        (inbox / name).write_bytes(picture(3))
    (inbox / "other.png").write_bytes(picture(4))
    first = ingest_inbox()
    assert (first.taken, first.new, first.duplicates) == (3, 2, 1)
    (inbox / "again.png").write_bytes(picture(3))
    second = ingest_inbox()
    assert (second.new, second.duplicates) == (0, 1)
    assert rows("SELECT count(*) FROM sightings") == [(4,)]
    assert rows("SELECT count(*) FROM original_documents") == [(2,)]


def test_what_cannot_be_a_document_goes_to_quarantine_with_its_reason(inbox: Path, database: Settings) -> None:
    (inbox / "empty.pdf").write_bytes(b"")
    (inbox / "letter.pdf").write_bytes(b"Dear Sir, this is plain text.\n" * 20)
    (inbox / "good.png").write_bytes(picture(5))
    report = ingest_inbox()
    assert (report.new, report.rejected) == (1, 2)
    assert dict(rows("SELECT original_name, category FROM rejected_documents")) == {
        "empty.pdf": "empty",
        "letter.pdf": "unsupported",
    }
    rejected = database.path("rejected")
    for (name,) in rows("SELECT file_path FROM rejected_documents"):
        assert (rejected / name).is_file()
        reason = json.loads((rejected / f"{name}.reason.json").read_text())
        assert reason["reason"]
    assert not [p for p in inbox.iterdir() if p.suffix == ".pdf"]
    assert (
        (rejected / next(n for (n,) in rows("SELECT file_path FROM rejected_documents WHERE category <> 'empty'")))
        .read_bytes()
        .startswith(b"Dear Sir")
    )


def test_a_labels_file_names_classes_before_and_after_its_documents(inbox: Path, database: Settings) -> None:
    (inbox / "x.png").write_bytes(picture(6))
    (inbox / "labels.csv").write_text("file,label\nx.png,Scientific Report\ny.png,memo\nz.png,unheard of\n")
    (inbox / "z.png").write_bytes(picture(8))
    report = ingest_inbox()
    assert report.unknown_labels == ["unheard of"]
    assert rows("SELECT label FROM labels") == [("scientific_report",)]
    assert (inbox / "labels.csv").exists(), "y.png has not come"
    (inbox / "y.png").write_bytes(picture(7))
    ingest_inbox()
    assert not (inbox / "labels.csv").exists()
    assert list((database.path("raw") / "manifests").iterdir())
    assert sorted(rows("SELECT label FROM current_labels")) == [("memo",), ("scientific_report",)]


def test_links_and_pipes_are_not_followed(inbox: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(9))
    (inbox / "link.png").symlink_to(secret)
    (inbox / "folder").symlink_to(tmp_path)
    os.mkfifo(inbox / "pipe.png")
    report = ingest_inbox()
    assert (report.taken, report.skipped) == (0, 3)
    assert rows("SELECT count(*) FROM original_documents") == [(0,)]
    assert secret.exists()


def test_hostile_names_are_metadata_only(inbox: Path) -> None:
    names = [
        b"-rf.png",
        b"a\nb.png",
        b"\xff\xfe.png",
        "e\u0301.png".encode(),
        "\u00e9.png".encode(),
        b"x" * 250 + b".png",
    ]
    for shade, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(inbox) + b"/" + name)).write_bytes(picture(20 + shade))
    report = ingest_inbox()
    assert report.new == len(names)
    assert not list(inbox.glob("*.png"))
    stored = {name for (name,) in rows("SELECT name FROM sightings")}
    assert "a\\x0ab.png" in stored
    assert len(stored) == len(names)


def test_a_file_that_is_still_written_waits(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", "0.6")
    forget_settings()
    target, data, stop = inbox / "slow.png", picture(10), threading.Event()

    def write() -> None:
        with target.open("wb") as file:
            for byte in range(0, len(data), 16):
                file.write(data[byte : byte + 16])
                file.flush()
                if stop.wait(0.15):
                    break
            file.write(data[byte + 16 :])

    writer = threading.Thread(target=write)
    writer.start()
    ingest_inbox()
    writer.join()
    while target.exists():
        ingest_inbox()
    assert rows("SELECT byte_size FROM original_documents") == [(len(data),)]


def test_the_same_arrival_met_again_after_a_crash_is_one_sighting(inbox: Path) -> None:
    (inbox / "a.png").write_bytes(picture(11))
    failpoints.arm("ingest.before_unlink=raise")
    try:
        with pytest.raises(failpoints.FailpointReached):
            ingest_inbox()
    finally:
        failpoints.arm("")
    assert (inbox / "a.png").exists()
    ingest_inbox()
    assert not (inbox / "a.png").exists()
    assert rows("SELECT count(*) FROM sightings") == [(1,)]


def test_importing_leaves_the_source_alone(inbox: Path, tmp_path: Path) -> None:
    source = tmp_path / "archive"
    (source / "memo").mkdir(parents=True)
    (source / "memo" / "a.png").write_bytes(picture(12))
    report = ingest_inbox(folder=source, source="import", keep=True)
    assert (report.new, report.labelled) == (1, 1)
    assert (source / "memo" / "a.png").exists()
