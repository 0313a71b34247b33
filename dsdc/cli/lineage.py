"""`dsdc lineage`: what an answer stands on, what happened to a document, and whether the answer comes out again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsdc.cli.console import bars, err, out, pairs, print_json, print_json_list, table
from dsdc.db.questions import QUESTIONS, Question, about
from dsdc.errors import DsdcError, NotFound
from dsdc.settings import settings

if TYPE_CHECKING:
    from uuid import UUID

    from dsdc.pipeline.lineage.find import Subject
    from dsdc.pipeline.lineage.steps import Step, Verified

_ASKED = "\n\n".join(f"{name}: {about(name)}" for name in QUESTIONS)
#: Arguments of a question: at least, at most, and what they are; one id, unless it stands here.
_TAKES = {
    "what-differs": (2, 2, "two predictions"),
    "documents-of-reader": (2, 3, "a reader's name and version, perhaps the first digits of its parameters' hash"),
    "if-label-is-wrong": (1, 1, "the number of a label; the lineage of a document shows them"),
}
_WIDEST = 160  # of what is shown in one cell


def attach(app: typer.Typer) -> None:
    app.command("lineage")(lineage)


def lineage(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Predictions (UUID) or documents (SHA-256), or the first digits of one, at least 8."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compute predictions again and compare; exit status 1 if one differs.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Verify so many stored predictions, drawn at random.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every prediction whose document was kept.")] = False,
    seed: Annotated[int, typer.Option(help="Of the draw: the same seed draws the same.")] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Most by which a vector's numbers may differ; a GPU needs 5e-3.")
    ] = 1e-4,
    question: Annotated[
        Question | None, typer.Option(help=f"Ask one question, answered by one query.\n\n{_ASKED}")
    ] = None,
    after: Annotated[str, typer.Option(help="documents-of-reader: begin after this document.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="documents-of-reader: most documents.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a prediction stands on, or a document's whole life; or verify predictions from the stored bytes."""
    given = list(ids or ())
    if question is not None:
        _ask(question, given, after, limit, as_json)
    elif verify or sample is not None or every:
        _verify(_chosen(given, sample, every, seed), tolerance, as_json)
    elif given:
        _show(given, as_json)
    else:
        raise typer.BadParameter("name a prediction or a document, or give --verify with --sample or --all")


def _show(given: Sequence[str], as_json: bool) -> None:
    from dsdc.db.session import transaction
    from dsdc.pipeline.lineage import told
    from dsdc.pipeline.lineage.find import find

    subjects, found = [find(one) for one in given], []
    with transaction() as session:
        for subject in subjects:
            if subject.prediction_id is not None:
                found.append(told.of_prediction(session, subject.prediction_id))
            else:
                document = str(subject.document_id)
                found.append({"document_id": document, "events": told.of_document(session, document)})
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for subject, one in zip(subjects, found, strict=True):
        _show_life(one) if subject.document_id else _show_prediction(one)


def _show_life(life: Mapping[str, Any]) -> None:
    rows = [[_when(e["at"]), e["event"], e["what"], e["processor"], _short(e["details"])] for e in life["events"]]
    table(f"Document {life['document_id']}", ["at", "", "what", "processor", "details"], rows)


def _show_prediction(found: Mapping[str, Any]) -> None:
    answer = ("predicted", "label", "probability", "decision", "prediction_set", "evidence", "cascade", "requested_by")
    pairs(f"Prediction {found['prediction_id']}", {key: _told(found[key]) for key in answer if found[key] is not None})
    pairs("Document", {key: _told(value) for key, value in found["document"].items() if value is not None})
    rows = [_page_row(page) for page in found["pages"]]
    table("Pages", ["page", "image SHA-256", "renderer", "text", "reader", "cleaner", "vectors"], rows)
    pairs("Model", {key: _short(value) for key, value in found["model"].items()})
    near = ("document_id", "similarity", "label", "label_source", "author", "labelled", "label_now", "split")
    table("Neighbours", [*near], [[_when(n[key]) for key in near] for n in found["neighbours"]])
    snapshot = found["snapshot"]
    pairs("Snapshot", {key: _when(snapshot[key]) for key in ("id", "sha256", "taxonomy", "taken", "documents")})
    given = ("label", "source", "author", "documents", "first", "last")
    table("Who labelled it", [*given], [[_when(part[key]) for key in given] for part in snapshot["given"]])


