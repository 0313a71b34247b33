"""`dsdc snapshot` with `list`, `export` and `diff`, and `dsdc reproduce`: what models are made of, and made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dsdc.cli.console import bars, out, pairs, print_json, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Named = Annotated[str, typer.Argument(help="A snapshot: its id, or at least 8 characters of its content hash.")]

_SHOWN = 10  # documents of a kind; --json has all of them

group = typer.Typer(invoke_without_command=True)


def attach(app: typer.Typer) -> None:
    app.add_typer(group, name="snapshot")
    app.command("reproduce")(reproduce)


@group.callback()
def snapshot(context: typer.Context, as_json: AsJson = False) -> None:
    """Freeze the labelled, embedded documents as they are now; or list, export and compare what was frozen."""
    if context.invoked_subcommand is not None:
        return
    from dsdc.pipeline.training import take_snapshot

    taken = take_snapshot()
    values: dict[str, Any] = {"snapshot": taken.id, "documents": taken.documents, "sha256": taken.content_sha256}
    if as_json:
        print_json(values)
    else:
        pairs("Snapshot", values)


@group.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every snapshot, with the model versions that were made of it."""
    from dsdc.pipeline.snapshots import listing

    found = listing()
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one["id"],
            one["content_sha256"][:16],
            f"{one['created']:%Y-%m-%d %H:%M}",
            one["documents"],
            one["classes"],
            ", ".join(map(str, one["versions"])),
            one["forgotten"] or "",
        ]
        for one in found
    ]
    table("Snapshots", ["id", "hash", "created", "documents", "classes", "models", "forgotten"], rows)


@group.command("export")
def export(
    snapshot: Named,
    path: Annotated[Path, typer.Argument(help="The Parquet file to write; it must not be there yet.")],
    as_json: AsJson = False,
) -> None:
    """Write a snapshot as Parquet: documents, labels, folds, vectors. Equal rows give equal bytes."""
    from dsdc.pipeline.snapshot_file import export as write
    from dsdc.pipeline.snapshots import find

    found = find(snapshot)
    with bars() as progress:
        written = write(found, path, progress=progress.of("export"))
    if as_json:
        print_json(written.as_dict())
        return
    pairs("Export", {key: value for key, value in written.as_dict().items() if key != "faults"})
    for document, fault in list(written.faults.items())[:_SHOWN]:
        out.print(f"  [yellow]{document[:12]}[/]: {fault}", highlight=False)
    if len(written.faults) > _SHOWN:
        out.print(f"  and {len(written.faults) - _SHOWN} more that are not as they were frozen", highlight=False)


@group.command("diff")
def diff(first: Named, second: Named, as_json: AsJson = False) -> None:
    """What differs between two snapshots, as they were frozen."""
    from dsdc.pipeline.snapshots import diff as compare
    from dsdc.pipeline.snapshots import find

    found = compare(find(first), find(second))
    if as_json:
        print_json(found.as_dict())
        return
    pairs(f"Snapshot {found.first} to {found.second}", found.counts)
    for name in ("added", "removed"):
        _some(name, [document[:12] for document in getattr(found, name)])
    for name in ("relabelled", "resplit"):
        _some(name, [f"{c.document_id[:12]}: {c.was} to {c.now}" for c in getattr(found, name)])
    for name in ("reembedded", "reread"):
        _some(name, [change.document_id[:12] for change in getattr(found, name)])
    for name, (was, now) in {**found.processors, **found.params}.items():
        out.print(f"  {name}: {_short(was)} to {_short(now)}", highlight=False, markup=False)


def _some(name: str, lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        out.print(f"  {name} {line}", highlight=False, markup=False)
    if len(lines) > _SHOWN:
        out.print(f"  and {len(lines) - _SHOWN} more {name}", highlight=False)


def _short(value: Any) -> str:
    return f"{len(value)} of them" if isinstance(value, list | dict) and len(value) > _SHOWN else str(value)


def reproduce(
    version: Annotated[int, typer.Argument(help="Version of the model that is to be made again.")],
    as_json: AsJson = False,
) -> None:
    """Train a version again from its snapshot and its recipe, and compare; exit status 1 unless it is the same.

    Nothing is registered, promoted or logged.
    """
    from dsdc.pipeline.reproduction import reproduce as make_again

    with bars() as progress:
        found = make_again(version, progress=progress.of("training"))
    if as_json:
        print_json(found.as_dict())
    else:
        marks = {True: "same", False: "DIFFERS", None: "note"}
        rows = [[marks[step.same], step.name, step.detail] for step in found.steps]
        table(f"{found.model} version {version}, made again", ["", "step", "detail"], rows)
        out.print("It comes out the same." if found.same else "It does not come out the same.")
    if not found.same:
        sys.exit(1)
