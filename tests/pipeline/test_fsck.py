"""The check finds what does not agree, names it, and repairs only what is safe."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.fsck import YOUNG_S, fsck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import reject_document, reject_file
from dsdc.pipeline.release import release
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings
from dsdc.storage import Storage, open_storage
from tests.fake_processors import LineRenderer, NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.pipeline.test_ingest import picture, rows


@pytest.fixture
def storage(database: Settings) -> Storage:
    """Three good documents, rendered; one empty file and one broken picture in quarantine."""
    inbox = database.path("to_ingest")
    for shade in range(3):
        (inbox / f"{shade}.png").write_bytes(picture(shade))
    (inbox / "empty.pdf").touch()
    (inbox / "cut.png").write_bytes(picture(9)[:70])
    ingest_inbox()
    place = open_storage(database)
    run_stage("render", assembly=_assembly(database, place))
    return place


def _assembly(config: Settings, storage: Storage) -> Assembly:
    processors = ProcessorSet(
        NothingInside(), PageRenderer(config.render), WidthReader(), SameCleaner(), SmallEmbedder()
    )
    return bind(config, processors, register(processors), storage)


def run_all(config: Settings, storage: Storage) -> None:
    ready = _assembly(config, storage)
    for name in STAGES:
        run_stage(name, assembly=ready)


def execute(statement: str) -> None:
    with transaction() as session:
        session.execute(text(statement))


def age(path: Path) -> None:
    """As if it had been there for longer than any transaction lasts."""
    old = time.time() - YOUNG_S - 1
    os.utime(path, (old, old))


def path_of(config: Settings, key: str) -> Path:
    area, rest = key.split("/", 1)
    return config.path("raw" if area == "raw" else "processed") / rest


def found(config: Settings, storage: Storage, **options: bool) -> list[tuple[str, str, bool]]:
    report = fsck(config, storage, renderer=PageRenderer(config.render), **options)
    return [(f.kind, f.where, f.repaired) for f in report.findings if f.kind != "recent"]


def test_after_good_and_bad_files_everything_agrees(database: Settings, storage: Storage) -> None:
    report = fsck(database, storage)
    assert report.findings == []
    assert (report.documents, report.images, report.rejected) == (4, 3, 2)


def test_a_deleted_a_changed_and_an_orphaned_file_are_named(database: Settings, storage: Storage) -> None:
    keys = [key for (key,) in rows("SELECT file_path FROM original_documents WHERE state = 'stored' ORDER BY id")]
    (image,) = rows("SELECT image_file FROM processed_images ORDER BY id LIMIT 1")[0]
    path_of(database, keys[0]).unlink()
    path_of(database, keys[1]).write_bytes(b"something else")
    path_of(database, image).unlink()
    orphan = storage.put_bytes("raw", b"nobody knows me")
    old = time.time() - YOUNG_S - 1
    os.utime(path_of(database, orphan.key), (old, old))
    expected = {
        ("missing", keys[0], False),
        ("changed", keys[1], False),
        ("missing", image, False),
        ("orphan", orphan.key, False),
    }
    assert set(found(database, storage)) == expected
    assert set(found(database, storage, hashes=False)) == expected - {("changed", keys[1], False)}


def test_repair_keeps_documents_and_removes_only_what_can_be_made_again(database: Settings, storage: Storage) -> None:
    old = time.time() - YOUNG_S - 1
    for area, data in (("raw", b"a document without a row"), ("processed", b"a page without a row")):
        stored = storage.put_bytes(area, data)  # type: ignore[arg-type]
        os.utime(path_of(database, stored.key), (old, old))
    assert {(kind, done) for kind, _, done in found(database, storage, repair=True)} == {("orphan", True)}
    assert found(database, storage) == []
    (name,) = rows("SELECT file_path FROM rejected_documents WHERE category = 'orphan'")[0]
    assert (database.path("rejected") / name).read_bytes() == b"a document without a row"


def test_what_was_stored_a_moment_ago_is_told_and_no_fault(database: Settings, storage: Storage) -> None:
    stored = storage.put_bytes("raw", b"its row is about to be committed")
    report = fsck(database, storage, repair=True)
    assert [(f.kind, f.where, f.repaired) for f in report.findings] == [("recent", stored.key, False)]
    assert report.clean
    assert "0 min ago" in report.findings[0].detail
    assert storage.exists(stored.key)


@pytest.mark.parametrize(("area", "name"), [("raw", "letter.pdf"), ("processed", "ab/cd/notes.txt")])
def test_a_file_that_somebody_put_into_the_store_is_named_and_left_alone(
    database: Settings, storage: Storage, area: str, name: str
) -> None:
    path = database.path("raw" if area == "raw" else "processed") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"?")
    age(path)
    assert found(database, storage, repair=True) == [("foreign", f"{area}/{name}", False)]
    assert path.read_bytes() == b"?"


def test_a_file_of_quarantine_without_a_row_and_a_row_without_its_file(database: Settings, storage: Storage) -> None:
    folder = database.path("rejected")
    (folder / "strange.pdf").write_bytes(b"?")
    (name,) = rows("SELECT file_path FROM rejected_documents WHERE category = 'corrupt'")[0]
    (folder / name).unlink()
    assert found(database, storage) == [("missing", f"rejected/{name}", False)]  # the other may get its row yet
    age(folder / "strange.pdf")
    assert set(found(database, storage)) == {
        ("orphan", "rejected/strange.pdf", False),
        ("missing", f"rejected/{name}", False),
    }


def test_rows_are_compared_in_blocks(database: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("check", "stored", "derived"):
        monkeypatch.setattr(f"dsdc.pipeline.fsck.{module}.BLOCK", 2)
    steps: list[tuple[int, int]] = []
    report = fsck(database, storage, progress=lambda done, still: steps.append((done, still)))
    assert (report.documents, report.images, report.rejected, report.files) == (4, 3, 2, 6)
    assert steps[-1] == (9, 0)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_page_image_that_is_gone_or_changed_is_made_again(damage: str, database: Settings, storage: Storage) -> None:
    keys = [key for (key,) in rows("SELECT image_file FROM processed_images ORDER BY id LIMIT 2")]
    before = [storage.read(key) for key in keys]
    for key in keys:
        if damage == "missing":
            path_of(database, key).unlink()
        else:
            path_of(database, key).write_bytes(b"something else")
    assert set(found(database, storage)) == {(damage, key, False) for key in keys}
    assert set(found(database, storage, repair=True)) == {(damage, key, True) for key in keys}
    assert [storage.read(key) for key in keys] == before
    assert found(database, storage) == []


def test_a_page_image_that_comes_out_otherwise_is_only_reported(database: Settings, storage: Storage) -> None:
    class Darker(LineRenderer):
        def pages(self, source: Path, media_type: str, *, first: int = 1):
            (source.parent / "lines").write_text("one")
            return super().pages(source.parent / "lines", media_type, first=first)

    (key,) = rows("SELECT image_file FROM processed_images ORDER BY id LIMIT 1")[0]
    path_of(database, key).unlink()
    report = fsck(database, storage, repair=True, renderer=Darker())
    assert [(f.kind, f.where, f.repaired) for f in report.findings if f.kind == "missing"] == [("missing", key, False)]
    assert not report.clean
    assert not storage.exists(key)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_document_that_is_gone_or_changed_comes_back_when_its_file_is_brought_again(
    damage: str, database: Settings, storage: Storage
) -> None:
    (key,) = rows(
        "SELECT d.file_path FROM original_documents d JOIN sightings s ON s.document_id = d.id WHERE s.name = '1.png'"
    )[0]
    if damage == "missing":
        path_of(database, key).unlink()
    else:
        path_of(database, key).write_bytes(b"something else")
    assert found(database, storage, repair=True) == [(damage, key, False)]
    (database.path("to_ingest") / "again.png").write_bytes(picture(1))
    assert ingest_inbox().duplicates == 1
    assert storage.read(key) == picture(1)
    assert found(database, storage) == []


def test_a_document_that_failed_for_its_missing_bytes_is_tried_again_when_they_are_back(
    database: Settings, storage: Storage
) -> None:
    (database.path("to_ingest") / "new.png").write_bytes(picture(50))
    ingest_inbox()
    (key, document) = rows("SELECT file_path, id FROM original_documents ORDER BY import_datetime DESC LIMIT 1")[0]
    path_of(database, key).unlink()
    execute(
        "INSERT INTO stage_attempts (stage, processor_id, input_id, document_id, state, category, message)"
        f" SELECT 'render', max(id), '{document}', '{document}', 'failed', 'storage', 'gone' FROM processors"
        " WHERE stage = 'render'"
    )
    assert found(database, storage, repair=True) == [
        ("missing", key, False),
        ("unfinished", f"document {document}", False),
    ]
    (database.path("to_ingest") / "again.png").write_bytes(picture(50))
    ingest_inbox()
    assert run_stage("render", assembly=_assembly(database, storage)).done == 1
    assert found(database, storage) == []


def test_a_page_without_its_row_between_others_is_filled_in(database: Settings, storage: Storage) -> None:
    frames = [Image.new("L", (40, 40), shade) for shade in (10, 20, 30)]
    frames[0].save(database.path("to_ingest") / "three.tif", save_all=True, append_images=frames[1:])
    ingest_inbox()
    run_all(database, storage)
    before = rows("SELECT page, image_sha256 FROM processed_images ORDER BY document_id, page")
    (document,) = rows("SELECT id FROM original_documents WHERE media_type = 'image/tiff'")[0]
    for table in ("embeddings", "processed_texts", "raw_texts"):
        execute(f"DELETE FROM {table}")
    execute("DELETE FROM stage_attempts WHERE stage <> 'render'")
    execute(f"DELETE FROM processed_images WHERE document_id = '{document}' AND page = 2")
    assert found(database, storage) == [("hole", f"document {document}", False)]
    assert found(database, storage, repair=True) == [("hole", f"document {document}", True)]
    assert rows("SELECT page, image_sha256 FROM processed_images ORDER BY document_id, page") == before
    execute(f"DELETE FROM processed_images WHERE document_id = '{document}' AND page = 3")
    assert found(database, storage, repair=True) == [("hole", f"document {document}", True)]
    assert found(database, storage) == []
    execute(f"DELETE FROM processed_images WHERE document_id = '{document}' AND page = 2")
    execute(
        "UPDATE stage_attempts SET category = 'partial', message = 'Without page 2.' WHERE input_id = '"
        + document
        + "'"
    )
    assert [kind for kind, _, _ in found(database, storage)] == []


CHAIN = {  # stage -> its table, what follows from it
    "embed-text": ("embeddings", ()),
    "embed-image": ("embeddings", ()),
    "clean": ("processed_texts", ("embed-text",)),
    "text": ("raw_texts", ("embed-text", "clean")),
    "render": ("processed_images", ("embed-text", "clean", "text", "embed-image")),
}


def forget(stage: str) -> None:
    """Remove a stage's rows; the queue still says that they were made."""
    only = {
        "embed-image": " WHERE processed_image_id IS NOT NULL",
        "embed-text": " WHERE processed_text_id IS NOT NULL",
    }
    execute(f"DELETE FROM {CHAIN[stage][0]}{only.get(stage, '')}")


