"""How the command talks: tables and progress for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer import Typer

from dsdc.errors import DsdcError

#: Columns of a table that goes to a file or a program, where no terminal says how wide it is and nothing may be cut.
_WIDE = 240

out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)
err = Console(stderr=True)
LINE_EVERY_S = 10.0


def fail(error: DsdcError) -> None:
    """Print an error: what happened, then what to do."""
    err.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"       {escape(error.hint)}", highlight=False, soft_wrap=True)


def run(app: Typer) -> None:
    """Run a command line; a known error becomes a message and exit status 1."""
    try:
        app()
    except DsdcError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def print_json(value: Any) -> None:
    """JSON alone on standard output."""
    print(_json(value))  # noqa: T201


def print_json_list(name: str, values: Iterable[Any], after: Callable[[], Mapping[str, Any]]) -> None:
    """`{name: [values…], …}` like `print_json`, each value as soon as there is one: however many, none is kept.

    Args:
        after: what follows the list, asked for at its end; at least one key.
    """
    print(f"{{\n  {json.dumps(name)}: [", end="")  # noqa: T201
    for number, value in enumerate(values):
        print(f"{',' if number else ''}\n    {_json(value, 4)}", end="", flush=True)  # noqa: T201
    last = ",\n".join(f"  {json.dumps(key)}: {_json(value, 2)}" for key, value in after().items())
    print(f"\n  ],\n{last}\n}}")  # noqa: T201


def _json(value: Any, indent: int = 0) -> str:
    # Strings have their line ends escaped, so every one there is belongs to the layout.
    return json.dumps(value, indent=2, default=str, ensure_ascii=False).replace("\n", "\n" + " " * indent)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*("" if value is None else escape(str(value)) for value in row))
    out.print(made)


def pairs(title: str, values: Mapping[str, Any]) -> None:
    """A two-column table."""
    table(title, ["", ""], list(values.items()))


class Bars:
    """One progress bar a step, each made when its step first reports.

    Where nobody watches a terminal (a log, a pipe), a line is printed instead: now and then, and at each step's end.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def step(self, name: str, done: int, still: int) -> None:
        """`done` of `done + still` items of `name` are finished."""
        if not err.is_terminal:
            self._line(name, done, still)
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None)
        self._progress.update(self._tasks[name], completed=done, total=max(done + still, 1))

    def _line(self, name: str, done: int, still: int) -> None:
        now = time.monotonic()
        at, before = self._told.get(name, (0.0, -1))
        if done != before and (not still or now - at >= LINE_EVERY_S):
            self._told[name] = (now, done)
            err.print(f"        {name}: {done} of {done + still}", highlight=False)

    def of(self, name: str) -> Any:
        """A callback (done, still) for one step."""
        return lambda done, still: self.step(name, done, still)


@contextmanager
def bars() -> Iterator[Bars]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # What is printed meanwhile goes above the bars on the same terminal, and untouched where it goes elsewhere.
    with Progress(*columns, console=err, disable=not err.is_terminal, redirect_stdout=out.is_terminal) as progress:
        yield Bars(progress)