def _page_row(page: Mapping[str, Any]) -> list[Any]:
    text = page["text"]
    vectors = [
        f"{e['of']}: {_processor(e['embedder'])}, weights {(e['weights_sha256'] or '?')[:12]}"
        for e in page["embeddings"]
    ]
    read = [text["extraction"], _processor(text["reader"]), _processor(text["cleaner"])] if text else ["", "", ""]
    return [page["page"], page["image_sha256"], _processor(page["renderer"]), *read, "\n".join(vectors)]


def _processor(used: Mapping[str, Any]) -> str:
    return f"{used['name']} {used['version']} ({(used['params_hash'] or '')[:12]})"


def _when(value: Any) -> Any:
    return value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "isoformat") else value


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return _short(value) if isinstance(value, Mapping) else _when(value)


def _short(value: Any) -> str:
    """In one line: what is empty left out, hashes by their beginning."""
    if isinstance(value, Mapping):
        told = ", ".join(f"{key} {_short(part)}" for key, part in value.items() if part not in (None, "", {}, []))
        return told if len(told) <= _WIDEST else f"{told[:_WIDEST]}…"
    text = str(_when(value))
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


# --- verify -------------------------------------------------------------------------------------------------------


def _chosen(given: Sequence[str], sample: int | None, every: bool, seed: int) -> list[UUID]:
    """The predictions to verify: those named, those of documents named, or drawn ones."""
    from dsdc.db.repositories.lineage import LineageStore
    from dsdc.db.session import transaction
    from dsdc.pipeline.lineage.find import find

    if sum((bool(given), sample is not None, every)) != 1:
        raise typer.BadParameter("--verify takes ids, or --sample N, or --all: one of the three")
    subjects = [find(one) for one in given]
    with transaction() as session:
        store = LineageStore(session)
        if not given:
            found = list(store.draw(seed, sample))
        else:
            found = [one for subject in subjects for one in _predictions(subject, store.predictions_of)]
    if not found:
        raise NotFound("There is no prediction to verify.", hint="`dsdc fsck` checks what is stored without any.")
    return list(dict.fromkeys(found))


def _predictions(subject: Subject, of_document: Callable[[str], Sequence[UUID]]) -> Sequence[UUID]:
    return [subject.prediction_id] if subject.prediction_id else of_document(str(subject.document_id))


def _verify(predictions: Sequence[UUID], tolerance: float, as_json: bool) -> None:
    from dsdc.pipeline.lineage.steps import Tolerance
    from dsdc.pipeline.lineage.verify import Verifier
    from dsdc.storage import open_storage

    verifier, counts = Verifier(settings(), open_storage(settings()), Tolerance(tolerance)), _Counts()
    with bars() as progress:
        found = _verified(verifier.verify, predictions, counts, progress.of("verify"))
        if as_json:
            ready = (one.as_dict() for one in found)
            print_json_list("predictions", ready, lambda: {"summary": counts.as_dict()})
        else:
            for one in found:
                _show_verified(one, whole=len(predictions) == 1)
    if not as_json:
        out.print(str(counts), highlight=False)
    if counts.differ:
        sys.exit(1)


def _verified(
    verify: Callable[[UUID], Verified], predictions: Sequence[UUID], counts: _Counts, tell: Callable[[int, int], None]
) -> Iterator[Verified]:
    """One after the other, counted and told of; none is kept, for there may be as many as the archive has."""
    for done, prediction in enumerate(predictions, start=1):
        try:
            one = verify(prediction)
        except DsdcError:
            err.print(f"Broke off at prediction {prediction}, after {done - 1} of {len(predictions)}.", highlight=False)
            raise
        counts.add(one)
        tell(done, len(predictions) - done)
        yield one


