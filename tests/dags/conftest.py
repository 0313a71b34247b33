"""A real Airflow on a scratch SQLite database, started before anything imports airflow."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"


def airflow_env(home: Path) -> dict[str, str]:
    """The environment of an Airflow of its own: no example DAGs, no other configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture(scope="session")
def airflow_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="airflow-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def dags(airflow_home: Path) -> dict[str, Any]:
    """DAG id -> DAG, of the project's own files."""
    before = dict(os.environ)
    os.environ.update(airflow_env(airflow_home))
    try:
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(DAGS)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture(scope="session")
def migrated(airflow_home: Path) -> dict[str, str]:
    """Environment of an Airflow whose database is there, with the platform's pools."""
    env = airflow_env(airflow_home)
    script = (
        "from airflow.utils.db import initdb; initdb();"
        "from airflow.models.pool import Pool;"
        "[Pool.create_or_update_pool(name, slots, '', False) for name, slots in (('cpu', 2), ('gpu', 1))]"
    )
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=600, capture_output=True)
    return env
