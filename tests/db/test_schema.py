"""Migrations, tables, roles and grants."""

from __future__ import annotations

import uuid

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, InternalError, ProgrammingError

from dsdc.db.session import transaction
from dsdc.db.setup import alembic_config, setup_database
from dsdc.errors import DatabaseUnavailable
from dsdc.settings import Settings, settings
from tests.projects import admin, forget_settings

DOCUMENT = "a" * 64


def add_document(session, document_id: str = DOCUMENT) -> None:
    session.execute(
        text(
            "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
            " VALUES (:id, 'raw/x', 'x.pdf', 'application/pdf', 1)"
        ),
        {"id": document_id},
    )


def test_migrations_and_tables_agree(database: Settings) -> None:
    command.check(alembic_config())


def test_vectors_that_are_no_directions_are_refused(database: Settings) -> None:
    with transaction() as session:
        add_document(session)
        processor = session.execute(
            text(
                "INSERT INTO processors (stage, name, version, params_hash, params)"
                " VALUES ('x', 'x', '1', repeat('0', 64), '{}') RETURNING id"
            )
        ).scalar_one()
        image = session.execute(
            text(
                "INSERT INTO processed_images (document_id, page, image_file, image_sha256, byte_size, width, height,"
                " mode, processor_id) VALUES (:d, 1, 'f', repeat('0', 64), 1, 1, 1, 'L', :p) RETURNING id"
            ),
            {"d": DOCUMENT, "p": processor},
        ).scalar_one()
    insert = text(
        "INSERT INTO embeddings (processed_image_id, clip_version, width, embedding, processor_id)"
        " VALUES (:i, 'x', :w, CAST(:v AS vector), :p)"
    )
    for width, vector in ((2, "[0,0]"), (3, "[1,0]"), (2, "[2,0]")):
        with pytest.raises(IntegrityError), transaction() as session:
            session.execute(insert, {"i": image, "w": width, "v": vector, "p": processor})
    with transaction() as session:
        session.execute(insert, {"i": image, "w": 2, "v": "[1,0]", "p": processor})
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(insert, {"i": image, "w": 2, "v": "[0,1]", "p": processor})


@pytest.fixture
def full_setup(project, postgres: URL, monkeypatch: pytest.MonkeyPatch):
    """A database with all roles, set up twice, as `scripts/start.sh` does."""
    name = f"dsdc_roles_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("DSDC_DATABASE_URL", postgres.set(database=name).render_as_string(hide_password=False))
    forget_settings()
    setup_database(settings())
    setup_database(settings())
    yield settings()
    forget_settings()
    for suffix in ("", "_airflow", "_mlflow"):
        admin(postgres, f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)')
    for role in ("pipeline", "serve", "auth", "exporter", "airflow", "mlflow"):
        admin(postgres, f'DROP ROLE IF EXISTS "{name}_{role}"')


def test_each_role_may_do_its_work_and_no_more(full_setup: Settings) -> None:
    with transaction("pipeline") as session:
        add_document(session)
    hidden = ["SELECT * FROM users", "SELECT * FROM api_keys"]
    refused = {
        "pipeline": [*hidden, "DELETE FROM original_documents", "UPDATE labels SET label = 'x'"],
        "serve": [*hidden, "DELETE FROM predictions", "INSERT INTO model_aliases DEFAULT VALUES"],
        "auth": ["SELECT * FROM original_documents", "DELETE FROM audit_log", "DELETE FROM api_keys"],
        "exporter": ["SELECT * FROM original_documents"],
    }
    for role, statements in refused.items():
        for statement in statements:
            with pytest.raises(ProgrammingError, match="permission denied"), transaction(role) as session:
                session.execute(text(statement))
    with transaction("serve") as session:
        assert session.execute(text("SELECT count(*) FROM original_documents")).scalar() == 1
    for side in ("airflow", "mlflow"):
        with transaction(side) as session:
            session.execute(text("CREATE TABLE mine (id int)"))


def test_the_pipeline_deletes_what_is_forgotten_and_nothing_else(full_setup: Settings) -> None:
    erase = text("SELECT erase_document(:id, '{}')")
    with transaction("pipeline") as session:
        add_document(session)
        session.execute(
            text("INSERT INTO sightings (document_id, source, name) VALUES (:id, 'cli', 'x.pdf')"), {"id": DOCUMENT}
        )
    for role in ("serve", "auth"):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction(role) as session:
            session.execute(erase, {"id": DOCUMENT})
    with pytest.raises(InternalError, match="not marked as forgotten"), transaction("pipeline") as session:
        session.execute(erase, {"id": DOCUMENT})
    with transaction("pipeline") as session:
        session.execute(text("UPDATE original_documents SET state = 'forgotten'"))
        found = session.execute(erase, {"id": DOCUMENT}).scalar_one()
        assert found["names"] == 1
        assert session.execute(text("SELECT original_name FROM original_documents")).scalar() == ""


def test_a_stopped_database_is_named_with_what_to_do(project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_DATABASE_URL", "postgresql://nobody:hushhushhush@127.0.0.1:1/none")
    forget_settings()
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/none.*start\.sh") as raised, transaction("owner"):
        pass  # opening the session is lazy; the first statement connects
        from dsdc.db.session import ping

        ping("owner")
    assert "hushhushhush" not in str(raised.value)
