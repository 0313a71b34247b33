"""`dsdc samples DIR`: believable documents of every class, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsdc.cli.console import bars, out


def attach(app: typer.Typer) -> None:
    app.command("samples")(samples)


def samples(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where the documents go: DIR/<class>/<file>.")],
    count: Annotated[int, typer.Option(min=1, help="How many documents.")] = 160,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 1,
) -> None:
    """Make sample documents of all classes, with labels.csv and ground_truth.jsonl."""
    from dsdc.samples import generate

    with bars() as progress:
        tell = progress.of("samples")

        def told(done: int, total: int) -> None:
            tell(done, total - done)

        made = generate(target, count=count, seed=seed, workers=2, progress=told)
    out.print(f"{len(made)} documents in {target}")
