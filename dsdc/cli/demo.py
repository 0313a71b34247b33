"""`dsdc demo`: see the whole platform work, without documents of one's own."""

from __future__ import annotations

from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    count: Annotated[int, typer.Option(min=64, help="Sample documents to learn from.")] = 160,
    seed: Annotated[int, typer.Option(help="Another seed gives other documents.")] = 1,
) -> None:
    """Make sample documents, run ingest_and_process and train_model in Airflow, then predict through the API."""
    from dsdc.cli.main_job import run

    run(count, seed)
