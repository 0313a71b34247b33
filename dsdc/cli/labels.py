"""`dsdc labels`: what people and imports said, and what the champion thinks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dsdc.cli.console import out, print_json, table
from dsdc.settings import settings

if TYPE_CHECKING:
    from dsdc.pipeline.noise import DoubtedLabel, NoiseReport

app = typer.Typer(name="labels", help="The labels that models learn from.", no_args_is_help=True)


@app.command()
def suspicious(
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the labels that are most likely wrong, with what the champion takes the document for, unseen."""
    from dsdc.pipeline.noise import suspicious_labels

    report = suspicious_labels(settings(), limit=limit)
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report)


def _show(report: NoiseReport) -> None:
    out.print(
        f"Of {report.documents} labels that {report.model} {report.version} has learnt from, its held-out answers doubt"
        f" {report.doubted}, and {report.likely_errors} are likely errors.",
        highlight=False,
    )
    if report.restated:
        out.print(f"{report.restated} more were doubted, but have been labelled again since, or are gone.")
    if not report.labels:
        return
    columns = ("document", "file", "label", "rather", "", "said by", "near, of that class")
    table("Most suspicious first; * likely error", columns, [_row(label) for label in report.labels])
    out.print(
        "To correct a label: POST /v1/documents/ID/labels, or the file again in data/to_ingest/<class>/; then train"
        " again. --json gives whole ids.",
        highlight=False,
    )


def _row(label: DoubtedLabel) -> tuple[str, ...]:
    doubt = label.suspicion
    return (
        doubt.document_id[:12],
        label.name,
        f"{doubt.given} {doubt.given_probability:.3f}",
        f"{doubt.suggested} {doubt.suggested_probability:.3f}",
        "*" if doubt.likely_error else "",
        f"{label.label.author} ({label.label.source}), {label.label.created:%Y-%m-%d}",
        ", ".join(f"{near.document_id[:12]} {near.similarity:.2f}" for near in label.neighbours),
    )
