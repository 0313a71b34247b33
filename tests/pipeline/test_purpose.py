"""When a run of ingest and process is red, and when there is something new to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsdc.db.repositories.labels import Labels
from dsdc.db.session import transaction
from dsdc.errors import PurposeFailed
from dsdc.pipeline.arrivals import simulate_arrivals
from dsdc.pipeline.checks import check_disk, check_stuck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.purpose import _trainable, check_purpose, labelled_change, open_work
from dsdc.settings import Settings


def report(stage: str = "render", **counts: Any) -> dict[str, Any]:
    return dict.fromkeys(("done", "partial", "skipped", "failed", "retried", "lost"), 0) | {
        "stage": stage,
        "categories": {},
        **counts,
    }


def test_an_empty_run_meets_its_purpose(database: Settings) -> None:
    assert check_purpose({}, []) == {"ingest": {}, "stages": {}, "open": dict.fromkeys(open_work(), 0)}


def test_workers_of_a_stage_are_added_up(database: Settings) -> None:
    reports = [
        report(done=5, failed=1, categories={"corrupt": 1}),
        report(done=4, failed=2, categories={"corrupt": 1, "encrypted": 1}),
    ]
    stages = check_purpose({"taken": 12}, reports)["stages"]
    assert (stages["render"]["done"], stages["render"]["failed"]) == (9, 3)
    assert stages["render"]["categories"] == {"corrupt": 2, "encrypted": 1}


@pytest.mark.parametrize(
    ("counts", "red"),
    [
        ({"failed": 2}, False),  # two documents, both broken: that happens
        ({"failed": 3}, True),  # everything fails
        ({"failed": 3, "done": 1}, False),
        ({"failed": 3, "skipped": 1}, False),
        ({"failed": 9, "done": 1}, False),
        ({"failed": 10, "done": 10}, False),
        ({"failed": 11, "done": 10}, True),
    ],
)
def test_failures_are_the_documents_until_they_are_too_many(
    database: Settings, counts: dict[str, int], red: bool
) -> None:
    if not red:
        check_purpose({}, [report(**counts)])
        return
    with pytest.raises(PurposeFailed, match="Stage render"):
        check_purpose({}, [report(**counts, categories={"error": counts["failed"]})])


def test_open_work_is_red(database: Settings) -> None:
    simulate_arrivals(count=1, seed=1)
    ingest_inbox()
    assert open_work()["render"] == 1
    with pytest.raises(PurposeFailed, match="render 1"):
        check_purpose({}, [])


def test_files_that_nobody_may_read_are_red_when_nothing_else_came(database: Settings) -> None:
    with pytest.raises(PurposeFailed, match="None of 3 files"):
        check_purpose({"taken": 0, "skipped": 3}, [])
    check_purpose({"taken": 1, "skipped": 3}, [])


def test_labels_without_embeddings_are_no_news(database: Settings) -> None:
    simulate_arrivals(count=4, seed=1)
    ingest_inbox()
    with transaction() as session:
        assert len(Labels(session).current("rvl-cdip")) == 4
    assert labelled_change() == {}


def test_news_are_what_training_would_take() -> None:
    labels = {f"a{n}": "letter" for n in range(4)} | {f"b{n}": "memo" for n in range(4)} | {"c": "form"}
    assert _trainable(labels, {}, 4) == {"documents": 8, "new": 8}
    assert _trainable(labels, {}, 1) == {"documents": 9, "new": 9}, "neighbours leave no class out"
    assert _trainable(labels, labels, 4) == {}, "the snapshot holds it all"
    without_form = {k: v for k, v in labels.items() if v != "form"}
    assert _trainable(labels, without_form, 4) == {}, "a class too small to train on is not news for ever"
    corrected = labels | {"a0": "memo"}
    assert _trainable(corrected, without_form, 3) == {"documents": 8, "new": 1}
    assert _trainable({k: v for k, v in labels.items() if v == "memo"}, {}, 4) == {}, "one class is none"


def test_unlabelled_arrivals_give_nothing_away(project: Path) -> None:
    assert sum(simulate_arrivals(count=3, seed=2, labelled=False).values()) == 3
    names = sorted(path.name for path in (project / "data" / "to_ingest").iterdir())
    assert [name.rsplit(".", 1)[0] for name in names] == [f"arrival-2-{n:05d}" for n in (1, 2, 3)]


def test_a_full_disk_and_forgotten_files_are_told(database: Settings) -> None:
    assert set(check_disk(0)) == {"to_ingest", "raw", "processed", "rejected", "models", "logs"}
    with pytest.raises(PurposeFailed, match="to_ingest"):
        check_disk(10**9)
    simulate_arrivals(count=1, seed=1)
    assert not any(check_stuck(60).values())
    with pytest.raises(PurposeFailed, match="files in data/to_ingest: 1"):
        check_stuck(0)
    ingest_inbox()
    assert check_stuck(60)["render"] == 1, "waiting, but not for long"
