"""What the tests about documents share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dsdc.settings import Settings
from tests.faults.passage import Engines, Passage


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    made = Engines()
    yield made
    made.close()


@pytest.fixture
def passage(database: Settings, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Passage:
    return Passage(engines, monkeypatch)
