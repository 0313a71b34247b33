"""Long results as JSON: each value is out before the next is asked for, and the whole is what `print_json` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dsdc.cli.console import print_json, print_json_list

VALUES: list[Any] = [{"text": "a\nb\u2028c\u0085d", "steps": [{"n": 1}, {}]}, [], "é"]


@pytest.mark.parametrize("values", [VALUES, VALUES[:1], [None]])
def test_a_list_printed_value_by_value_is_the_same_json(capsys: pytest.CaptureFixture[str], values: list[Any]) -> None:
    print_json({"found": values, "summary": {"n": len(values)}})
    whole = capsys.readouterr().out
    print_json_list("found", values, lambda: {"summary": {"n": len(values)}})
    assert capsys.readouterr().out == whole
    assert json.loads(whole)["found"] == values


def test_an_empty_list_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_list("found", [], lambda: {"n": 0})
    assert json.loads(capsys.readouterr().out) == {"found": [], "n": 0}


def test_a_value_is_out_before_the_next_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    def made() -> Iterator[str]:
        yield "first"
        assert "first" in capsys.readouterr().out
        yield "second"

    print_json_list("found", made(), lambda: {"n": 2})
    assert "second" in capsys.readouterr().out
