"""`dsdc import`: an archive comes in with its labels, or the command says what is wrong and fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dsdc.cli.main import app
from dsdc.errors import NotFound, PurposeFailed
from dsdc.settings import Settings
from tests.pipeline.test_ingest import picture, rows
from tests.pipeline.test_release import command_line

__all__ = ["command_line"]

pytestmark = pytest.mark.usefixtures("command_line")

ARCHIVE = {"a.png": 1, "deep/b.png": 2, "c.png": 3}


@pytest.fixture
def archive(database: Settings, tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    put(folder, ARCHIVE)
    return folder


def put(folder: Path, files: dict[str, int]) -> None:
    for name, shade in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(shade))


def bring(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments), "--json"])


def report(result: Result) -> dict[str, Any]:
    (told,) = json.loads(result.stdout)
    return dict(told)


def labels() -> dict[str, str | None]:
    """Name below the archive -> label."""
    query = (
        "SELECT ltrim(s.folder || '/' || s.name, '/'), l.label FROM sightings s"
        " LEFT JOIN current_labels l ON l.document_id = s.document_id"
    )
    return dict(rows(query))


def test_csv_takes_what_is_listed(archive: Path) -> None:
    (archive / "list.csv").write_text("file,label\na.png,memo\ndeep/b.png,Invoice\n")
    result = bring("csv", archive, "--labels", archive / "list.csv")
    assert result.exit_code == 0
    assert labels() == {"a.png": "memo", "deep/b.png": "invoice"}
    told = report(result)
    assert (told["taken"], told["labelled"], told["rejected"], told["missing"]) == (2, 2, 0, [])


def test_csv_tells_of_what_is_listed_and_not_there(archive: Path) -> None:
    (archive / "list.csv").write_text("file,label\na.png,memo\ngone.png,memo\n../outside.png,memo\n")
    result = bring("csv", archive, "--labels", archive / "list.csv")
    assert isinstance(result.exception, PurposeFailed)
    assert "2 of 3 listed files" in str(result.exception)
    assert report(result)["missing"] == ["gone.png", "../outside.png"]
    assert labels() == {"a.png": "memo"}


@pytest.mark.parametrize("kind", ["csv", "folder", "rvl-cdip"])
@pytest.mark.parametrize("data", [None, b"a,b\n1,2\n", "file,label\né.png,memo\n".encode("latin-1")])
def test_a_labels_file_that_cannot_be_read_stops_the_import(kind: str, data: bytes | None, archive: Path) -> None:
    target = archive.parent / "list.csv"
    if data is not None:
        target.write_bytes(data)
    result = bring(kind, archive, "--labels", target)
    assert isinstance(result.exception, NotFound)
    assert "list.csv" in str(result.exception)
    assert rows("SELECT count(*) FROM original_documents") == [(0,)]


def test_the_labels_file_is_no_document_of_the_folder(archive: Path) -> None:
    (archive / "list.csv").write_text("file,label\na.png,memo\n")
    told = report(bring("folder", archive, "--labels", archive / "list.csv"))
    assert (told["taken"], told["labelled"], told["rejected"]) == (3, 1, 0)


@pytest.fixture
def rvl(database: Settings, tmp_path: Path) -> Path:
    folder = tmp_path / "rvl-cdip"
    put(folder, {f"images/imagesa/a/{n}.png": n for n in range(16)} | {"images/imagesa/unlisted.png": 99})
    (folder / "labels").mkdir()
    for part, numbers in {"train": range(10), "val": range(10, 13), "test": range(13, 16)}.items():
        (folder / "labels" / f"{part}.txt").write_text("".join(f"imagesa/a/{n}.png {n}\n" for n in numbers))
    return folder


def test_rvl_cdip_as_it_is_published(rvl: Path) -> None:
    result = bring("rvl-cdip", rvl)
    assert result.exit_code == 0
    told = report(result)
    assert (told["taken"], told["labelled"], told["rejected"], told["missing"]) == (16, 16, 0, [])
    found = labels()
    assert found["images/imagesa/a/0.png"] == "letter"
    assert found["images/imagesa/a/8.png"] == "file_folder"
    assert found["images/imagesa/a/11.png"] == "invoice"
    assert found["images/imagesa/a/15.png"] == "memo"
    assert len(set(found.values())) == 16


def test_rvl_cdip_of_which_a_part_is_there(rvl: Path) -> None:
    (rvl / "images/imagesa/a/3.png").unlink()
    (rvl / "labels/val.txt").unlink()
    result = bring("rvl-cdip", rvl)
    assert "1 of 13 listed files" in str(result.exception)
    assert report(result)["missing"] == ["images/imagesa/a/3.png"]
    assert len(labels()) == 12


@pytest.mark.parametrize("line", ["imagesa/a/0.png", "imagesa/a/0.png sixteen", "imagesa/a/0.png 16"])
def test_a_bad_line_of_rvl_cdip_is_named(line: str, rvl: Path) -> None:
    with (rvl / "labels" / "val.txt").open("a") as file:
        file.write(line + "\n")
    result = bring("rvl-cdip", rvl)
    assert isinstance(result.exception, NotFound)
    assert "val.txt line 4" in str(result.exception)
    assert labels() == {}


def test_rvl_cdip_without_its_images(rvl: Path) -> None:
    (rvl / "images").rename(rvl / "pictures")
    result = bring("rvl-cdip", rvl)
    assert isinstance(result.exception, NotFound)
    assert "images" in str(result.exception)


def test_rvl_cdip_as_a_folder_per_class(database: Settings, tmp_path: Path) -> None:
    put(tmp_path / "x", {"invoice/a.png": 1, "scientific_report/b.png": 2})
    assert bring("rvl-cdip", tmp_path / "x").exit_code == 0
    assert labels() == {"invoice/a.png": "invoice", "scientific_report/b.png": "scientific_report"}
