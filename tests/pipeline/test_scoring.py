"""`dsdc evaluate` and `dsdc predict` where some files are bad: what was worked out is told, and the rest is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dsdc.cli.main import app
from dsdc.errors import NotFound, PurposeFailed
from dsdc.pipeline import training
from dsdc.settings import Settings
from tests.pipeline.test_cold_start import unlabelled
from tests.pipeline.test_release import command_line
from tests.pipeline.test_training import page, platform, scalar

__all__ = ["command_line", "platform"]

pytestmark = pytest.mark.usefixtures("command_line")


def dsdc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def refused(result: Result, *words: str) -> None:
    """With a known error that says these words, and nothing on standard output."""
    assert isinstance(result.exception, NotFound), result.exception
    assert all(word in str(result.exception) for word in words), result.exception
    assert result.stdout == ""


def test_files_that_are_bad_cost_no_answer_about_the_others(platform: Settings, tmp_path: Path) -> None:
    """One test, for the model takes longest."""
    unlabelled(platform, 1, 2)
    training.train_model(author="test", overrides={"method": "zero-shot"})
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(page("memo", 500 + number))
    (folder / "broken.png").write_bytes(page("memo", 1)[:60])
    _refuses_bad_lists(tmp_path, folder)
    _evaluates_what_can_be_read(tmp_path, folder)
    _tells_where_nothing_can_be_read(tmp_path, folder)
    _predicts_what_can_be_read(folder)


def _refuses_bad_lists(tmp_path: Path, folder: Path) -> None:
    labels, answers = tmp_path / "list.csv", tmp_path / "answers.csv"

    def evaluate(*more: object) -> Result:
        return dsdc("evaluate", folder, "--labels", labels, "--json", *more)

    refused(evaluate(), "list.csv")
    labels.write_bytes("file,label\n0.png,memo\né.png,memo\n".encode("latin-1"))
    refused(evaluate("--predictions", answers), "UTF-8", "line 3")
    labels.write_text("file,label\n0.png,memo\n1.png\n")
    refused(evaluate("--predictions", answers), "line 3 (1.png)")
    labels.write_text("file,label\n0.png,memo\n1.png,\n")
    refused(evaluate("--predictions", answers), "line 3 (1.png)")
    labels.write_text("file,label\n")
    refused(evaluate("--predictions", answers), "names no file")
    assert not answers.exists()
    labels.write_text("file,label\n0.png,memo\n")
    refused(evaluate("--predictions", tmp_path / "missing" / "p.csv"), "missing/p.csv", "nothing was scored")
    refused(dsdc("evaluate", tmp_path / "nowhere", "--labels", labels), "nowhere")


def _evaluates_what_can_be_read(tmp_path: Path, folder: Path) -> None:
    labels, answers = tmp_path / "list.csv", tmp_path / "answers.csv"
    labels.write_text("file,label\n0.png,memo\nbroken.png,memo\n1.png,memo\ngone.png,memo\n")
    result = dsdc("evaluate", folder, "--labels", labels, "--json", "--predictions", answers)
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)
    assert (told["n"], told["failed"], sorted(told["failures"])) == (2, 2, ["broken.png", "gone.png"])
    assert "broken.png: " in result.stderr
    assert [row["file"] for row in csv.DictReader(answers.open())] == ["0.png", "1.png"]


def _tells_where_nothing_can_be_read(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "list.csv").write_text("file,label\nbroken.png,memo\ngone.png,memo\n")
    result = dsdc("evaluate", folder, "--labels", tmp_path / "list.csv", "--json")
    assert isinstance(result.exception, PurposeFailed)
    told = json.loads(result.stdout)
    assert (told["n"], told["failed"], told["per_class"]) == (0, 2, {})
    metrics = ("accuracy", "macro_f1", "ece", "auroc_correct", "coverage", "mean_set_size")
    assert [told[name] for name in metrics] == [None] * 6


def _predicts_what_can_be_read(folder: Path) -> None:
    files = [folder / name for name in ("0.png", "gone.png", "broken.png", "1.png")]
    before = scalar("SELECT count(*) FROM predictions")
    result = dsdc("predict", *files, "--json")
    assert isinstance(result.exception, PurposeFailed)
    assert "2 of 4 files" in str(result.exception)
    assert "gone.png" in str(result.exception)
    assert "broken.png" in str(result.exception)
    assert [answer["file"] for answer in json.loads(result.stdout)] == [str(files[0]), str(files[3])]
    assert scalar("SELECT count(*) FROM predictions") == before + 2
