"""`dsdc ingest`, `process`, `reprocess`, `predict`: documents in, answers out."""

from __future__ import annotations

import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dsdc.cli.console import bars, err, out, pairs, print_json, table
from dsdc.errors import DocumentError, NotFound, ParserDied, PurposeFailed
from dsdc.settings import settings

if TYPE_CHECKING:
    from dsdc.pipeline.archives import Listing
    from dsdc.pipeline.ingest import IngestReport


class StageName(StrEnum):
    unpack = "unpack"
    render = "render"
    text = "text"
    clean = "clean"
    embed = "embed"


MISSING_SHOWN = 20  # names of files that an import missed; --json gives all
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(app: typer.Typer) -> None:
    app.command("ingest")(ingest)
    app.command("rejected")(rejected)
    app.command("process")(process)
    app.command("reprocess")(reprocess)
    app.command("predict")(predict)


def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; the inbox without any.")] = None,
    release: Annotated[
        list[str] | None, typer.Option(help="Take this file out of quarantine: an id of `dsdc rejected`, or all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take the files of data/to_ingest, or copy in the files and folders named, or try rejected ones again."""
    from dsdc.pipeline.ingest import ingest_inbox

    if release:
        _release(_ids(release), bool(paths), as_json)
        return
    reports = []
    with bars() as progress:
        if not paths:
            reports.append(ingest_inbox(author=getpass.getuser(), progress=still(progress.of("ingest"))))
        for path in paths or []:
            reports.append(take(path, "cli", still(progress.of(f"ingest {path.name}"))))
    show([report.as_dict() for report in reports], as_json)


def _ids(release: list[str]) -> list[int] | None:
    """The ids that were named; None for all."""
    if release == ["all"]:
        return None
    if not all(one.isdecimal() for one in release):
        raise typer.BadParameter("--release takes ids of `dsdc rejected`, one each, or all")
    return [int(one) for one in release]


def _release(ids: list[int] | None, and_paths: bool, as_json: bool) -> None:
    from dsdc.pipeline.release import release

    if and_paths:
        raise typer.BadParameter("--release takes files out of quarantine; it takes no paths besides")
    with bars() as progress:
        report = release(ids, author=getpass.getuser(), progress=still(progress.of("release")))
    if as_json:
        print_json(report.as_dict())
    else:
        show([report.as_dict()], as_json)
    if report.refused:
        sys.stdout.flush()
        total = report.refused + report.released
        raise PurposeFailed(
            f"{report.refused} of {total} files were refused again and stay in quarantine.",
            hint="`dsdc rejected` says why.",
        )


def rejected(as_json: AsJson = False) -> None:
    """List what is in quarantine, with the reasons; `dsdc ingest --release ID` tries one again."""
    from dsdc.db.repositories.documents import RejectedDocuments
    from dsdc.db.session import transaction

    with transaction() as session:
        rows = [_rejected(row) for row in RejectedDocuments(session).all()]
    if as_json:
        print_json(rows)
    elif rows:
        columns = ["id", "name", "stage", "category", "attempts", "rejected", "message"]
        table("Quarantine", columns, [[row[column] for column in columns] for row in rows])
    else:
        out.print("Nothing is in quarantine.")


def _rejected(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.original_name,
        "stage": row.stage,
        "category": row.category,
        "message": row.message,
        "rejected": row.rejected.isoformat(timespec="seconds"),
        "attempts": row.attempts,
        "bytes": row.byte_size,
        "sha256": row.sha256,
        "document_id": row.document_id,
        "file": row.file_path,
    }


def still(tell: Any) -> Any:
    return lambda done, total: tell(done, total - done)


def take(
    path: Path, source: str, progress: Any, *, manifest: Path | None = None, listing: Listing | None = None
) -> IngestReport:
    from dsdc.pipeline.ingest import ingest_inbox

    if not path.exists():
        raise NotFound(f"{path} does not exist.")
    folder, only = (path, None) if path.is_dir() else (path.parent, path.name)
    return ingest_inbox(
        folder=folder.resolve(),
        only=only,
        source=source,
        author=getpass.getuser(),
        keep=True,
        manifest=manifest,
        listed=None if listing is None else listing.there,
        progress=progress,
    )


def show(reports: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(reports)
        return
    for report in reports:
        counts = {key: value for key, value in report.items() if isinstance(value, int)}
        pairs("Release" if "released" in report else "Ingest", counts)
        for name, reason in report["reasons"].items():
            out.print(f"  [yellow]{escape(name)}[/]: {escape(reason)}", highlight=False)
        for name in report.get("missing", ())[:MISSING_SHOWN]:
            out.print(f"  [yellow]{escape(name)}[/]: is listed, and not there", highlight=False)
        for notice in report.get("notices", ()):
            out.print(f"  {escape(notice)}", highlight=False)
        if report.get("unknown_labels"):
            out.print(f"  labels that are no class of the taxonomy: {escape(', '.join(report['unknown_labels']))}")


def process(
    stage: Annotated[StageName | None, typer.Option(help="Only this stage.")] = None, as_json: AsJson = False
) -> None:
    """Work off everything that is pending: unpack, render, text, clean, embed."""
    from dsdc.db.session import retrying
    from dsdc.pipeline.assembly import STAGES, assemble
    from dsdc.pipeline.worker import run_stage

    names = [name for name in STAGES if stage is None or name.split("-")[0] == stage.value]
    ready = retrying(lambda: assemble(settings()))
    with bars() as progress:
        reports = [run_stage(name, progress=progress.of(name), assembly=ready).as_dict() for name in names]
    if as_json:
        print_json(reports)
        return
    columns = ["stage", "done", "partial", "skipped", "failed", "retried", "lost", "seconds"]
    table("Stages", columns, [[report[c] for c in columns] for report in reports])


def reprocess(
    stage: Annotated[StageName | None, typer.Option(help="Only this stage.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much there is to do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring everything to the processor versions of the settings; what other versions made stays.

    What they have made already counts as done: to go back to an earlier version costs nothing.
    """
    if not dry_run:
        process(stage, as_json)
        return
    from dsdc.pipeline.assembly import assemble
    from dsdc.pipeline.forecast import forecast

    found = forecast(assemble(settings()))
    work = {name: todo for name, todo in found.items() if stage is None or name.split("-")[0] == stage.value}
    if as_json:
        print_json({name: todo.as_dict() for name, todo in work.items()})
        return
    columns = ["stage", "processor", "pending", "to follow", "done", "one worker", "measured on"]
    table("To do", columns, [[name, *_todo(todo)] for name, todo in work.items()])
    known = [todo.seconds for todo in work.values() if todo.seconds is not None]
    unknown = [name for name, todo in work.items() if todo.inputs and todo.seconds is None]
    out.print(f"All in all about {_duration(sum(known))} of one worker.")
    if unknown:
        out.print(f"Not counted, for it never ran here: {', '.join(unknown)}.")


def _todo(todo: Any) -> list[Any]:
    pace = todo.pace
    measured = f"{pace.inputs} of {pace.processor}" if pace else ""
    time = "" if todo.seconds is None else _duration(todo.seconds)
    return [todo.processor, todo.counts["pending"], todo.follow, todo.counts["done"], time, measured]


def _duration(seconds: float) -> str:
    """2 h 05 min, 3 min 10 s, 0.4 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def predict(
    files: Annotated[list[Path], typer.Argument(help="Documents to classify.")],
    store: Annotated[bool, typer.Option(help="Keep the documents and what was made of them.")] = True,
    as_json: AsJson = False,
) -> None:
    """Classify files with the champion, here in this process; each answer is stored."""
    from dsdc.pipeline.answer import Answerer
    from dsdc.storage import open_storage

    answerer = Answerer(settings(), open_storage(settings()))
    answerer.load()
    answers: list[dict[str, Any]] = []
    failed: list[str] = []
    try:
        for file in files:
            try:
                data = _read(file)
                answer = answerer.answer(data, name=file.name, author=getpass.getuser(), source="cli", store=store)
            except (DocumentError, NotFound, ParserDied) as error:
                failed.append(str(file))
                err.print(f"{file}: {error}", highlight=False, markup=False, soft_wrap=True)
            else:
                answers.append(answer.as_dict() | {"file": str(file)})
    finally:
        _show_answers(answers, as_json)  # they are stored, whatever ended it
    if failed:
        sys.stdout.flush()
        raise PurposeFailed(f"{len(failed)} of {len(files)} files could not be classified: {', '.join(failed)}.")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"It cannot be read: {error.strerror}.") from error


def _show_answers(answers: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(answers)
        return
    if not answers:
        return
    rows = [[a["file"], a["label"], f"{a['probability']:.3f}", a["decision"], a["prediction_id"]] for a in answers]
    table("Predictions", ["file", "class", "probability", "decision", "prediction"], rows)
