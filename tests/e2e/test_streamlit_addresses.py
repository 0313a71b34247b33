"""Who asks through the page is counted under the browser's own address, not under the page's.

The browsers here are WebSockets that speak Streamlit's protocol: a real one cannot choose the address it comes from.
"""

from __future__ import annotations

from uuid import uuid4

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.conftest import Web

MALLORY, ADA = "127.0.0.5", "127.0.0.6"  # all of 127/8 is this machine
FORGIVEN = 5  # auth.max_failures


class Browser:
    """The sign-in form as a browser at `address` sees it."""

    def __init__(self, web: Web, address: str, **headers: str) -> None:
        self._web, self._address, self._headers = web, address, headers

    def sign_in(self, name: str, password: str) -> str:
        """What the page says then: the error, or nothing where it lets the person in."""
        with self._connect() as socket:
            form = _run(socket, BackMsg())
            said = BackMsg()
            widgets = said.rerun_script.widget_states.widgets
            for field, value in zip(form.fields, (name, password), strict=True):
                widgets.add(id=field, string_value=value)
            widgets.add(id=form.button, trigger_value=True)
            return " ".join(_run(socket, said).errors)

    def _connect(self) -> ClientConnection:
        return connect(
            self._web.url.replace("http", "ws") + "/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            source_address=(self._address, 0),
            additional_headers={key.replace("_", "-"): value for key, value in self._headers.items()},
            max_size=None,
            open_timeout=120,
            ping_timeout=None,
        )


class _Shown:
    """What one run of the page has drawn."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self.button = ""
        self.errors: list[str] = []

    def take(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        if element.HasField("text_input"):
            self.fields.append(element.text_input.id)
        elif element.HasField("button") and element.button.is_form_submitter:
            self.button = element.button.id
        elif element.HasField("alert"):
            self.errors.append(element.alert.body)


def _run(socket: ClientConnection, asked: BackMsg) -> _Shown:
    """Ask for a run, and collect what it draws until it ends; one that is asked to run again begins anew."""
    if not asked.HasField("rerun_script"):
        asked.rerun_script.SetInParent()
    socket.send(asked.SerializeToString())
    shown = _Shown()
    while True:
        message = ForwardMsg()
        message.ParseFromString(bytes(socket.recv(timeout=300)))  # type: ignore[arg-type]
        if message.WhichOneof("type") == "script_finished":
            if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return shown
            shown = _Shown()
        shown.take(message)


def test_a_stranger_s_wrong_passwords_shut_nobody_else_out(web: Web) -> None:
    name = web.platform.user("viewer")
    right, mallory = web.platform.passwords[name], Browser(web, MALLORY)
    said = [mallory.sign_in(name, "wrong") for _ in range(FORGIVEN + 1)]
    assert ["wrong" in one for one in said] == [True] * FORGIVEN + [False]
    assert "Too many failed attempts" in said[-1]
    assert Browser(web, ADA).sign_in(name, right) == ""
    assert "Too many failed attempts" in mallory.sign_in(name, right)
    found = web.platform.of_role("admin").audit(limit=10, actor=name).entries
    assert {str(entry.address) for entry in found} == {MALLORY, ADA}


def test_a_browser_cannot_name_another_address_as_its_own(web: Web) -> None:
    """Neither in its headers from afar, nor through a tunnel, whose end is on this machine."""
    for place, counted in ((MALLORY, MALLORY), ("127.0.0.1", "127.0.0.1")):
        name = web.platform.user("viewer")
        liar = Browser(web, place, X_Forwarded_For=ADA, X_DSDC_Proxy_Token=uuid4().hex)
        assert liar.sign_in(name, web.platform.passwords[name]) == ""
        (entry,) = web.platform.of_role("admin").audit(limit=10, actor=name).entries
        assert str(entry.address) == counted