@dataclass
class _Counts:
    """How verifications ended."""

    reproduced: int = 0
    differ: int = 0
    cannot: int = 0

    def add(self, one: Verified) -> None:
        self.reproduced += one.outcome == "ok"
        self.differ += one.outcome == "differs"
        self.cannot += one.outcome == "cannot"

    def as_dict(self) -> dict[str, int]:
        total = self.reproduced + self.differ + self.cannot
        return {"predictions": total, "reproduced": self.reproduced, "differ": self.differ, "cannot": self.cannot}

    def __str__(self) -> str:
        total = self.reproduced + self.differ + self.cannot
        parts = [f"{self.reproduced} reproduced"]
        parts += [f"{self.differ} {'differs' if self.differ == 1 else 'differ'}"] if self.differ else []
        parts += [f"{self.cannot} not to be judged in every step"] if self.cannot else []
        return f"{total} prediction{'' if total == 1 else 's'}: {', '.join(parts)}"


def _show_verified(one: Verified, *, whole: bool) -> None:
    """All steps of a single prediction; of many, those that are not well."""
    rows = [_step_row(step) for step in one.steps if whole or step.outcome != "ok"]
    if rows:
        title = f"Prediction {one.prediction_id} of document {one.document_id[:12]}… by {one.model}"
        table(title, ["", "step", "", "expected", "found"], rows)


def _step_row(step: Step) -> list[Any]:
    differs = step.outcome == "differs"
    return [step.outcome, step.name, step.detail, step.expected if differs else "", step.found if differs else ""]


# --- questions ----------------------------------------------------------------------------------------------------


def _ask(question: Question, given: Sequence[str], after: str, limit: int, as_json: bool) -> None:
    from dsdc.db.repositories.questions import Questions
    from dsdc.db.session import transaction

    parameters = _parameters(question, given, after, limit)
    with transaction() as session:
        rows = Questions(session).ask(question, parameters)
    rows, last = _first(rows, limit) if question == "documents-of-reader" else (rows, None)
    if as_json:
        print_json(rows)
    elif rows:
        table(about(question), list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
    else:
        out.print(f"{about(question)} Nothing.", highlight=False)
    if last is not None:
        err.print(f"There are more; go on with --after {last}", highlight=False, soft_wrap=True)


def _first(rows: Sequence[dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of so many documents, and the last of these where there are more."""
    documents = list(dict.fromkeys(row["document_id"] for row in rows))
    shown = set(documents[:limit])
    last = documents[limit - 1] if len(documents) > limit else None
    return [row for row in rows if row["document_id"] in shown], last


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.4f}"
    return _short(value) if isinstance(value, Mapping) else _when(value)


def _parameters(question: Question, given: Sequence[str], after: str, limit: int) -> dict[str, Any]:
    """The query's parameters, from the arguments of the command."""
    from dsdc.pipeline.lineage.find import document, prediction

    least, most, what = _TAKES.get(question, (1, 1, "one id"))
    if not least <= len(given) <= most:
        raise typer.BadParameter(f"{question} takes {what}")
    if question == "if-label-is-wrong":
        if not given[0].isdecimal():
            raise typer.BadParameter(f"{question} takes {what}")
        return {"label": int(given[0])}
    if question == "documents-of-reader":
        name, version, params = (*given, "")[:3]
        # One more than is shown tells whether there are more.
        return {"name": name, "version": version, "params": params, "after": after, "limit": limit + 1}
    if question == "models-of-document":
        return {"id": document(given[0])}
    if question == "what-differs":
        return {"id": prediction(given[0]), "other": prediction(given[1])}
    return {"id": prediction(given[0])}
