"""The page itself: `streamlit run services/streamlit/app.py`. Sign in, upload, read the answers, correct them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dsdc.errors import DsdcError, InvalidToken
from dsdc.settings import Settings, settings
from services.streamlit import answer, markup, sidebar, sign_in, work
from services.streamlit.problems import explain

TYPES = ["pdf", "tif", "tiff", "png", "jpg", "jpeg", "webp", "bmp", "eml"]
STYLE = Path(__file__).with_name("style.css")


def main() -> None:
    st.set_page_config(page_title="DSDC · Document classification", page_icon=":material/stacks:", layout="wide")
    st.html(STYLE)
    config, desk = settings(), work.current()
    if desk is None:
        sign_in.show(config)
        return
    try:
        sidebar.show(desk)
        workspace(config, desk)
    except InvalidToken as error:
        work.end(explain(error).replace("**", ""))
        st.rerun()


def workspace(config: Settings, desk: work.Work) -> None:
    st.header("What kind of document is it?", anchor=False)
    uploads = st.file_uploader(
        "PDF, image or e-mail; several at once are welcome.",
        type=TYPES,
        accept_multiple_files=True,
        max_upload_size=config.predict.max_upload_mb,
    )
    keep = st.toggle(
        "Keep in the archive",
        value=True,
        help="Kept documents can be searched, labelled and trained on, and every answer traced back. "
        "Otherwise the file itself is forgotten after the answer.",
    )
    classify(desk, desk.take(uploads), keep=keep)
    if not desk.documents:
        st.html(markup.empty("Nothing here yet", "Upload a document to see its class, how sure the model is, and why."))
        return
    st.divider()
    answer.show(config, desk, choose(desk))


def classify(desk: work.Work, waiting: list[work.Document], *, keep: bool) -> None:
    """Send what was not sent yet, one after the other; an error belongs to its document."""
    slot = (
        st.empty()
    )  # there in every run: what comes and goes moves what is below it, and the browser forgets its tabs
    if not waiting:
        return
    bar = slot.progress(0.0)
    for number, document in enumerate(waiting):
        bar.progress(number / len(waiting), f"Reading {number + 1} of {len(waiting)} …")
        document.kept = keep
        try:
            document.prediction = desk.client.predict(document.data, name=document.name, store=keep)
        except InvalidToken:
            raise
        except DsdcError as error:
            document.error = error
    slot.empty()


def choose(desk: work.Work) -> work.Document:
    """The document to look at; with several there is a row of them, what needs a person marked."""
    documents = list(desk.documents.values())
    if len(documents) == 1:
        return documents[0]
    open_now = sum(_needs_review(d) for d in documents)
    st.caption(f"{len(documents)} documents · {open_now} to look at" if open_now else f"{len(documents)} documents")
    key = st.pills(
        "Document",
        [d.id for d in documents],
        default=next((d.id for d in documents if _needs_review(d)), documents[0].id),
        required=True,
        format_func=lambda key: f"{_mark(desk.documents[key])} {desk.documents[key].name}",
        label_visibility="collapsed",
        key="chosen-" + "-".join(desk.documents),
    )
    return desk.documents[key]


def _needs_review(document: work.Document) -> bool:
    answered = document.prediction
    return document.stated is None and (answered is None or answered.decision == "review")


def _mark(document: work.Document) -> str:
    if document.error is not None:
        return ":material/error:"
    if document.stated is not None:
        return ":material/done_all:"
    return ":material/visibility:" if _needs_review(document) else ":material/check:"


main()
