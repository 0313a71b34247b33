"""The check finds what does not agree, names it, and repairs only what is safe."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.pipeline.fsck import YOUNG_S, fsck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings
from dsdc.storage import Storage, open_storage
from tests.fake_processors import SameCleaner, SmallEmbedder, WidthReader
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
    processors = ProcessorSet(PageRenderer(config.render), WidthReader(), SameCleaner(), SmallEmbedder())
    return bind(processors, register(processors), storage)


def path_of(config: Settings, key: str) -> Path:
    area, rest = key.split("/", 1)
    return config.path("raw" if area == "raw" else "processed") / rest


def found(config: Settings, storage: Storage, **options: bool) -> list[tuple[str, str, bool]]:
    return [(f.kind, f.where, f.repaired) for f in fsck(config, storage, **options).findings]


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


def test_what_was_stored_a_moment_ago_is_no_orphan(database: Settings, storage: Storage) -> None:
    storage.put_bytes("raw", b"its row is about to be committed")
    assert found(database, storage) == []


def test_a_file_of_quarantine_without_a_row_and_a_row_without_its_file(database: Settings, storage: Storage) -> None:
    folder = database.path("rejected")
    (folder / "strange.pdf").write_bytes(b"?")
    (name,) = rows("SELECT file_path FROM rejected_documents WHERE category = 'corrupt'")[0]
    (folder / name).unlink()
    assert set(found(database, storage)) == {
        ("orphan", "rejected/strange.pdf", False),
        ("missing", f"rejected/{name}", False),
    }
