"""`dsdc replay`: what another model, or other processors, would have answered."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsdc.cli.console import bars, out, pairs, print_json, table
from dsdc.settings import Settings, settings

if TYPE_CHECKING:
    from dsdc.pipeline.replay import Replayed


def attach(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    processor: Annotated[
        list[str] | None, typer.Option(metavar="STAGE=VERSION", help="Another version of a processor: clean=2.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another setting: ocr.engine=tesseract.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="VERSION|challenger", help="Another model, on what is stored.")
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train a model on what the other processors make; it does not serve.")
    ] = False,
    sample: Annotated[int | None, typer.Option(min=1, help="So many documents, drawn; else the archive.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal documents.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="End with what there is after so long.")] = 60.0,
    report: Annotated[
        Path | None, typer.Option(help="Its place; else logs/replay, where `dsdc forget` finds it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in the shadow which answers would change, and whether the gate would let it: nothing is taken into use.

    What other processors make is stored beside what there is, and need not be made again if they are taken into use.
    """
    if (model is None) == (not processor and not set_):
        raise typer.BadParameter("name a --model, or processors by --processor and --set")
    if report is not None and report.suffix != ".html":
        raise typer.BadParameter("it is a page: give it a name that ends in .html", param_hint="--report")
    if retrain and model is not None:
        raise typer.BadParameter("--retrain goes with --processor or --set")
    from dsdc.pipeline.replay import Scope, write_report
    from dsdc.pipeline.replay_reports import folder

    config, scope = settings(), Scope(sample, seed, minutes)
    with bars() as progress:
        found = _replay(config, processor or [], set_ or [], model, scope, retrain, progress.step)
    place = report or folder(config) / f"{datetime.now(UTC):%Y%m%dT%H%M%S-%f}.html"
    run_id = write_report(config, found, place)
    if as_json:
        print_json(found.as_dict() | {"report": str(place), "mlflow_run_id": run_id})
    else:
        _show(found, place, run_id)


def _replay(
    config: Settings, processors: list[str], values: list[str], model: str | None, scope: Any, retrain: bool, tell: Any
) -> Replayed:
    from dsdc.pipeline.replay import replay_model, replay_processors, with_changes

    if model is None:
        change = with_changes(config, processors, values)
        return replay_processors(config, change, scope, tell, retrain=retrain, author=getpass.getuser())
    if model != "challenger" and not model.isdecimal():
        raise typer.BadParameter("--model takes the number of a version, or challenger")
    return replay_model(config, None if model == "challenger" else int(model), scope, tell)


def _show(found: Replayed, place: Path, run_id: str | None) -> None:
    counts = found.counts
    values = {"before": found.before, "after": found.after, "documents": counts.compared, "flips": counts.flipped}
    values |= {f"confirmed by people, right {said}": n for said, n in sorted(counts.confirmed.items())}
    values |= {f"{old} -> {new}": n for (old, new), n in sorted(counts.decisions.items()) if old != new}
    pairs("Replay", values)
    if counts.pairs:
        table("Flips", ["from", "to", "documents"], [[*pair, n] for pair, n in counts.pairs.most_common(20)])
    for note in found.notes:
        out.print(note, highlight=False)
    may = "may replace what serves" if found.verdict.gate.promote else "may not replace what serves"
    out.print(f"Gate: it {may}. {found.verdict.gate.reason}", highlight=False)
    tracked = f"MLflow run {run_id}" if run_id else "not in MLflow, which does not answer"
    out.print(f"Report: {place} ({tracked})", highlight=False, soft_wrap=True)
