"""`dsdc forget`: documents that must not be here any more."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from dsdc.cli.console import bars, out, pairs, print_json, table
from dsdc.settings import settings

_SHOWN = 20  # documents; --json has all of them


def attach(app: typer.Typer) -> None:
    app.command("forget")(forget)


def forget(
    documents: Annotated[
        list[str] | None, typer.Argument(help="SHA-256 of a document, or at least its first 8 digits.")
    ] = None,
    expired: Annotated[bool, typer.Option("--expired", help="Documents older than retention.days.")] = False,
    reason: Annotated[str, typer.Option(help="Why; stays on record, so it must not say what was in them.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and what learnt from it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --yes or --dry-run.")] = False,
) -> None:
    """Remove documents' bytes, pages, texts, vectors and names for good; hashes, labels and verdicts stay.

    An e-mail takes those attachments along that came in no other way. --expired first finishes what was begun.
    """
    from dsdc.pipeline.erasure import forget as erase
    from dsdc.pipeline.erasure import resume
    from dsdc.pipeline.erasure_plan import plan_expired, plan_for
    from dsdc.storage import open_storage

    if bool(documents) == expired:
        raise typer.BadParameter("name documents, or give --expired")
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here: give --yes, or --dry-run to see what would go")
    config = settings()
    storage, author = open_storage(config), getpass.getuser()
    begun = resume(config, storage, author=author) if expired and not dry_run else {}
    plan = plan_expired(config) if expired else plan_for(config, documents or [])
    if not as_json:
        if begun:
            out.print(f"Finished what an earlier run had begun: {len(begun)} documents.")
        _show(plan)
    if not dry_run and (yes or not plan.targets or typer.confirm(f"Forget these {len(plan.targets)} documents?")):
        why = reason or (f"retention.days is {config.retention.days}" if expired else "")
        with bars() as progress:
            done = erase(
                config,
                storage,
                plan.documents,
                author=author,
                reason=why,
                told=plan.told(),
                expired=expired,
                progress=progress.of("forget"),
            )
    else:
        done = None
    if as_json:
        print_json(plan.as_dict() | {"erased": done if done is None else begun | done})
    elif done is None:
        out.print("Nothing was forgotten.")
    else:
        sums = {kind: sum(one.get(kind, 0) for one in done.values()) for kind in next(iter(done.values()), {})}
        passed = {"not due any more": left} if (left := len(plan.targets) - len(done)) else {}
        pairs("Forgotten", {"documents": len(done), **sums, **passed})


def _show(plan: Any) -> None:
    columns = ["pages", "vectors", "labels", "predictions"]
    rows = [
        [
            target.document_id[:12],
            target.name,
            "attachment" if target.attached else target.state,
            *(target.counts[column] for column in columns),
            ", ".join(map(str, target.snapshots)),
        ]
        for target in plan.targets[:_SHOWN]
    ]
    table("To be forgotten", ["document", "name", "", *columns, "snapshots"], rows)
    if len(plan.targets) > _SHOWN:
        out.print(f"  and {len(plan.targets) - _SHOWN} more")
    for model in plan.models:
        out.print(f"  {_learnt(model)}", highlight=False, soft_wrap=True)  # a path must stay whole
    for target in plan.targets[:_SHOWN]:
        if target.neighbour_of:
            named = f"{len(target.neighbour_of)} predictions name {target.document_id[:16]} as neighbour"
            out.print(f"  {named}; they keep its hash and label.", highlight=False)
        for message in target.messages:
            held = f"{target.document_id[:16]} is also inside the e-mail {message[:16]}, which stays"
            out.print(f"  [yellow]{held}: forget that too, or its bytes are still here.[/]", highlight=False)


def _learnt(model: Any) -> str:
    said = f"{escape(model.title)}{' (the champion)' if model.champion else ''} has learnt from {len(model.documents)}"
    if model.holds_vectors:
        first = "train and promote another model, then " if model.champion else ""
        return f"[yellow]{said}, and holds their vectors: {first}remove {escape(model.folder)}.[/]"
    return f"{said} of them; `dsdc reproduce {model.version}` cannot give it exactly any more."
