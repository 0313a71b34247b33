"""`dsdc import`: archives of labelled documents."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsdc.cli.console import bars
from dsdc.cli.documents import AsJson, show, still, take
from dsdc.errors import NotFound, PurposeFailed

if TYPE_CHECKING:
    from dsdc.pipeline.archives import Listing


class ImportKind(StrEnum):
    folder = "folder"
    rvl_cdip = "rvl-cdip"
    csv = "csv"


def attach(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    kind: Annotated[ImportKind, typer.Argument(help="How the labels come.")],
    path: Annotated[Path, typer.Argument(help="The folder; for csv, the folder that `file` is relative to.")],
    labels: Annotated[Path | None, typer.Option(help="A CSV with the columns file,label.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy documents in, with their labels.

    folder reads <class>/<file>. csv takes the files that a labels file lists. rvl-cdip takes what that data set's own
    labels/{train,val,test}.txt list below images/; where there are none, it is like folder.
    """
    listing = _listing(kind, path, labels)
    manifest = labels if listing is None else None
    with bars() as progress:
        report = take(path, "import", still(progress.of("import")), manifest=manifest, listing=listing)
    missing = list(listing.missing) if listing else []
    show([report.as_dict() | {"missing": missing}], as_json)
    if listing and missing:
        sys.stdout.flush()
        raise PurposeFailed(
            f"{len(missing)} of {len(listing)} listed files are not in {path}; the others were taken.",
            hint="Put them there, or take them off the list, and run it again: nothing comes in twice.",
        )


def _listing(kind: ImportKind, path: Path, labels: Path | None) -> Listing | None:
    """The files that the import is to take; None for all that are there."""
    from dsdc.pipeline.archives import csv_listing, rvl_cdip_listing

    if kind is ImportKind.folder:
        return None
    if kind is ImportKind.csv and labels is None:
        raise typer.BadParameter("csv needs --labels FILE")
    if not path.is_dir():
        raise NotFound(f"{path} is no folder.")
    if kind is ImportKind.csv and labels is not None:
        return csv_listing(path.resolve(), labels)
    return None if labels else rvl_cdip_listing(path.resolve())
