"""Hostile names are metadata: no name decides where bytes go, and none stops a run."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unicodedata
from pathlib import Path

import pytest
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.errors import CorruptFile
from dsdc.pipeline.inbox import scan
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import reject_document, reject_file, safe_name
from dsdc.pipeline.release import release
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.faults.inputs import picture
from tests.faults.invariant import check_invariant, rows, sha256_of

ACCENT = "é"
NAMES = [
    b"-rf.png",
    b"--release=all.png",
    b"a\nb.png",
    b"tab\tand\rreturn.png",
    b"\x1b[31mred.png",
    b"\x01\x7f.png",
    b"\xff\xfe\x80.png",
    b"..png",
    b"...",
    b" .png",
    b"back\\slash.png",
    b"%2e%2e%2fetc%2fpasswd.png",
    b"$(reboot);`id`|x&.png",
    b"'; DROP TABLE original_documents; --.png",
    b"[bold][red.png",
    b"<script>.png",
    b"CON.png",
    b"x" * 251 + b".png",
    ("ü" * 126).encode() + b".pn",
    unicodedata.normalize("NFC", ACCENT).encode() + b".png",
    unicodedata.normalize("NFD", ACCENT).encode() + b".png",
    "\u202egnp.exe".encode(),
    "\u00a0\u200b.png".encode(),
    b"a.pdf.reason.json",
    b"a.pdf",
]
VISIBLE = [name for name in NAMES if not name.startswith(b".")]


def put(folder: Path, name: bytes, data: bytes) -> str:
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    return sha256_of(data)


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def test_names_are_metadata_only(inbox: Path, database: Settings) -> None:
    arrived = [put(inbox, name, picture(shade)) for shade, name in enumerate(VISIBLE)]
    before = {p for p in database.root.rglob("*") if not p.is_relative_to(database.root / "data")}
    report = ingest_inbox()
    assert (report.new, report.skipped) == (len(VISIBLE), 0)
    assert {p for p in database.root.rglob("*") if not p.is_relative_to(database.root / "data")} == before
    assert {p.name for p in database.path("raw").glob("??/??/*")} == set(arrived)
    seen = {name for (name,) in rows("SELECT name FROM sightings")}
    assert len(seen) == len(VISIBLE)
    assert {unicodedata.normalize(form, ACCENT) + ".png" for form in ("NFC", "NFD")} <= seen
    assert {"a\\x0ab.png", "\\xff\\xfe\\x80.png", "-rf.png", "\\x1b[31mred.png"} <= seen
    check_invariant(database, arrived)


def test_the_same_names_in_quarantine_and_out_of_it(inbox: Path, database: Settings) -> None:
    arrived = [put(inbox, name, b"plain text %d\n" % n) for n, name in enumerate(VISIBLE)]
    report = ingest_inbox()
    assert report.rejected == len(VISIBLE)
    check_invariant(database, arrived)
    assert release().refused == len(VISIBLE)
    json.dumps(report.as_dict()).encode()
    assert all(p.parent == database.path("rejected") for p in database.path("rejected").rglob("*"))
    check_invariant(database, arrived)


def test_one_file_under_names_that_read_alike(inbox: Path, database: Settings) -> None:
    """The same bytes as a document and under the name of that document's reason: each keeps its own."""
    data = b"the same plain text\n"
    arrived = [put(inbox, name, data) for name in (b"a.pdf", b"a.pdf.reason.json", b"\xffa.pdf", b"\xfea.pdf")]
    ingest_inbox()
    put(inbox, b"a.pdf", data)
    ingest_inbox()
    check_invariant(database, [*arrived, sha256_of(data)])


def test_hostile_folders(inbox: Path, database: Settings) -> None:
    arrived = []
    for shade, name in enumerate([b"-rf", b"a\nb", b"\xff", b"..a", b"labels.csv", b"y" * 255]):
        folder = Path(os.fsdecode(os.fsencode(inbox) + b"/" + name))
        folder.mkdir()
        if not name.startswith(b"."):
            arrived.append(put(folder, b"a.png", picture(shade)))
    ingest_inbox()
    assert rows("SELECT count(*) FROM sightings") == [(len(arrived),)]
    check_invariant(database, arrived)


def test_folders_deeper_than_python_goes_by_calling_itself() -> None:
    root = Path(tempfile.mkdtemp(prefix="dsdc-deep-"))
    try:
        deep = str(root)
        for _ in range(1500):
            deep += "/d"
            os.mkdir(deep)  # noqa: PTH102 - a Path so deep recurses itself
        Path(deep + "/a.png").write_bytes(picture(1))
        (found,) = scan(root, lambda path, reason: pytest.fail(reason))
        assert found.name == "a.png"
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)


def test_a_labels_file_that_points_outside(inbox: Path, database: Settings, tmp_path: Path) -> None:
    data = picture(1)
    (tmp_path / "outside.png").write_bytes(data)
    arrived = [put(inbox, b"a.png", data)]
    lines = [
        "file,label",
        "../../outside.png,memo",
        "/etc/passwd,memo",
        "a\0b,memo",
        "a.png,\0",
        "a.png",
        "a.png,invoice,x",
    ]
    (inbox / "labels.csv").write_text("\n".join(lines) + "\n")
    ingest_inbox()
    assert rows("SELECT label FROM labels") == [("invoice",)]
    check_invariant(database, arrived)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"", b'file,label\n"never closed', b"name,class\n", b"file,label\n" * 3]
)
def test_a_labels_file_that_is_none(data: bytes, inbox: Path, database: Settings) -> None:
    (inbox / "labels.csv").write_bytes(data)
    arrived = [put(inbox, b"a.png", picture(1))]
    assert ingest_inbox().new == 1
    check_invariant(database, arrived)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b.pdf", "a\ud800b.pdf", "..", "", "x" * 5000])
def test_names_that_no_file_system_gave(name: str, database: Settings) -> None:
    """An attachment or an upload may be called anything."""
    source = database.root / "source"
    source.write_bytes(picture(3))
    with source.open("rb") as file:
        reject_file(database, file, name, CorruptFile(f"No page of {name}."), stage="unpack")
    (stored,) = (p for p in database.path("rejected").iterdir() if not p.name.endswith(".json"))
    assert stored.read_bytes() == picture(3)
    assert len(os.fsencode(stored.name)) < 200
    check_invariant(database, [sha256_of(picture(3))])


def test_a_message_that_no_database_takes(inbox: Path, database: Settings) -> None:
    arrived = [put(inbox, b"a.png", picture(1))]
    ingest_inbox()
    reject_document(
        database,
        open_storage(database),
        arrived[0],
        stage="render",
        category="corrupt",
        message="a NUL \0, half a character \ud800",
    )
    check_invariant(database, arrived)


def test_safe_names() -> None:
    assert safe_name("../../etc/passwd") == "passwd"
    assert safe_name("--help") == "help"
    assert safe_name("résumé.pdf") == "resume.pdf"
    assert safe_name("文書") == "document"
    assert safe_name("x.reason.json") == "x_reason.json"
    assert len(safe_name("x" * 5000)) <= 130


def test_names_in_sql_stay_data(inbox: Path, database: Settings) -> None:
    put(inbox, b"'; DELETE FROM sightings; --.png", picture(1))
    ingest_inbox()
    with transaction() as session:
        assert session.execute(text("SELECT count(*) FROM sightings")).scalar() == 1
