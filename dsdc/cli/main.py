"""`dsdc`: one command for everything that is not a click. Errors are one line that says what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import dsdc
from dsdc import log
from dsdc.cli import (
    clip,
    console,
    database,
    demo,
    documents,
    erasure,
    imports,
    keys,
    labels,
    lineage,
    models,
    platform,
    replay,
    samples,
    snapshots,
    state,
    users,
)
from dsdc.settings import settings

app = typer.Typer(
    name="dsdc",
    help="Document classification with full lineage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(clip.app, name="clip")
app.add_typer(database.app, name="db")
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")
app.add_typer(users.app, name="users")
app.add_typer(platform.app, name="platform", hidden=True)
for part in (state, lineage, documents, imports, models, snapshots, replay, erasure, samples, demo):
    part.attach(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dsdc {dsdc.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,  # noqa: ARG001
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
) -> None:
    config = settings().logging
    log.configure(config.level if verbose or not sys.stderr.isatty() else "warning", config.format)


def main() -> None:
    """The program `dsdc`."""
    console.run(app)
