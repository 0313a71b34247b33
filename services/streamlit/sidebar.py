"""Who is signed in, and which model answers."""

from __future__ import annotations

import streamlit as st

from dsdc.errors import DsdcError, InvalidToken
from dsdc.web.contract import ModelInfo
from services.streamlit import markup, work
from services.streamlit.problems import explain


def show(desk: work.Work) -> None:
    with st.sidebar:
        st.html(markup.brand())
        st.divider()
        st.caption("Signed in")
        st.markdown(f"**{desk.user.name}** · {desk.user.role}")
        st.divider()
        st.caption("Model that answers")
        _model(desk)
        st.divider()
        if st.button("Sign out", icon=":material/logout:", width="stretch"):
            sign_out(desk)


def sign_out(desk: work.Work) -> None:
    """Withdraw the tokens; when the auth service is away they are forgotten here and expire by themselves."""
    try:
        desk.client.sign_out()
    except DsdcError:
        work.end("You are signed out here. The sign-in service did not answer; the session there ends by itself.")
    else:
        work.end("You are signed out.")
    st.rerun()


def _model(desk: work.Work) -> None:
    if desk.model is None or isinstance(desk.model, DsdcError):
        desk.model = _ask(desk)
    if isinstance(desk.model, DsdcError):
        st.warning(explain(desk.model), icon=":material/warning:")
    else:
        st.html(markup.facts(_facts(desk.model)))
    if st.button("Refresh", icon=":material/refresh:", type="tertiary"):
        desk.model = None
        st.rerun()


def _ask(desk: work.Work) -> ModelInfo | DsdcError:
    try:
        return desk.client.model()
    except InvalidToken:
        raise
    except DsdcError as error:
        return error


def _facts(model: ModelInfo) -> dict[str, str]:
    facts: dict[str, str] = {
        "Name": model.name,
        "Version": str(model.version),
        "Classes": str(len(model.classes)),
        "CLIP": " ".join(str(model.clip[key]) for key in ("model", "pretrained") if model.clip.get(key)),
        "Head": model.head_sha256[:12],
        "Trained": f"{model.trained:%Y-%m-%d %H:%M} UTC",
    }
    for name, key in (("Accuracy", "accuracy"), ("Macro F1", "macro_f1"), ("Calibration error", "ece")):
        if isinstance(value := model.metrics.get(key), int | float):
            facts[name] = markup.percent(value)
    return facts
