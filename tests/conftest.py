"""A project of its own for every test that needs one; one real PostgreSQL for the whole run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy.engine import URL, make_url
from xdist.scheduler import LoadScopeScheduling

from dsdc import settings as settings_module
from dsdc.db.setup import setup_database
from dsdc.settings import Settings
from services.supervisor import ports
from tests.projects import ROOT, admin, forget_settings, make_project

# MLflow, which the tests import before the platform has said so: nothing calls home, beside or during a test.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# The same examples in each run, however long one takes.
hypothesis.settings.register_profile("dsdc", deadline=None, derandomize=True)
hypothesis.settings.load_profile("dsdc")

SHARED_SERVERS = ("tests/dags/", "tests/e2e/", "tests/services/")


class TogetherByServer(LoadScopeScheduling):
    """With `-n`: a file's tests in one process, in their order; a folder's where they share servers of their own."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in SHARED_SERVERS if file.startswith(folder)), file)


def pytest_configure(config: pytest.Config) -> None:
    """With `-n`: each process gives its own free ports; seconds may pass before a server comes to listen on one."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        ports._UNASSIGNED = ports._UNASSIGNED[int(worker.removeprefix("gw")) % count :: count]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherByServer:
    return TogetherByServer(config, log)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project; `settings()` reads it. CLIP weights are shared with the checkout, for they take seconds."""
    for name in list(os.environ):
        if name.startswith("DSDC_") and name not in ("DSDC_CORPUS", "DSDC_TEST_DATABASE_URL"):
            monkeypatch.delenv(name)
    root = make_project(tmp_path)
    (ROOT / "models" / "clip").mkdir(parents=True, exist_ok=True)
    (root / "models" / "clip").symlink_to(ROOT / "models" / "clip")
    monkeypatch.setenv("DSDC_DIR", str(root))
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", "0")
    forget_settings()
    yield root
    forget_settings()


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A server with pgvector as a superuser sees it: DSDC_TEST_DATABASE_URL, or one started for this run."""
    given = os.environ.get("DSDC_TEST_DATABASE_URL")
    if given:
        yield make_url(given)
        return
    from services.postgres.embedded import temporary_server

    with temporary_server() as server:
        yield server.url("postgres")


@pytest.fixture(scope="session")
def template_database(postgres: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database from which tests copy theirs in milliseconds."""
    name = f"dsdc_template_{uuid.uuid4().hex[:8]}"
    root = make_project(tmp_path_factory.mktemp("template"))
    before = {key: os.environ.get(key) for key in ("DSDC_DIR", "DSDC_DATABASE_URL", "DSDC_DATABASE_LEAST_PRIVILEGE")}
    os.environ |= {
        "DSDC_DIR": str(root),
        "DSDC_DATABASE_URL": postgres.set(database=name).render_as_string(hide_password=False),
        "DSDC_DATABASE_LEAST_PRIVILEGE": "false",
    }
    forget_settings()
    try:
        setup_database(settings_module.settings())
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        forget_settings()
    yield name
    for suffix in ("", "_airflow", "_mlflow"):
        admin(postgres, f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)')


@pytest.fixture
def database(
    project: Path, postgres: URL, template_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The project with a migrated, empty database of its own."""
    name = f"dsdc_test_{uuid.uuid4().hex[:12]}"
    admin(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    monkeypatch.setenv("DSDC_DATABASE_URL", postgres.set(database=name).render_as_string(hide_password=False))
    monkeypatch.setenv("DSDC_DATABASE_LEAST_PRIVILEGE", "false")
    forget_settings()
    yield settings_module.settings()
    forget_settings()
    admin(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real documents, with labels.csv."""
    folder = Path(os.environ.get("DSDC_CORPUS") or ROOT.parent / "shared" / "corpus")
    if not (folder / "labels.csv").is_file():
        pytest.skip(f"no real documents at {folder}: set DSDC_CORPUS to a folder with labels.csv")
    return folder
