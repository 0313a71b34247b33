"""A file that is replaced, removed or written to while it is taken: what was read whole counts, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dsdc.pipeline.ingest import ingest_inbox
from dsdc.settings import Settings
from tests.faults.inputs import arrive, large_picture, picture
from tests.faults.invariant import check_invariant, files_of, rows, sha256_of
from tests.faults.processes import resume, start_paused

TEXT = b"Dear Sir, this is plain text.\n" * 20


def take() -> None:
    ingest_inbox(author="test")


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def meanwhile(place: str, change: Callable[[], object]) -> None:
    """Change something while an ingester stands still at a place."""
    child = start_paused(take, place)
    try:
        change()
    finally:
        status = resume(child)
    assert status == 0


@pytest.mark.parametrize("place", ["ingest.opened", "storage.drafted"])
def test_replaced_before_it_is_in_the_store(place: str, inbox: Path, database: Settings) -> None:
    arrive(inbox, "a.png", picture(1))
    meanwhile(place, lambda: arrive(inbox, "a.png", picture(2)))
    check_invariant(database, [sha256_of(picture(2))])
    assert rows("SELECT id FROM original_documents") == [(sha256_of(picture(2)),)]
    assert [p.name for p in files_of(database.path("raw"))] == [sha256_of(picture(2))]


@pytest.mark.parametrize("place", ["ingest.stored", "ingest.before_commit", "ingest.before_unlink"])
def test_replaced_after_it_was_stored(place: str, inbox: Path, database: Settings) -> None:
    arrive(inbox, "a.png", picture(1))
    meanwhile(place, lambda: arrive(inbox, "a.png", picture(2)))
    assert (inbox / "a.png").read_bytes() == picture(2)
    take()
    check_invariant(database, [sha256_of(picture(1)), sha256_of(picture(2))])
    assert rows("SELECT count(*) FROM sightings") == [(2,)]


@pytest.mark.parametrize("place", ["ingest.opened", "storage.drafted", "ingest.stored", "ingest.before_unlink"])
def test_removed(place: str, inbox: Path, database: Settings) -> None:
    path = arrive(inbox, "a.png", picture(1))
    arrive(inbox, "b.png", picture(2))
    meanwhile(place, path.unlink)
    was_read = place in ("ingest.stored", "ingest.before_unlink")
    assert rows("SELECT count(*) FROM original_documents") == [(2 if was_read else 1,)]
    check_invariant(database, [sha256_of(picture(2))] + [sha256_of(picture(1))] * was_read)


@pytest.mark.parametrize("size_kept", [False, True])
def test_written_to_while_it_is_copied(size_kept: bool, inbox: Path, database: Settings) -> None:
    data = large_picture(1)
    path = arrive(inbox, "a.png", data)
    changed = data[:1000] + b"changed" + data[1007:] if size_kept else data + b"changed"

    def write() -> None:
        with path.open("r+b") as file:
            file.seek(1000 if size_kept else len(data))
            file.write(b"changed")

    meanwhile("storage.drafted", write)
    take()
    assert rows("SELECT id FROM original_documents") == [(sha256_of(changed),)]
    check_invariant(database, [sha256_of(changed)])


def test_written_to_after_it_was_taken(inbox: Path, database: Settings) -> None:
    path = arrive(inbox, "a.png", picture(1))

    def write() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    meanwhile("ingest.before_unlink", write)
    take()
    check_invariant(database, [sha256_of(picture(1)), sha256_of(picture(1) + b"more")])


def test_a_refused_file_that_changes_while_it_is_set_aside(inbox: Path, database: Settings) -> None:
    arrive(inbox, "a.pdf", TEXT)
    meanwhile("ingest.opened", lambda: arrive(inbox, "a.pdf", picture(3)))
    check_invariant(database, [sha256_of(picture(3))])
    assert rows("SELECT count(*) FROM rejected_documents") == [(0,)]


def test_a_folder_that_becomes_a_link(inbox: Path, database: Settings, tmp_path: Path) -> None:
    """Between the look and the opening, the way to the file leads elsewhere: what lies there is none of ours."""
    arrive(inbox, "in/a.png", picture(1))
    arrive(inbox, "b.png", picture(2))
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "a.png").write_bytes(picture(9))

    def swap() -> None:
        (inbox / "in").rename(tmp_path / "moved")
        (inbox / "in").symlink_to(secret)

    meanwhile("ingest.opened", swap)  # while b.png is open
    assert rows("SELECT id FROM original_documents") == [(sha256_of(picture(2)),)]
    assert (secret / "a.png").exists()
    check_invariant(database, [sha256_of(picture(2))])


def test_a_labels_file_that_is_replaced_while_it_is_put_away(inbox: Path, database: Settings) -> None:
    arrive(inbox, "a.png", picture(1))
    arrive(inbox, "labels.csv", b"file,label\na.png,memo\n")
    meanwhile("ingest.manifest_kept", lambda: arrive(inbox, "labels.csv", b"file,label\na.png,invoice\n"))
    take()
    assert (inbox / "labels.csv").exists(), "whether it means the same a.png or the next one, nobody knows"
    assert rows("SELECT label FROM current_labels") == [("memo",)]
    arrive(inbox, "a.png", picture(1))
    take()
    assert not (inbox / "labels.csv").exists()
    assert rows("SELECT label FROM current_labels") == [("invoice",)]
    assert len(list((database.path("raw") / "manifests").iterdir())) == 2
