"""`dsdc train`, `promote`, `rollback`, `evaluate`: models and what they are worth."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dsdc.cli.console import bars, err, out, pairs, print_json
from dsdc.errors import PurposeFailed
from dsdc.settings import settings

if TYPE_CHECKING:
    from dsdc.ml.registry import Registered

Method = Literal["auto", "head", "neighbours", "zero-shot"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(app: typer.Typer) -> None:
    app.command("train")(train)
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    app.command("evaluate")(evaluate)


def train(
    trials: Annotated[int, typer.Option(min=0, help="Settings to try first; the best are trained with.")] = 0,
    method: Annotated[Method | None, typer.Option(help="What to make of the labels; auto: by their number.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each network.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds on equal snapshots give equal heads.")] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze a snapshot, make a model of it, register it in MLflow, and promote it if the gate lets it.

    With enough labels that is a trained head, with a few its neighbours answer, and without any the names of classes.
    """
    from dsdc.pipeline.training import train_model

    given = {"method": method, "epochs": epochs, "seed": seed}
    overrides = {key: value for key, value in given.items() if value is not None}
    with bars() as progress:
        told = progress.of("training")
        report = train_model(overrides=overrides, trials=trials, author=getpass.getuser(), progress=told)
    if as_json:
        print_json(report.as_dict())
    else:
        pairs("Training", {key: value for key, value in report.as_dict().items() if not isinstance(value, dict)})


def promote(
    version: Annotated[int, typer.Argument(help="Version of the model that is to serve.")],
    reason: Annotated[str, typer.Option(help="Why; stays on record.")],
) -> None:
    """Make a version the champion, by a person's decision."""
    from dsdc.pipeline.training import promote_version

    promoted = promote_version(version, author=getpass.getuser(), reason=reason)
    out.print(f"{promoted.name} version {promoted.version} is the champion.")
    _warn(promoted)


def rollback() -> None:
    """Make the previous champion the champion again; a second time, the one before it."""
    from dsdc.pipeline.training import roll_back

    restored = roll_back(author=getpass.getuser())
    out.print(f"{restored.name} version {restored.version} is the champion again.")
    _warn(restored)


def _warn(chosen: Registered) -> None:
    """Say so where the settings are not those that it was trained with: then the version before goes on serving."""
    from dsdc.pipeline.training import unservable

    if why := unservable(settings(), chosen):
        out.print("[yellow]The prediction service cannot load it, and goes on with the one that serves:[/]")
        out.print(f"  {why}", highlight=False, markup=False)


def evaluate(
    root: Annotated[Path, typer.Argument(help="The folder that `file` is relative to.")],
    labels: Annotated[Path, typer.Option(help="A CSV with the columns file,label.")],
    predictions: Annotated[Path | None, typer.Option(help="Write each file's answer to this CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score files outside the store with the champion; nothing is stored."""
    from dsdc.pipeline.evaluation import evaluate_files

    with bars() as progress:
        result = evaluate_files(settings(), root, labels, predictions, progress=progress.of("evaluate"))
    if as_json:
        print_json(result)
    else:
        pairs("Evaluation", {key: value for key, value in result.items() if not isinstance(value, dict)})
    for file, reason in result["failures"].items():
        err.print(f"{file}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if not result["n"]:
        sys.stdout.flush()
        raise PurposeFailed(f"None of {result['failed']} files could be read, so there is nothing to measure.")