@pytest.mark.parametrize("stage", CHAIN)
def test_work_that_is_done_without_its_row_is_done_again(stage: str, database: Settings, storage: Storage) -> None:
    run_all(database, storage)
    count = f"SELECT count(*) FROM {CHAIN[stage][0]}"
    before = rows(count)
    for later in CHAIN[stage][1]:
        forget(later)
        execute(f"DELETE FROM stage_attempts WHERE stage = '{later}'")
    forget(stage)
    lost = found(database, storage)
    assert {(kind, where.split()[0]) for kind, where, _ in lost if kind != "orphan"} == {("underived", stage)}
    assert all(done for _, _, done in found(database, storage, repair=True))
    run_all(database, storage)
    assert rows(count) == before
    assert found(database, storage) == []


def test_work_whose_input_is_gone_too_is_only_reported(database: Settings, storage: Storage) -> None:
    run_all(database, storage)
    for stage in ("embed-text", "clean", "text"):
        forget(stage)
    kinds = {(where.split()[0], done) for _, where, done in found(database, storage, repair=True)}
    assert kinds == {("text", True), ("clean", False), ("embed-text", False)}
    run_all(database, storage)
    assert {where.split()[0] for _, where, _ in found(database, storage)} == {"clean", "embed-text"}


def test_a_document_that_cannot_be_rendered_leaves_the_store(database: Settings, storage: Storage) -> None:
    (document,) = rows("SELECT id FROM original_documents WHERE state = 'stored' ORDER BY id LIMIT 1")[0]
    execute(
        "UPDATE stage_attempts SET state = 'failed', category = 'corrupt', message = 'No page.', failures = 2"
        f" WHERE input_id = '{document}'"
    )
    assert found(database, storage) == [("unfinished", f"document {document}", False)]
    assert found(database, storage, repair=True) == [("unfinished", f"document {document}", True)]
    assert found(database, storage) == []
    assert rows(f"SELECT category, attempts FROM rejected_documents WHERE document_id = '{document}'") == [
        ("corrupt", 2)
    ]


