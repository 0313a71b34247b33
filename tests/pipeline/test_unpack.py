"""E-mails of the inbox: their attachments become documents that know where they came from."""

from __future__ import annotations

import base64
import hashlib
import io
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image
from reportlab.pdfgen import canvas
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.pipeline.assembly import Assembly, assemble, bind, register
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.processors.mail import MailUnpacker
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Settings
from dsdc.storage import open_storage, verify
from tests.fake_processors import LineRenderer, SameCleaner, SmallEmbedder, WidthReader
from tests.projects import forget_settings


def rows(query: str) -> list[tuple]:
    with transaction() as session:
        return [tuple(row) for row in session.execute(text(query))]


def picture(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("L", (60, 80), shade).save(data, "PNG")
    return data.getvalue()


def pdf(line: str) -> bytes:
    out = io.BytesIO()
    page = canvas.Canvas(out, invariant=True)
    page.drawString(72, 700, line)
    page.save()
    return out.getvalue()


def mail(subject: str, *attachments: tuple[str, bytes]) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.org", subject
    message["Message-ID"] = "<1@example.org>"
    message.set_content(f"Dear Bob, please see about {subject}.\n")
    for name, data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def inbox(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSDC_PIPELINE_BACKOFF_S", "0")
    forget_settings()
    return database.path("to_ingest")


@pytest.fixture
def assembly(inbox: Path, database: Settings) -> Assembly:
    return build(database)


def build(config: Settings, unpacker: MailUnpacker | None = None) -> Assembly:
    processors = ProcessorSet(unpacker or MailUnpacker(), LineRenderer(), WidthReader(), SameCleaner(), SmallEmbedder())
    return bind(config, processors, register(processors), open_storage(config))


def send(inbox: Path, name: str, message: EmailMessage) -> str:
    """Ingest a message; its id."""
    (inbox / name).write_bytes(bytes(message))
    assert ingest_inbox().new == 1
    return sha256(bytes(message))


def test_attachments_become_documents_with_the_message_as_parent(
    inbox: Path, database: Settings, assembly: Assembly
) -> None:
    scan, invoice = picture(1), pdf("Invoice 7")
    message_id = send(inbox, "a.eml", mail("rent", ("scan.png", scan), ("invoice.pdf", invoice)))
    assert rows("SELECT media_type FROM original_documents") == [("message/rfc822",)]
    report = run_stage("unpack", assembly=assembly)
    assert (report.done, report.partial, report.failed) == (1, 0, 0)
    assert sorted(rows("SELECT id, original_name, media_type FROM original_documents WHERE parent_id IS NOT NULL")) == (
        sorted([(sha256(scan), "scan.png", "image/png"), (sha256(invoice), "invoice.pdf", "application/pdf")])
    )
    assert rows("SELECT DISTINCT parent_id, source, folder, author FROM sightings WHERE source = 'attachment'") == [
        (message_id, "attachment", "", None)
    ]
    storage = open_storage(database)
    for (key,) in rows("SELECT file_path FROM original_documents"):
        verify(storage, key)


def test_a_second_run_and_a_repeated_one_change_nothing(inbox: Path, assembly: Assembly) -> None:
    send(inbox, "a.eml", mail("rent", ("a.png", picture(1)), ("b.docx", b"PK\x03\x04")))
    run_stage("unpack", assembly=assembly)
    tables = ("original_documents", "sightings", "rejected_documents")
    before = [rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    assert run_stage("unpack", assembly=assembly).done == 0
    with transaction() as session:  # as after a crash between COMMIT and the worker's next breath
        session.execute(text("UPDATE stage_attempts SET state = 'pending', available = clock_timestamp()"))
    assert run_stage("unpack", assembly=assembly).done == 1
    after = [rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables]
    assert after[:2] == before[:2]
    assert len(after[2]) == len(before[2]) == 1


def test_one_attachment_in_two_messages_is_one_document_seen_twice(inbox: Path, assembly: Assembly) -> None:
    shared = picture(3)
    first = send(inbox, "a.eml", mail("rent", ("form.png", shared)))
    run_stage("unpack", assembly=assembly)
    second = send(inbox, "b.eml", mail("again", ("the form.png", shared)))
    run_stage("unpack", assembly=assembly)
    assert rows(f"SELECT parent_id, original_name FROM original_documents WHERE id = '{sha256(shared)}'") == [
        (first, "form.png")
    ]
    assert rows(f"SELECT parent_id, name FROM sightings WHERE document_id = '{sha256(shared)}' ORDER BY id") == [
        (first, "form.png"),
        (second, "the form.png"),
    ]


def test_one_file_twice_in_a_message_is_seen_twice(inbox: Path, assembly: Assembly) -> None:
    send(inbox, "a.eml", mail("rent", ("a.png", picture(4)), ("b.png", picture(4))))
    run_stage("unpack", assembly=assembly)
    assert rows("SELECT name FROM sightings WHERE source = 'attachment' ORDER BY name") == [("a.png",), ("b.png",)]
    assert rows("SELECT count(*) FROM original_documents") == [(2,)]


def test_a_document_that_came_by_itself_first_has_no_parent(inbox: Path, assembly: Assembly) -> None:
    (inbox / "loose.png").write_bytes(picture(5))
    ingest_inbox()
    message_id = send(inbox, "a.eml", mail("rent", ("a.png", picture(5))))
    run_stage("unpack", assembly=assembly)
    assert rows("SELECT original_name, parent_id FROM original_documents WHERE media_type = 'image/png'") == [
        ("loose.png", None)
    ]
    assert rows("SELECT source, parent_id FROM sightings WHERE name LIKE '%.png' ORDER BY id") == [
        ("inbox", None),
        ("attachment", message_id),
    ]


def test_what_is_no_document_is_refused_alone(inbox: Path, database: Settings, assembly: Assembly) -> None:
    office, good = b"PK\x03\x04 word", picture(6)
    message = mail("rent", ("a.docx", office), ("empty.pdf", b""), ("good.png", good))
    message_id = send(inbox, "a.eml", message)
    report = run_stage("unpack", assembly=assembly)
    assert (report.done, report.partial, report.failed) == (1, 1, 0)
    assert rows("SELECT original_name, stage, category FROM rejected_documents ORDER BY original_name") == [
        ("a.docx", "unpack", "unsupported"),
        ("empty.pdf", "unpack", "empty"),
    ]
    assert rows("SELECT id FROM original_documents WHERE parent_id IS NOT NULL") == [(sha256(good),)]
    assert rows(f"SELECT message FROM stage_attempts WHERE document_id = '{message_id}'") == [
        ("Refused: a.docx (unsupported), empty.pdf (empty); see the quarantine.",)
    ]
    quarantined = {p.read_bytes() for p in database.path("rejected").iterdir() if p.suffix != ".json"}
    assert quarantined == {office, b""}
    assert set(open_storage(database).keys("raw")) == {
        key for (key,) in rows("SELECT file_path FROM original_documents")
    }


def test_messages_within_messages_are_unpacked_in_turn(inbox: Path, assembly: Assembly) -> None:
    inner = mail("inner", ("deep.png", picture(7)))
    outer = mail("outer")
    outer.add_attachment(inner)
    outer_id = send(inbox, "outer.eml", outer)
    assert run_stage("unpack", assembly=assembly).done == 2
    parents = dict(rows("SELECT original_name, parent_id FROM original_documents"))
    (inner_id,) = rows("SELECT id FROM original_documents WHERE original_name = 'inner.eml'")[0]
    assert parents == {"outer.eml": None, "inner.eml": outer_id, "deep.png": inner_id}


def test_a_message_without_attachments_is_skipped(inbox: Path, assembly: Assembly) -> None:
    send(inbox, "a.eml", mail("rent"))
    report = run_stage("unpack", assembly=assembly)
    assert (report.done, report.skipped) == (0, 1)


def _attached(quoted_name: str, data: bytes) -> bytes:
    """A part as nobody's library would write it; the name is percent-encoded."""
    disposition = f"Content-Disposition: attachment; filename*=utf-8''{quoted_name}\n"
    encoding = "Content-Transfer-Encoding: base64\n"
    return f"--edge\n{disposition}{encoding}Content-Type: image/png\n\n".encode() + base64.b64encode(data) + b"\n"


def test_hostile_names_are_metadata_only(inbox: Path, database: Settings, assembly: Assembly) -> None:
    names = ["../../etc/passwd", "nul\x00newline\n.png", "-rf", "x" * 3000 + ".png", "e\u0301\u202egnp.exe"]
    parts = [_attached("".join(f"%{byte:02X}" for byte in name.encode()), picture(n)) for n, name in enumerate(names)]
    head = b"From: a@b\nTo: c@d\nMessage-ID: <1@x>\nContent-Type: multipart/mixed; boundary=edge\n\n"
    (inbox / "a.eml").write_bytes(head + b"".join(parts) + b"--edge--\n")
    assert ingest_inbox().new == 1
    run_stage("unpack", assembly=assembly)
    stored = {name for (name,) in rows("SELECT name FROM sightings WHERE source = 'attachment'")}
    assert {"../../etc/passwd", "nul\\x00newline\\x0a.png", "-rf", "e\u0301\\x202egnp.exe"} < stored
    assert max(map(len, stored)) <= 255
    assert {p.name for p in database.path("rejected").iterdir()} <= {".gitkeep"}


def test_a_bomb_fails_its_own_message_and_no_other(inbox: Path, assembly: Assembly) -> None:
    bomb = (
        b"From: a@b\nTo: c@d\nMessage-ID: <1@x>\nContent-Type: multipart/mixed; boundary=e\n\n" + b"--e\n\nx\n" * 1000
    )
    (inbox / "bomb.eml").write_bytes(bomb)
    (inbox / "good.eml").write_bytes(bytes(mail("rent", ("a.png", picture(8)))))
    assert ingest_inbox().new == 2
    report = run_stage("unpack", assembly=assembly)
    assert (report.done, report.failed, report.categories) == (1, 1, {"too_large": 1})
    assert rows("SELECT count(*) FROM original_documents WHERE state = 'stored'") == [(3,)]


def test_an_attachment_that_was_rejected_once_is_tried_again_when_it_arrives_again(
    inbox: Path, database: Settings, assembly: Assembly
) -> None:
    bad = picture(9)
    send(inbox, "a.eml", mail("rent", ("bad.png", bad)))
    run_stage("unpack", assembly=assembly)
    with transaction() as session:
        session.execute(text(f"UPDATE original_documents SET state = 'rejected' WHERE id = '{sha256(bad)}'"))
    open_storage(database).delete(f"raw/{sha256(bad)[:2]}/{sha256(bad)[2:4]}/{sha256(bad)}")
    send(inbox, "b.eml", mail("again", ("bad.png", bad)))
    run_stage("unpack", assembly=assembly)
    assert rows(f"SELECT state FROM original_documents WHERE id = '{sha256(bad)}'") == [("stored",)]
    verify(open_storage(database), f"raw/{sha256(bad)[:2]}/{sha256(bad)[2:4]}/{sha256(bad)}")


def test_message_and_attachment_go_through_the_real_stages(inbox: Path, database: Settings) -> None:
    send(inbox, "a.eml", mail("Größe", ("invoice.pdf", pdf("Invoice 4711 for the rent of March"))))
    assembly = assemble(database)
    for stage in ("unpack", "render", "text"):
        assert run_stage(stage, assembly=assembly).failed == 0
    texts = dict(
        rows("SELECT d.media_type, t.raw_text FROM raw_texts t JOIN original_documents d ON d.id = t.document_id")
    )
    assert texts["message/rfc822"].endswith("Dear Bob, please see about Größe.")
    assert "Invoice 4711" in texts["application/pdf"]
    assert rows("SELECT DISTINCT extraction FROM raw_texts") == [("text-layer",)]
