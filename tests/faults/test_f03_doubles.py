"""The same bytes more than once, at once or one after the other: one document, and every arrival on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dsdc.failpoints import FailpointReached
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import discard_released, reject_document
from dsdc.pipeline.release import release
from dsdc.settings import Settings
from dsdc.storage import open_storage
from tests.faults.inputs import arrive, picture
from tests.faults.invariant import check_invariant, final_state, rows, sha256_of
from tests.faults.processes import armed, resume, run, start, start_paused, wait

T = TypeVar("T")
TEXT = b"Dear Sir, this is plain text.\n" * 20


def take() -> None:
    ingest_inbox(author="test")


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


@pytest.mark.parametrize("place", ["ingest.opened", "ingest.stored", "ingest.before_commit", "ingest.committed"])
def test_several_ingesters_at_once(place: str, inbox: Path, database: Settings) -> None:
    arrived = []
    for number in range(24):
        data = TEXT if number % 8 == 7 else picture(number // 2)
        arrive(inbox, f"{'invoice/' if number % 3 else ''}{number}.png", data)
        arrived.append(sha256_of(data))
    children = [start(take, f"{place}=sleep:0.02") for _ in range(3)]
    assert [wait(child) for child in children] == [0, 0, 0]
    check_invariant(database, arrived)
    assert rows("SELECT count(*) FROM sightings") == [(21,)]
    assert rows("SELECT count(*) FROM labels l WHERE superseded_by IS NULL") == rows(
        "SELECT count(DISTINCT document_id) FROM sightings WHERE folder = 'invoice'"
    )
    assert rows("SELECT attempts FROM rejected_documents WHERE original_name = '7.png'") <= [(3,)]


def test_twice_in_a_batch_and_again_under_another_name(inbox: Path, database: Settings) -> None:
    for name in ("a.png", "b.png", "folder/a.png"):
        arrive(inbox, name, picture(1))
    arrive(inbox, "other.png", picture(2))
    report = ingest_inbox()
    assert (report.taken, report.new, report.duplicates) == (4, 2, 2)
    arrive(inbox, "later.png", picture(1))
    assert ingest_inbox().duplicates == 1
    check_invariant(database, [sha256_of(picture(1))] * 4 + [sha256_of(picture(2))])


def twice(work: Callable[[], T], **_: Any) -> T:
    """As after a COMMIT whose answer was lost: the transaction is run again."""
    work()
    return work()


def test_a_commit_whose_answer_is_lost(inbox: Path, database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = database.root / "archive"
    (archive / "memo").mkdir(parents=True)
    for name in ("memo/a.png", "memo/b.png"):
        (archive / name).write_bytes(picture(1))
    arrive(inbox, "invoice/c.png", picture(3))
    arrive(inbox, "x.pdf", TEXT)
    for module in ("intake", "quarantine", "labels_files", "release"):
        monkeypatch.setattr(f"dsdc.pipeline.{module}.retrying", twice)
    ingest_inbox(author="test")
    ingest_inbox(folder=archive, source="import", keep=True, author="test")
    assert rows("SELECT name, source, count(*) FROM sightings GROUP BY 1, 2 ORDER BY 1") == [
        ("a.png", "import", 1),
        ("b.png", "import", 1),
        ("c.png", "inbox", 1),
    ]
    assert rows("SELECT label FROM labels ORDER BY 1") == [("invoice",), ("memo",)]
    assert rows("SELECT attempts FROM rejected_documents") == [(1,)]
    reject(database, sha256_of(picture(3)))
    assert rows("SELECT attempts FROM rejected_documents ORDER BY id") == [(1,), (1,)]
    (number,) = rows("SELECT id FROM rejected_documents WHERE category = 'corrupt'")[0]
    assert release([number]).released == 1
    assert rows("SELECT count(*) FROM sightings WHERE source = 'cli'") == [(1,)]
    check_invariant(database, [sha256_of(picture(3)), sha256_of(TEXT)])


def test_an_import_repeated_is_an_arrival_each_time(database: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    for _ in range(2):
        ingest_inbox(folder=tmp_path, only="a.png", source="import", keep=True)
    assert rows("SELECT count(*) FROM sightings") == [(2,)]


def test_a_label_said_again_is_no_other_label(inbox: Path, database: Settings) -> None:
    arrive(inbox, "invoice/a.png", picture(1))
    ingest_inbox(author="monday")
    before = final_state(database)["labels"]
    arrive(inbox, "invoice/b.png", picture(1))
    (inbox / "labels.csv").write_text("file,label\ninvoice/a.png,invoice\n")
    ingest_inbox(author="tuesday")
    assert final_state(database)["labels"] == before
    arrive(inbox, "memo/c.png", picture(1))
    ingest_inbox(author="wednesday")
    assert rows("SELECT label FROM current_labels") == [("memo",)]


def reject(config: Settings, document_id: str) -> None:
    reject_document(config, open_storage(config), document_id, stage="render", category="corrupt", message="No page.")


@pytest.fixture
def stored(inbox: Path, database: Settings) -> str:
    arrive(inbox, "a.png", picture(1))
    take()
    return sha256_of(picture(1))


@pytest.mark.parametrize(
    ("rejecting", "taking"),
    [
        ("quarantine.copied=sleep:0.6", ""),  # set aside when it has arrived again
        ("quarantine.recorded=sleep:0.6", ""),  # arrives between the row and the removal
        ("quarantine.before_delete=sleep:0.6", ""),  # arrives while it is removed
        ("", "ingest.stored=sleep:0.6"),  # removed between its arrival and its row
        ("", "ingest.before_commit=sleep:0.6"),
        ("", "ingest.committed=sleep:0.6"),
    ],
)
def test_a_document_that_arrives_while_it_is_set_aside(
    rejecting: str, taking: str, stored: str, inbox: Path, database: Settings
) -> None:
    arrive(inbox, "b.png", picture(1))

    def set_aside() -> None:
        reject(database, stored)

    order = [(set_aside, rejecting), (take, taking)]
    children = []
    for work, trap in order if rejecting else reversed(order):
        children.append(start(work, trap))
        time.sleep(0.25)
    assert [wait(child) for child in children] == [0, 0]
    check_invariant(database, [stored, stored])


def test_a_document_set_aside_again_while_its_release_is_tidied_up(
    stored: str, inbox: Path, database: Settings
) -> None:
    reject(database, stored)
    releasing = start_paused(release, "ingest.committed")
    assert rows("SELECT state FROM original_documents") == [("stored",)]
    rejecting = start_paused(lambda: reject(database, stored), "quarantine.copied")
    assert (resume(releasing), run(lambda: discard_released(database, [stored]))) == (0, 0)
    if resume(rejecting) != 0:  # its copy was tidied away under its hands: nothing is lost, it is done again
        check_invariant(database, [stored])
        reject(database, stored)
    check_invariant(database, [stored])
    assert rows("SELECT state FROM original_documents") == [("rejected",)]


def test_one_document_in_two_classes_met_again_after_a_crash(inbox: Path, database: Settings) -> None:
    for folder in ("invoice", "memo"):
        arrive(inbox, f"{folder}/a.png", picture(1))
    with armed("ingest.before_unlink=raise"), pytest.raises(FailpointReached):
        take()
    before = final_state(database)["labels"]
    assert len(before) == 2
    take()
    assert final_state(database)["labels"] == before
    check_invariant(database, [sha256_of(picture(1))] * 2)