def test_bytes_of_a_rejected_document_leave_the_store_once_quarantine_has_them(
    database: Settings, storage: Storage
) -> None:
    document, key, name = rows(
        "SELECT d.id, d.file_path, r.file_path FROM original_documents d JOIN rejected_documents r ON r.sha256 = d.id"
    )[0]
    kept = database.path("rejected") / name
    storage.put_bytes("raw", kept.read_bytes())
    kept.unlink()
    assert set(found(database, storage)) == {("leftover", key, False), ("missing", f"rejected/{name}", False)}
    assert found(database, storage, repair=True) == [("leftover", key, True)]
    assert kept.is_file()
    assert not storage.exists(key)
    assert found(database, storage) == []
    execute(f"UPDATE rejected_documents SET released = now() WHERE document_id = '{document}'")
    storage.put_bytes("raw", kept.read_bytes())
    report = set(found(database, storage, repair=True))
    assert {("leftover", key, False), ("missing", f"document {document}", False)} <= report, "nothing else has them"
    assert storage.exists(key)


def test_what_was_released_leaves_quarantine_once_the_store_has_it(database: Settings, storage: Storage) -> None:
    (document,) = rows("SELECT id FROM original_documents WHERE state = 'stored' ORDER BY id LIMIT 1")[0]
    reject_document(database, storage, document, stage="render", category="corrupt", message="No page.")
    (name,) = rows(f"SELECT file_path FROM rejected_documents WHERE document_id = '{document}'")[0]
    kept = database.path("rejected") / name
    copy = kept.read_bytes()
    (number,) = rows(f"SELECT id FROM rejected_documents WHERE document_id = '{document}'")[0]
    release([number])
    assert not kept.exists()
    assert found(database, storage) == []
    kept.write_bytes(copy)
    assert found(database, storage, repair=True) == [("leftover", f"rejected/{name}", True)]
    assert not kept.exists()


