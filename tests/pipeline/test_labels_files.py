"""Labels that come before, with or after their files reach the right arrivals, and none is lost."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from dsdc import failpoints
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument
from dsdc.db.session import transaction
from dsdc.pipeline.ingest import IngestReport, ingest_inbox
from dsdc.settings import Settings
from tests.pipeline.test_ingest import picture, rows


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def arrive(inbox: Path, labels: dict[str, str] | None = None, **shades: int) -> None:
    """A labels file, and pictures `p1="shade"` as p1.png."""
    for name, shade in shades.items():
        (inbox / f"{name}.png").write_bytes(picture(shade))
    if labels is not None:
        lines = [f"{name}.png,{label}\n" for name, label in labels.items()]
        (inbox / "labels.csv").write_text("file,label\n" + "".join(lines))


def labels_by_shade(*shades: int) -> list[str | None]:
    known = dict(rows("SELECT document_id, label FROM current_labels"))
    return [known.get(sha256(picture(shade)).hexdigest()) for shade in shades]


def waiting(inbox: Path) -> bool:
    return (inbox / "labels.csv").exists()


def october(inbox: Path) -> None:
    arrive(inbox, {"p1": "invoice", "p2": "memo"}, p1=1, p2=2)
    report = ingest_inbox()
    assert (report.labelled, report.waiting) == (2, 0)
    assert not waiting(inbox)


@pytest.mark.parametrize("later", ["resume", "memo"])
def test_a_name_used_again_does_not_touch_the_earlier_document(later: str, inbox: Path) -> None:
    october(inbox)
    arrive(inbox, {"p1": "letter", "p2": later}, p1=11)  # a slow copy
    report = ingest_inbox()
    assert (report.labelled, report.waiting, report.skipped, report.reasons) == (1, 1, 0, {})
    assert "p2.png" in report.notices[0]
    assert labels_by_shade(1, 2, 11) == ["invoice", "memo", "letter"]
    assert waiting(inbox)
    arrive(inbox, p2=12)
    report = ingest_inbox()
    assert (report.labelled, report.waiting, report.notices) == (1, 0, [])
    assert labels_by_shade(1, 2, 11, 12) == ["invoice", "memo", "letter", later]
    assert not waiting(inbox)


def test_labels_ahead_of_all_their_files(inbox: Path, database: Settings) -> None:
    october(inbox)
    arrive(inbox, {"p1": "letter", "p2": "form"})
    for _ in range(2):
        assert ingest_inbox().waiting == 2
    assert labels_by_shade(1, 2) == ["invoice", "memo"]
    arrive(inbox, p1=11, p2=12)
    ingest_inbox()
    assert labels_by_shade(1, 2, 11, 12) == ["invoice", "memo", "letter", "form"]
    assert not waiting(inbox)
    assert len(list((database.path("raw") / "manifests").iterdir())) == 2


def test_labels_after_their_files(inbox: Path) -> None:
    arrive(inbox, p1=1, p2=2)
    ingest_inbox()
    arrive(inbox, {"p1": "invoice", "p2": "memo", "p3": "letter"}, p3=3)
    report = ingest_inbox()
    assert (report.labelled, report.waiting) == (3, 0)
    assert labels_by_shade(1, 2, 3) == ["invoice", "memo", "letter"]
    assert not waiting(inbox)


def test_a_statement_is_about_one_arrival(inbox: Path) -> None:
    """Also while the labels file waits for another of its files."""
    arrive(inbox, {"p1": "invoice", "p2": "memo"}, p1=1)
    ingest_inbox()
    arrive(inbox, p1=11)
    ingest_inbox()
    assert labels_by_shade(1, 11) == ["invoice", None]
    arrive(inbox, p2=2)
    ingest_inbox()
    assert labels_by_shade(1, 2, 11) == ["invoice", "memo", None]
    assert not waiting(inbox)


def test_a_label_is_corrected_by_bringing_its_file_again(inbox: Path) -> None:
    october(inbox)
    arrive(inbox, {"p2": "letter"})
    assert "drop" in ingest_inbox().notices[0]
    assert labels_by_shade(2) == ["memo"]
    arrive(inbox, p2=2)
    ingest_inbox()
    assert labels_by_shade(1, 2) == ["invoice", "letter"]
    assert not waiting(inbox)


def test_a_label_of_no_class_is_corrected_by_the_next_labels_file(inbox: Path) -> None:
    arrive(inbox, {"p1": "invioce"}, p1=1)
    report = ingest_inbox()
    assert (report.unknown_labels, report.waiting) == (["invioce"], 0)
    arrive(inbox, {"p1": "invoice"})
    ingest_inbox()
    assert labels_by_shade(1) == ["invoice"]
    assert not waiting(inbox)


@pytest.mark.parametrize("source", ["api", "attachment", "cli"])
def test_what_came_another_way_under_that_name_is_not_meant(source: str, inbox: Path) -> None:
    upload = NewDocument("c" * 64, "raw/cc", "p1.png", "image/png", 1)
    with transaction() as session:
        Documents(session).add([upload])
        Documents(session).sight([Arrival(upload.id, source, "p1.png")])
    arrive(inbox, {"p1": "memo"})
    assert ingest_inbox().waiting == 1
    assert rows("SELECT count(*) FROM labels") == [(0,)]


def test_a_named_file_that_is_refused_has_come(inbox: Path) -> None:
    arrive(inbox, {"p1": "memo", "p2": "form"})
    (inbox / "p1.png").write_bytes(b"")
    report = ingest_inbox()
    assert (report.rejected, report.waiting) == (1, 1)
    arrive(inbox, p2=2)
    ingest_inbox()
    assert labels_by_shade(2) == ["form"]
    assert not waiting(inbox)


def test_two_labels_files_about_one_file(inbox: Path) -> None:
    (inbox / "a").mkdir()
    (inbox / "a" / "x.png").write_bytes(picture(1))
    (inbox / "a" / "labels.csv").write_text("file,label\nx.png,memo\n")
    (inbox / "labels.csv").write_text("file,label\na/x.png,form\n")
    assert ingest_inbox().waiting == 0
    assert labels_by_shade(1) == ["form"]
    assert not waiting(inbox)
    assert not (inbox / "a" / "labels.csv").exists()


@pytest.mark.parametrize("place", ["ingest.before_unlink", "ingest.manifest_kept"])
def test_a_run_cut_short_applies_each_statement_once(place: str, inbox: Path) -> None:
    october(inbox)
    arrive(inbox, {"p1": "letter", "p2": "form"}, p1=11, p2=12)
    failpoints.arm(f"{place}=raise")
    try:
        with pytest.raises(failpoints.FailpointReached):
            ingest_inbox()
    finally:
        failpoints.arm("")
    report: IngestReport = ingest_inbox()
    assert report.waiting == 0
    assert labels_by_shade(1, 2, 11, 12) == ["invoice", "memo", "letter", "form"]
    assert not waiting(inbox)
