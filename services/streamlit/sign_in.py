"""The first page."""

from __future__ import annotations

import streamlit as st

from dsdc.client import Client
from dsdc.errors import DsdcError
from dsdc.settings import Settings
from services.streamlit import browser, markup, work
from services.streamlit.problems import explain


def show(config: Settings) -> None:
    _, middle, _ = st.columns([1, 1.1, 1])
    with middle:
        st.space("large")
        st.html(markup.brand())
        if told := work.notice():
            st.info(told, icon=":material/info:")
        with st.form("sign-in", border=True):
            st.subheader("Sign in", anchor=False)
            user = st.text_input("User name", autocomplete="username")
            password = st.text_input("Password", type="password", autocomplete="current-password")
            sent = st.form_submit_button("Sign in", type="primary", width="stretch")
        st.caption("Accounts are made by an administrator with `dsdc users add`.")
        if sent:
            _sign_in(config, user.strip(), password)


def _sign_in(config: Settings, user: str, password: str) -> None:
    if not user or not password:
        st.warning("Enter your user name and your password.", icon=":material/edit:")
        return
    client = Client.from_settings(config, headers=browser.forwarding())
    try:
        with st.spinner("Signing in …"):
            client.sign_in(user, password)
            work.begin(work.Work(client, client.me()))
    except DsdcError as error:
        st.error(explain(error), icon=":material/error:")
        return
    st.rerun()