def test_every_file_of_quarantine_has_its_reason(database: Settings, storage: Storage) -> None:
    names = [name for (name,) in rows("SELECT file_path FROM rejected_documents ORDER BY id")]
    folder = database.path("rejected")
    (folder / f"{names[0]}.reason.json").unlink()
    (folder / f"{names[1]}.reason.json").write_text("{half")
    expected = {("reason", f"rejected/{name}", True) for name in names}
    assert set(found(database, storage, repair=True)) == expected
    assert found(database, storage) == []
    stray = folder / "nothing.pdf.reason.json"
    stray.write_text("{}")
    age(stray)
    assert found(database, storage, repair=True) == [("leftover", "rejected/nothing.pdf.reason.json", True)]
    assert not stray.exists()


def test_files_of_quarantine_without_a_row_get_one_unless_the_store_has_them(
    database: Settings, storage: Storage
) -> None:
    folder = database.path("rejected")
    for name, data in (("strange.pdf", b"?"), ("known.png", picture(1))):
        (folder / name).write_bytes(data)
        age(folder / name)
    assert set(found(database, storage, repair=True)) == {
        ("orphan", "rejected/strange.pdf", True),
        ("orphan", "rejected/known.png", True),
    }
    assert found(database, storage) == []
    assert rows("SELECT original_name FROM rejected_documents WHERE category = 'orphan'") == [("strange.pdf",)]
    assert not (folder / "known.png").exists()


def test_copies_that_were_broken_off_are_removed_when_they_are_old(database: Settings, storage: Storage) -> None:
    drafts = [
        database.path("raw") / ".incoming" / "tmp1",
        database.path("processed") / ".incoming" / "tmp2",
        database.path("rejected") / ".incoming-3",
    ]
    for draft in drafts:
        draft.parent.mkdir(exist_ok=True)
        draft.write_bytes(b"half")
    assert found(database, storage, repair=True) == []
    for draft in drafts:
        age(draft)
    assert [(kind, done) for kind, _, done in found(database, storage, repair=True)] == [("draft", True)] * 3
    assert not any(draft.exists() for draft in drafts)


def test_a_document_that_nobody_saw_come(database: Settings, storage: Storage) -> None:
    stored = storage.put_bytes("raw", picture(77))
    execute(
        "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
        f" VALUES ('{stored.sha256}', '{stored.key}', 'x.png', 'image/png', {stored.size})"
    )
    assert found(database, storage) == [("unseen", f"document {stored.sha256}", False)]


def test_an_orphan_that_arrives_meanwhile_stays(
    database: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = storage.put_bytes("raw", picture(88))
    age(path_of(database, stored.key))

    def and_then_it_arrives(*args: object, **options: object) -> object:
        rejection = reject_file(*args, **options)  # type: ignore[arg-type]
        (database.path("to_ingest") / "x.png").write_bytes(picture(88))
        ingest_inbox()
        return rejection

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("dsdc.pipeline.fsck.stored.reject_file", and_then_it_arrives)
        assert found(database, storage, repair=True) == [("orphan", stored.key, True)]
    assert storage.read(stored.key) == picture(88)
    assert rows(f"SELECT state FROM original_documents WHERE id = '{stored.sha256}'") == [("stored",)]
    assert found(database, storage) == []
