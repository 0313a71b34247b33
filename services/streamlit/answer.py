"""One document with its answer: the page on the left, what the model says on the right, feedback below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from dsdc.errors import DocumentError, DsdcError, InvalidToken
from dsdc.settings import Settings
from dsdc.taxonomy import Taxonomy
from dsdc.web.contract import Lineage, ModelInfo, Prediction, ProcessorUsed
from services.streamlit import markup, work
from services.streamlit.preview import Preview, render
from services.streamlit.problems import explain


def show(config: Settings, desk: work.Work, document: work.Document) -> None:
    page, words = st.columns([5, 6], gap="large")
    with page:
        _page(config, document)
    with words:
        if document.prediction is not None:
            _answer(config, desk, document, document.prediction)
        elif document.error is not None:
            _failed(document, document.error)


def _failed(document: work.Document, error: DsdcError) -> None:
    """What went wrong, and another try unless the file itself is at fault."""
    st.error(explain(error), icon=":material/error:")
    if not isinstance(error, DocumentError) and st.button(
        "Try again", icon=":material/refresh:", key=f"again-{document.id}"
    ):
        document.error = None
        st.rerun()


def _page(config: Settings, document: work.Document) -> None:
    if document.preview is None:
        try:
            document.preview = render(document.data, config)
        except DsdcError as error:
            document.preview = error
    if isinstance(document.preview, Preview) and document.preview.pages:
        _pages(document, document.preview)
    elif isinstance(document.preview, Preview | DocumentError):
        st.html(markup.empty("No preview", "No page of this file can be shown."))
    else:
        _undrawn(document)


def _undrawn(document: work.Document) -> None:
    """The pages could not be drawn this time, which says nothing about the file."""
    st.html(markup.empty("No preview", "The pages could not be drawn just now."))
    if st.button("Draw the pages again", icon=":material/refresh:", type="tertiary", key=f"draw-{document.id}"):
        document.preview = None
        st.rerun()


def _pages(document: work.Document, preview: Preview) -> None:
    number = 1
    if len(preview.pages) > 1:
        numbers = list(range(1, len(preview.pages) + 1))
        number = st.segmented_control(
            "Page", numbers, default=1, required=True, key=f"page-{document.id}", label_visibility="collapsed"
        )
    st.image(preview.pages[number - 1], width="stretch")
    shown = "" if len(preview.pages) == preview.total else f"; the first {len(preview.pages)} are shown"
    st.html(markup.quiet(f"{document.name} · page {number} of {preview.total}{shown}"))


def _answer(config: Settings, desk: work.Work, document: work.Document, answer: Prediction) -> None:
    names = Taxonomy.from_settings(config.taxonomy)
    st.html(markup.verdict(names.display(answer.label), answer.probability))
    coverage, limit = _promises(config, desk)
    st.html(_decision(answer, limit))
    _feedback(desk, document, answer, names)
    st.markdown("##### Probabilities")
    st.html(markup.bars([(names.display(t.label), t.probability) for t in answer.top]))
    st.markdown("##### Possible classes")
    st.html(
        markup.chips(names.display(slug) for slug in answer.prediction_set)
        + markup.quiet(f"The right one is among these for {coverage:.0%} of all documents.")
    )
    near, times, origin = st.tabs(["Nearest documents", "Timings", "Lineage"])
    with near:
        _neighbours(answer, names)
    with times:
        _timings(answer.timings_ms)
    with origin:
        _lineage(desk, document, answer)


def _promises(config: Settings, desk: work.Work) -> tuple[float, float | None]:
    """Coverage of the prediction set, and the probability under which somebody should look where the model is known."""
    if isinstance(desk.model, ModelInfo):
        return desk.model.coverage, desk.model.review_threshold
    return config.predict.coverage, None


def _decision(answer: Prediction, limit: float | None) -> str:
    if answer.decision == "accept":
        return markup.decision("accept", "Accepted", "The model is sure enough to be taken at its word.")
    if limit is not None and answer.probability < limit:
        why = f"The probability is below {limit:.0%}: somebody should look at it."
        return markup.decision("review", "For review", why)
    return markup.decision("review", "For review", "The model itself is unsure here: somebody should look at it.")


def _feedback(desk: work.Work, document: work.Document, answer: Prediction, names: Taxonomy) -> None:
    if document.stated is not None:
        kept = "confirmed" if document.stated == answer.label else "corrected"
        st.success(f"{names.display(document.stated)} — {kept}. Thank you; the next training learns from it.")
        return
    if not (desk.may_label and document.kept):
        why = (
            "Only annotators may confirm or correct." if document.kept else "It was not kept, so it cannot be labelled."
        )
        st.html(markup.quiet(why))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button("That is right", icon=":material/check:", type="primary", key=f"right-{document.id}"):
            _state(desk, document, answer, answer.label)
        others = [slug for slug in names.slugs if slug != answer.label]
        label = st.selectbox(
            "No, it is …",
            others,
            index=None,
            format_func=names.display,
            placeholder="No, it is …",
            label_visibility="collapsed",
            key=f"label-{document.id}",
            width=230,
        )
        if st.button("Save", disabled=label is None, key=f"save-{document.id}") and label:
            _state(desk, document, answer, label)


def _state(desk: work.Work, document: work.Document, answer: Prediction, label: str) -> None:
    try:
        desk.client.feedback(answer.prediction_id, label)
    except InvalidToken:
        raise
    except DsdcError as error:
        st.error(explain(error), icon=":material/error:")
        return
    document.stated = label
    st.rerun()


def _neighbours(answer: Prediction, names: Taxonomy) -> None:
    if not answer.neighbours:
        st.html(markup.quiet("There is no labelled document to compare with yet."))
        return
    st.html(
        markup.neighbours(
            [(names.display(n.label), n.similarity, n.label_source, n.document_id) for n in answer.neighbours]
        )
    )


def _timings(timings_ms: Mapping[str, float]) -> None:
    rows = {key.replace("_", " "): f"{value:,.0f} ms" for key, value in timings_ms.items()}
    st.html(markup.facts(rows))


def _lineage(desk: work.Work, document: work.Document, answer: Prediction) -> None:
    if document.lineage is None:
        st.html(markup.facts({"prediction": str(answer.prediction_id), **flat(answer.versions)}))
        if not st.button("Trace it back", icon=":material/account_tree:", key=f"lineage-{document.id}"):
            return
        try:
            document.lineage = desk.client.lineage(answer.prediction_id)
        except InvalidToken:
            raise
        except DsdcError as error:
            st.error(explain(error), icon=":material/error:")
            return
        st.rerun()
    _trace(document.lineage, document.id)


def _trace(lineage: Lineage, key: str) -> None:
    """From the answer back to the bytes, one step a line."""
    st.html(markup.steps(list(steps(lineage))))
    st.download_button(
        "Lineage as JSON",
        lineage.model_dump_json(indent=2),
        f"lineage-{lineage.prediction_id}.json",
        "application/json",
        icon=":material/download:",
        key=f"download-{key}",
    )


def steps(lineage: Lineage) -> Iterator[tuple[str, str]]:
    """(what, which) of everything that the answer stands on."""
    document, model, snapshot = lineage.document, lineage.model, lineage.snapshot
    size = f", {document.byte_size:,} bytes" if document.byte_size else ""
    yield "Answer", f"{lineage.prediction_id}, {_when(lineage.predicted)}, asked by {lineage.requested_by}"
    yield (
        "Document",
        f"SHA-256 {document.sha256[:16]}…{size}" + (f", {document.media_type}" if document.media_type else ""),
    )
    if arrival := document.sighting:
        yield "Arrival", f"{_when(arrival.seen)}, {arrival.source}, as {arrival.name}"
    for page in lineage.pages:
        yield f"Page {page.page} image", f"{_processor(page.renderer)}, SHA-256 {(page.image_sha256 or '')[:16]}…"
        if page.text:
            sure = "" if page.text.confidence is None else f", confidence {markup.percent(page.text.confidence)}"
            yield f"Page {page.page} text", f"{page.text.extraction} by {_processor(page.text.reader)}{sure}"
        for vector in page.embeddings:
            yield f"Page {page.page} {vector.of} vector", vector.clip_version
    yield (
        "Model",
        f"{model.name} version {model.version}, head {model.head_sha256[:16]}…, commit {model.code_commit[:10]}",
    )
    run = f", Airflow run {model.airflow_run}" if model.airflow_run else ""
    yield "Training run", f"MLflow {model.mlflow_run_id}{run}"
    yield "CLIP weights", f"SHA-256 {model.clip_weights_sha256[:16]}…"
    yield "Snapshot", f"{snapshot.id}, {snapshot.documents} labelled documents, SHA-256 {snapshot.sha256[:16]}…"


def _processor(used: ProcessorUsed) -> str:
    return f"{used.name} {used.version}"


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"clip": {"name": "x"}}` -> `{"clip name": "x"}`, for a list of facts."""
    rows: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        rows |= flat(value, name) if isinstance(value, Mapping) else {name: str(value)}
    return rows
