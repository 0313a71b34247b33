from __future__ import annotations

from pathlib import Path

import pytest

from dsdc.processors.embed.weights import WeightsStore
from dsdc.settings import Clip
from tests.projects import ROOT


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The checkout's models folder, with dsdc-lite in it (built once, in seconds)."""
    WeightsStore(Clip(), ROOT / "models").fetch()
    return ROOT / "models"
