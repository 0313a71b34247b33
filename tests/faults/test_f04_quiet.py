"""A file is taken only when it is complete: its writer may pause, and the clock of the host may jump."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dsdc.pipeline.inbox import CLOCK_DOUBT_S, Found, Watch, being_written, open_regular, scan
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.settings import Settings, settings
from tests.faults.inputs import arrive, picture
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.projects import forget_settings

QUIET_S = 0.3


@pytest.fixture
def inbox(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", str(QUIET_S))
    forget_settings()
    return settings().path("to_ingest")


def test_a_writer_that_pauses_for_long_is_waited_for(inbox: Path, database: Settings) -> None:
    """Far longer than `quiet_s`: only the open file tells that more is to come."""
    data = picture(1, 200)
    with (inbox / "slow.png").open("wb") as file:
        file.write(data[:100])
        file.flush()
        time.sleep(QUIET_S)
        report = ingest_inbox()
        assert (report.taken, report.rejected, report.unquiet) == (0, 0, 1)
        file.write(data[100:])
    assert ingest_inbox().taken == 1
    check_invariant(database, [sha256_of(data)])


def test_a_writer_that_opens_and_closes_for_each_piece_is_waited_for(
    inbox: Path, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", "2")  # a busy machine may hold up the writer for a while
    forget_settings()
    data, over = picture(1, 100), threading.Event()

    def write() -> None:
        for start in range(0, len(data), 4):
            with (inbox / "slow.png").open("ab") as file:
                file.write(data[start : start + 4])
            time.sleep(0.05)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        ingest_inbox()
    writer.join()
    ingest_inbox()
    assert rows("SELECT id FROM original_documents") == [(sha256_of(data),)]
    check_invariant(database, [sha256_of(data)])


def test_a_file_that_arrives_by_a_rename_is_taken_in_the_same_run(inbox: Path, database: Settings) -> None:
    arrive(inbox, "whole.png", picture(1))
    started = time.monotonic()
    assert ingest_inbox().taken == 1
    assert QUIET_S <= time.monotonic() - started < 10
    check_invariant(database, [sha256_of(picture(1))])


def test_a_labels_file_is_read_when_it_is_complete(inbox: Path) -> None:
    arrive(inbox, "a.png", picture(1))
    with (inbox / "labels.csv").open("w") as file:
        file.write("file,label\na.png,form")
        file.flush()
        ingest_inbox()
        assert (inbox / "labels.csv").exists()
        file.seek(0)
        file.write("file,label\na.png,invoice\n")
    ingest_inbox()
    assert not (inbox / "labels.csv").exists()
    assert rows("SELECT label FROM current_labels") == [("invoice",)]


class Clocks:
    """The host's clock, which somebody sets, and one that nobody can."""

    def __init__(self) -> None:
        self.jump_s = 0.0
        self.steady_s = 1000.0

    def watch(self, quiet_s: float) -> Watch:
        return Watch(quiet_s, now_s=lambda: time.time() + self.jump_s, steady_s=lambda: self.steady_s)


def found(folder: Path) -> Found:
    (only,) = scan(folder, lambda path, reason: None)
    return only


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, -43_200.0, 43_200.0])
def test_a_clock_that_jumps_neither_hurries_nor_holds_up(jump_s: float, tmp_path: Path) -> None:
    arrive(tmp_path, "a.png", picture(1))
    clocks = Clocks()
    clocks.jump_s = jump_s
    watch = clocks.watch(2.0)
    assert not watch.quiet(found(tmp_path))
    clocks.steady_s += 1.9
    assert not watch.quiet(found(tmp_path))
    clocks.steady_s += 0.2
    assert watch.quiet(found(tmp_path))


def test_any_change_starts_the_wait_again(tmp_path: Path) -> None:
    path = arrive(tmp_path, "a.png", picture(1))
    clocks = Clocks()
    watch = clocks.watch(2.0)
    assert not watch.quiet(found(tmp_path))
    clocks.steady_s += 3
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # which many a kernel moves a few hundred times a second
        path.write_bytes(picture(2))  # as long as the first, and with its times put back
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not watch.quiet(found(tmp_path))
    clocks.steady_s += 3
    assert watch.quiet(found(tmp_path))


def test_what_has_lain_there_for_days_is_taken_at_once(tmp_path: Path) -> None:
    arrive(tmp_path, "a.png", picture(1))
    clocks = Clocks()
    clocks.jump_s = CLOCK_DOUBT_S + 3
    assert clocks.watch(2.0).quiet(found(tmp_path))


def test_who_writes_is_known_and_not_disturbed(tmp_path: Path) -> None:
    path = arrive(tmp_path, "a.png", picture(1))
    with path.open("ab") as writer, open_regular(path) as file:
        assert being_written(file, tmp_path)
        writer.write(b"more")
    with open_regular(path) as file, path.open("rb"):
        assert not being_written(file, tmp_path)
    with path.open("ab") as writer:
        writer.write(b"and more")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]
