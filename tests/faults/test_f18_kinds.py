"""What is no regular file of its own is refused and told of; nothing is followed, and nothing blocks."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dsdc.pipeline.inbox import open_regular, scan
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.settings import Settings
from tests.faults.inputs import arrive, picture
from tests.faults.invariant import check_invariant, rows, sha256_of


@pytest.fixture
def inbox(database: Settings) -> Path:
    return database.path("to_ingest")


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have only 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero, which has no end
    except PermissionError:
        pytest.skip("only root may make a device")


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_loop(path: Path) -> None:
    path.symlink_to(path.parent)


def make_hard_link(path: Path) -> None:
    other = elsewhere(path)
    other.write_bytes(picture(7))
    path.hardlink_to(other)


def elsewhere(path: Path) -> Path:
    """Outside the inbox, in the same file system."""
    return next(p for p in path.parents if p.name == "to_ingest").parent / "elsewhere.png"


@pytest.mark.parametrize(
    "make", [make_link, make_loop, make_hard_link, os.mkfifo, make_socket, make_device], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("name", ["x.png", "labels.csv", "folder/x.png"])
def test_refused_and_told_of(name: str, make: Callable[[Path], None], inbox: Path, database: Settings) -> None:
    path = inbox / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    arrive(inbox, "good.png", picture(1))
    report = ingest_inbox()
    if name == "labels.csv" and make is make_hard_link:
        assert "no labels file" in report.reasons[str(path)]
    else:
        assert "not a regular file" in report.reasons[str(path)] or "hard link" in report.reasons[str(path)]
    assert (report.taken, report.skipped, report.rejected) == (1, 1, 0)
    assert os.path.lexists(path)
    assert rows("SELECT id FROM original_documents") == [(sha256_of(picture(1)),)]
    if make is make_hard_link:
        assert elsewhere(path).read_bytes() == picture(7)
        return
    check_invariant(database, [sha256_of(picture(1))])


def test_a_hard_link_whose_other_name_is_gone_is_a_file_like_any_other(inbox: Path, database: Settings) -> None:
    path = inbox / "x.png"
    make_hard_link(path)
    assert ingest_inbox().skipped == 1
    elsewhere(path).unlink()
    report = ingest_inbox()
    assert (report.taken, report.skipped, report.reasons) == (1, 0, {})
    check_invariant(database, [sha256_of(picture(7))])


def test_an_import_copies_files_with_several_names(database: Settings, tmp_path: Path) -> None:
    """Nothing is removed there, and archives that keep equal files once are common."""
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png").hardlink_to(folder / "a.png")
    (folder / "c.png").symlink_to(folder / "a.png")
    report = ingest_inbox(folder=folder, source="import", keep=True)
    assert (report.taken, report.new, report.skipped) == (2, 1, 1)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link"):
        with pytest.raises(OSError), open_regular(tmp_path / name):
            pass


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_folders_and_files_that_may_not_be_read_are_told_of() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "closed").mkdir()
        (root / "closed" / "a.png").write_bytes(picture(1))
        (root / "listed").mkdir()
        (root / "listed" / "b.png").write_bytes(picture(2))
        (root / "good.png").write_bytes(picture(3))
        (root / "closed").chmod(0o000)
        (root / "listed").chmod(0o744)  # its names may be read, nothing behind them
        skipped: dict[str, str] = {}
        with as_nobody():
            found = scan(root, lambda path, reason: skipped.update({path.name: reason}))
        (root / "closed").chmod(0o755)
        assert [f.name for f in found] == ["good.png"]
        assert {name: reason.split(":")[0] for name, reason in skipped.items()} == {
            "closed": "cannot be listed",
            "b.png": "cannot be looked at",
        }


def test_a_file_that_cannot_be_read_is_skipped_and_the_rest_goes_on(inbox: Path, database: Settings) -> None:
    arrive(inbox, "a.png", picture(1))
    arrive(inbox, "folder/b.png", picture(2))
    (inbox / "a.png").chmod(0o000)
    (inbox / "folder").chmod(0o000)
    try:
        report = ingest_inbox()
    finally:
        (inbox / "folder").chmod(0o755)
    if os.geteuid() == 0:
        assert report.taken == 2  # nothing is closed to root
    else:
        assert (report.taken, report.skipped) == (0, 2)
    check_invariant(database, [sha256_of(picture(1)), sha256_of(picture(2))])


def test_an_inbox_that_is_not_there(database: Settings) -> None:
    database.path("to_ingest").rmdir()
    assert ingest_inbox().as_dict()["taken"] == 0
