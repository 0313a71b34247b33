"""The page in a real browser, in front of the real services."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dsdc.db.repositories.labels import Labels
from dsdc.db.session import transaction
from tests.e2e.conftest import Web

SLOW_MS = 120_000


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    tab = browser.new_page()
    tab.set_default_timeout(SLOW_MS)
    expect.set_options(timeout=SLOW_MS)
    yield tab
    tab.close()


def shoot(page: Page, name: str) -> None:
    """A picture of the whole page, for people, where DSDC_SHOTS names a folder."""
    if folder := os.environ.get("DSDC_SHOTS"):
        page.wait_for_timeout(700)
        page.screenshot(path=Path(folder) / f"{name}.png")


def sign_in(page: Page, web: Web, user: str) -> None:
    page.goto(web.url)
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password", exact=True).fill(web.platform.passwords[user])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="What kind of document is it?")).to_be_visible()


def named(source: Path, folder: Path, name: str) -> Path:
    return Path(shutil.copy(source, folder / name))


def test_from_sign_in_to_a_correction(page: Page, web: Web, samples: dict[str, Path], tmp_path: Path) -> None:
    page.goto(web.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    shoot(page, "1-sign-in")
    sign_in(page, web, "the-annotator")
    expect(page.get_by_text("the-annotator")).to_be_visible()
    shoot(page, "2-empty")

    document = named(samples["pdf-text"], tmp_path, "invoice-92.pdf")
    page.locator("input[type=file]").set_input_files(document)
    expect(page.locator(".verdict .class")).to_have_text("Invoice")
    expect(page.locator(".verdict .share")).to_have_text("92.0 %")
    expect(page.locator(".decision.accept")).to_be_visible()
    expect(page.locator(".bars .row")).to_have_count(3)
    expect(page.locator(".near .mono")).to_have_count(3)
    image = page.locator("[data-testid=stImage] img")
    expect(image).to_be_visible()
    page.wait_for_function("document.querySelector('[data-testid=stImage] img').naturalWidth > 500")
    shoot(page, "3-answer")

    page.get_by_role("tab", name="Lineage").click()
    page.get_by_role("button", name="Trace it back").click()
    expect(page.locator(".steps")).to_contain_text("Snapshot")
    shoot(page, "4-lineage")

    page.get_by_label("No, it is …").click()
    page.get_by_role("option", name="Form", exact=True).click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Form — corrected")).to_be_visible()
    with web.platform.here(), transaction("owner") as session:
        stated = Labels(session).current("rvl-cdip")
    assert [(s.label, s.source, s.author) for s in stated] == [("form", "human", "the-annotator")]

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()


def test_several_documents_at_once_and_the_bad_one_among_them(
    page: Page, web: Web, samples: dict[str, Path], tmp_path: Path
) -> None:
    """A hostile name is text, an unreadable file is a message, and what needs a person comes first."""
    sign_in(page, web, "the-viewer")
    hostile = "letter-97 <img src=x onerror=alert(1)>.tif"
    files = [
        named(samples["tiff-g4"], tmp_path, hostile),
        named(samples["photo"], tmp_path, "form-41.jpg"),
        named(samples["pdf-text"], tmp_path, "broken.pdf"),
    ]
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_text("3 documents · 2 to look at")).to_be_visible()
    expect(page.locator(".decision.review")).to_contain_text("below 50%")
    expect(page.get_by_text("Only annotators may confirm or correct.")).to_be_visible()
    shoot(page, "5-review")
    page.get_by_role("radio", name="broken.pdf").click()
    expect(page.get_by_text("The file is damaged.")).to_be_visible()
    shoot(page, "6-broken")
    page.get_by_role("radio", name=hostile).click()
    expect(page.locator(".verdict .class")).to_have_text("Letter")
    assert alerts == []
    assert page.locator("img[src=x]").count() == 0


def test_tokens_stay_on_the_server(page: Page, web: Web) -> None:
    """Nothing that the browser receives or keeps is a token."""
    received: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(_bytes(frame))))
    sign_in(page, web, "the-viewer")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert received
    assert "eyJ" not in kept + page.content()
    assert not [frame for frame in received if b"eyJ" in frame]


def _bytes(frame: Any) -> bytes:
    return frame.encode() if isinstance(frame, str) else bytes(frame)
