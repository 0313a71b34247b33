"""One platform of real processes for all tests of the services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from tests.services.platforms import Platform, running_platform


@pytest.fixture(scope="session")
def platform(postgres: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(postgres, tmp_path_factory.mktemp("platform")) as running:
        yield running
