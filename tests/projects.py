"""Making projects and databases for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from dsdc import settings as settings_module
from dsdc.db import session as session_module
from dsdc.settings import write_secrets

ROOT = Path(__file__).resolve().parent.parent


def forget_settings() -> None:
    """Drop what was cached for another project: settings, secrets, connection pools."""
    settings_module.settings.cache_clear()
    settings_module.secrets.cache_clear()
    session_module.dispose_engines()
    session_module.use_role("pipeline")


def make_project(folder: Path, *, ocr_engine: str | None = None) -> Path:
    """A project's folder with configuration, secrets and data folders, without code.

    Where processes are ended by the dozen and what they read does not matter, `ocr_engine` may name one that starts
    more quickly than the default.
    """
    (folder / ".dsdc_project_root").touch()
    for name in ("config.yaml", ".secrets.template"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("data/to_ingest", "data/raw", "data/processed", "data/rejected", "models", "logs"):
        (folder / name).mkdir(parents=True)
    if ocr_engine is not None:
        (folder / "config.local.yaml").write_text(f"ocr:\n  engine: {ocr_engine}\n")
    write_secrets(folder)
    return folder


def admin(postgres: URL, statement: str) -> None:
    """Run one statement as the superuser, outside a transaction."""
    engine = create_engine(postgres.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
