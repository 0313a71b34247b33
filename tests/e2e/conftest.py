"""Real services, the real page in front of them, and a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from dsdc.samples import Sample, generate
from services.supervisor.ports import free_port
from tests.projects import ROOT
from tests.services.platforms import Platform, running_platform

APP = ROOT / "services" / "streamlit" / "app.py"
CHROMIUM = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class Web:
    platform: Platform
    url: str


@pytest.fixture(scope="session")
def platform(postgres: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """PostgreSQL, auth and predict; the answers come from `stand_in_predict` of this folder."""
    with running_platform(postgres, tmp_path_factory.mktemp("web")) as running:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        running.start("tests.e2e.stand_in_predict", "named.log", url, DSDC_PREDICT_PORT=str(port))
        running.predict = url
        running.env["DSDC_STREAMLIT_PREDICT_URL"] = url
        yield running


@pytest.fixture(scope="session")
def web(platform: Platform) -> Iterator[Web]:
    """The page, started as the platform starts it."""
    port = free_port()
    command, env = [sys.executable, "-m", "services.streamlit.launch"], {"DSDC_STREAMLIT_PORT": str(port)}
    with (platform.root / "logs" / "streamlit.log").open("ab") as out:
        started = subprocess.Popen(command, cwd=ROOT, env=os.environ | platform.env | env, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    _wait_well(f"{url}/_stcore/health", started, platform.root / "logs" / "streamlit.log")
    yield Web(platform, url)
    started.terminate()
    started.wait(120)


def _wait_well(url: str, started: subprocess.Popen[bytes], log: Path) -> None:
    """Until the page answers, or say what it said."""
    end = time.monotonic() + 300
    with httpx.Client(timeout=30, trust_env=False) as client:
        while time.monotonic() < end and started.poll() is None:
            with suppress(httpx.TransportError):
                if client.get(url).is_success:
                    return
            time.sleep(0.2)
    raise AssertionError(f"the page does not answer:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> a real document: a PDF with text, a scanned PDF or TIFF, a photograph."""
    folder = tmp_path_factory.mktemp("samples")
    made: list[Sample] = generate(folder, count=20, seed=4, slugs=["invoice", "letter", "form"])
    return {sample.kind: folder / sample.file for sample in made}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # Not for the whole session: while playwright runs, its event loop is this thread's, and asyncio.run() refuses.
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser"),
            executable_path=CHROMIUM,
            headless=True,
            args=[*quiet, "--disable-component-update"],
            viewport={"width": 1360, "height": 940},
            timeout=180_000,
        )
        yield context
        context.close()
