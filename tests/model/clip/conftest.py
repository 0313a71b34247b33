from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take ten times as long as one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
