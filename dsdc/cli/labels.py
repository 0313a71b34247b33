"""`dsdc labels`: what people and imports said, and what the champion thinks of it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from dsdc.cli.console import out, print_json, table
from dsdc.errors import NotFound
from dsdc.settings import settings
from dsdc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from dsdc.db.repositories.labels import CurrentLabel
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


@app.command("set")
def set_label(
    document: Annotated[
        str, typer.Argument(metavar="ID", help="SHA-256 of a document, or at least its first 8 digits.")
    ],
    label: Annotated[str, typer.Argument(metavar="CLASS", help="Its class, by slug or name.")],
    note: Annotated[str, typer.Option(help="Why; stays on record, so it must not say what was in the document.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what class a document is of; a person's word counts before labels that came with files."""
    from dsdc.db.repositories.labels import Labels
    from dsdc.db.session import transaction
    from dsdc.pipeline.labelling import label_document
    from dsdc.pipeline.lineage import find

    taxonomy, author = Taxonomy.from_settings(settings().taxonomy), getpass.getuser()
    slug = _known(taxonomy, label)
    document_id = find.document(document)
    with transaction() as session:
        before = next(iter(Labels(session).current(taxonomy.name, [document_id])), None)
        label_id = label_document(session, document_id, slug, taxonomy=taxonomy.name, author=author, note=note)
    if as_json:
        given = {"label_id": label_id, "document_id": document_id, "label": slug, "source": "human", "author": author}
        print_json(given | {"before": None if before is None else vars(before)})
        return
    out.print(
        f"{document_id[:12]} is {slug} now, by {author}'s word; {_told(before)}.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _known(taxonomy: Taxonomy, label: str) -> str:
    slug = taxonomy.find(label)
    if slug is None:
        classes = ", ".join(taxonomy.slugs)
        raise NotFound(f"{label!r} is no class of {taxonomy.name}.", hint=f"The classes are {classes}.")
    return slug


def _told(before: CurrentLabel | None) -> str:
    if before is None:
        return "it had no label"
    return f"before it was {before.label}, said by {before.author} ({before.source}), {before.created:%Y-%m-%d}"


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
        "To correct a label, or to confirm it: dsdc labels set ID CLASS; then train again. --json gives whole ids.",
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
