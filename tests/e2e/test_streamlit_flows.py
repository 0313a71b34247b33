"""The page without a browser: Streamlit's own test runner, in front of the real services."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from services.supervisor.ports import free_port
from tests.e2e.conftest import APP
from tests.projects import forget_settings
from tests.services.platforms import MODEL, Platform


@pytest.fixture
def app(platform: Platform) -> Iterator[AppTest]:
    with platform.here():
        yield AppTest.from_file(str(APP), default_timeout=300).run()


def sign_in(app: AppTest, name: str, password: str) -> AppTest:
    app.text_input[0].set_value(name)
    app.text_input[1].set_value(password)
    return next(b for b in app.button if b.label == "Sign in").click().run()


def button(app: AppTest, label: str) -> AppTest:
    return next(b for b in app.button if b.label == label).click().run()


def html(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def test_a_wrong_password_is_refused_in_words(app: AppTest, platform: Platform) -> None:
    sign_in(app, platform.user("viewer"), "not the password at all")
    assert "User name or password is wrong." in app.error[0].value
    assert not app.file_uploader


def test_an_empty_form_is_not_sent(app: AppTest) -> None:
    sign_in(app, " ", "")
    assert "Enter your user name" in app.warning[0].value


def test_a_service_that_is_down_is_named(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    with platform.here():
        monkeypatch.setenv("DSDC_AUTH_URL", "http://127.0.0.1:9")
        forget_settings()
        app = AppTest.from_file(str(APP), default_timeout=300).run()
        sign_in(app, "the-viewer", platform.passwords["the-viewer"])
        assert "does not answer" in app.error[0].value
        assert "127.0.0.1" not in app.error[0].value, "addresses are for whoever runs the platform"


def test_a_text_file_in_a_pdf_s_clothes(app: AppTest, platform: Platform) -> None:
    sign_in(app, "the-viewer", platform.passwords["the-viewer"])
    app.file_uploader[0].set_value(("notes.pdf", b"dear diary, " * 40, "application/pdf")).run()
    assert "This type of file is not supported." in app.error[0].value
    assert "No preview" in html(app)


def test_what_is_not_kept_cannot_be_labelled(app: AppTest, platform: Platform, samples: dict[str, Path]) -> None:
    sign_in(app, "the-annotator", platform.passwords["the-annotator"])
    app.toggle[0].set_value(False).run()
    app.file_uploader[0].set_value(("letter-88.pdf", samples["pdf-text"].read_bytes(), "application/pdf")).run()
    assert "Letter" in html(app)
    assert "88.0\u00a0%" in html(app)
    assert "cannot be labelled" in html(app)
    assert not [b for b in app.button if b.label == "That is right"]


def test_confirming_keeps_one_prediction(app: AppTest, platform: Platform, samples: dict[str, Path]) -> None:
    """A rerun of the page does not send the document again."""
    sign_in(app, "the-annotator", platform.passwords["the-annotator"])
    app.file_uploader[0].set_value(("form-77.jpg", samples["photo"].read_bytes(), "image/jpeg")).run()
    (document,) = app.session_state["work"].documents.values()
    first = document.prediction.prediction_id
    button(app, "That is right")
    assert "Form — confirmed" in app.success[0].value
    app.run()
    (document,) = app.session_state["work"].documents.values()
    assert document.prediction.prediction_id == first
    assert document.stated == "form"


def test_a_session_that_ended_elsewhere_leads_back_to_the_door(app: AppTest, platform: Platform) -> None:
    name = platform.user("viewer")
    sign_in(app, name, platform.passwords[name])
    assert app.file_uploader
    app.session_state["work"].client.sign_out()
    button(app, "Refresh")
    assert "Your session has ended." in app.info[0].value
    assert "work" not in app.session_state
    assert [b.label for b in app.button] == ["Sign in"]


def test_the_sidebar_names_the_model(app: AppTest, platform: Platform) -> None:
    sign_in(app, "the-admin", platform.passwords["the-admin"])
    facts = html(app)
    assert f"<dd>{MODEL}</dd>" in facts
    assert "<dt>Version</dt><dd>1</dd>" in facts
    assert "<dt>Classes</dt><dd>3</dd>" in facts


def test_what_met_a_service_that_was_away_can_be_sent_again(
    platform: Platform, samples: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with platform.here():
        monkeypatch.setenv("DSDC_STREAMLIT_PREDICT_URL", url)
        forget_settings()
        app = AppTest.from_file(str(APP), default_timeout=300).run()
        sign_in(app, "the-viewer", platform.passwords["the-viewer"])
        app.file_uploader[0].set_value(("letter-81.pdf", samples["pdf-text"].read_bytes(), "application/pdf")).run()
        assert "does not answer" in app.error[0].value
        platform.start("tests.e2e.stand_in_predict", "later.log", url, DSDC_PREDICT_PORT=str(port))
        assert app.run().error, "nothing is sent again unasked"
        button(app, "Try again")
        assert not app.error
        assert "81.0\u00a0%" in html(app)


def test_what_is_wrong_with_the_file_is_not_tried_again(app: AppTest, platform: Platform) -> None:
    sign_in(app, "the-viewer", platform.passwords["the-viewer"])
    app.file_uploader[0].set_value(("notes.pdf", b"dear diary, " * 40, "application/pdf")).run()
    assert app.error
    assert not [b for b in app.button if "again" in b.label]


def test_a_parser_that_dies_costs_the_preview_alone(
    app: AppTest, platform: Platform, samples: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nsleep 0.2\nkill -SEGV $$\n")
    dying.chmod(0o755)
    sign_in(app, "the-viewer", platform.passwords["the-viewer"])
    with monkeypatch.context() as sabotage:
        sabotage.setattr(sys, "executable", str(dying))  # what child processes are started with
        app.file_uploader[0].set_value(("letter-82.pdf", samples["pdf-text"].read_bytes(), "application/pdf")).run()
        assert not app.exception
        assert "No preview" in html(app)
        assert "82.0\u00a0%" in html(app)
    button(app, "Draw the pages again")
    assert not app.exception
    assert "No preview" not in html(app)
    assert "82.0\u00a0%" in html(app)
