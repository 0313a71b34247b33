"""One platform of real processes for all tests of the services."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.services.platforms import Platform, running_platform


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """httpx gives up after five seconds where nobody says how long; a busy machine may take longer."""
    usual = httpx._config.DEFAULT_TIMEOUT_CONFIG
    before = usual.as_dict()
    for name in before:
        setattr(usual, name, 60.0)
    yield
    for name, seconds in before.items():
        setattr(usual, name, seconds)


@pytest.fixture(scope="session")
def platform(postgres: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(postgres, tmp_path_factory.mktemp("platform")) as running:
        yield running
