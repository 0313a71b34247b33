"""Bring a PostgreSQL server to what the platform needs: roles, databases, extension, schema, grants.

Everything here may run again at any time. It runs as the owner (`database.url`, or the embedded server's owner).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from alembic import command
from alembic.config import Config
from psycopg2 import sql
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from dsdc.db.session import engine_url
from dsdc.errors import DatabaseError, DatabaseUnavailable
from dsdc.log import get_logger
from dsdc.settings import DatabaseRole, Settings, secrets

log = get_logger(__name__)

MIN_SERVER = 150000  # what the schema was tried on
MIN_PGVECTOR = (0, 8)  # iterative index scans, without which few labelled documents among many are not found

# Tables each role reads and writes. Nobody but the owner may delete or change lineage.
_READ_ALL = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
_GRANTS: dict[str, tuple[str, ...]] = {
    "pipeline": (
        _READ_ALL,
        "GRANT INSERT ON ALL TABLES IN SCHEMA public TO {role}",
        "REVOKE ALL ON users, refresh_tokens, api_keys, alembic_version FROM {role}",
        "GRANT SELECT ON alembic_version TO {role}",
        "GRANT UPDATE ON stage_attempts TO {role}",
        "GRANT UPDATE (file_path, original_name, page_count, state) ON original_documents TO {role}",
        "GRANT UPDATE (superseded_by) ON labels TO {role}",
        "GRANT UPDATE ON rejected_documents TO {role}",
        # The one way to delete lineage: of a document that is marked as forgotten.
        "GRANT EXECUTE ON FUNCTION erase_document(text, jsonb) TO {role}",
    ),
    "serve": (
        _READ_ALL,
        "REVOKE ALL ON users, refresh_tokens, api_keys, audit_log FROM {role}",
        "GRANT INSERT ON original_documents, sightings, processors, processed_images, raw_texts, processed_texts,"
        " embeddings, stage_attempts, predictions, labels, audit_log TO {role}",
        "GRANT UPDATE ON stage_attempts TO {role}",
        "GRANT UPDATE (file_path, page_count, state) ON original_documents TO {role}",
        "GRANT UPDATE (released) ON rejected_documents TO {role}",
        "GRANT UPDATE (superseded_by) ON labels TO {role}",
        # Orders and their receipts, which are no lineage.
        "GRANT INSERT, UPDATE, DELETE ON prediction_batches, prediction_batch_items, idempotency_keys TO {role}",
    ),
    "auth": (
        "GRANT SELECT ON alembic_version TO {role}",
        "GRANT SELECT, INSERT, UPDATE ON users, refresh_tokens, api_keys TO {role}",
        "GRANT SELECT, INSERT ON audit_log TO {role}",
    ),
    "exporter": ("GRANT pg_monitor TO {role}",),
}


def setup_database(config: Settings) -> None:
    """Create what is missing and migrate to the newest schema.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
        DatabaseError: the server is too old, lacks pgvector, or the user may not do what is needed; says what to run.
    """
    owner = config.database_url("owner")
    try:
        _ensure_database(owner)
        with _connect(owner) as connection:
            _check_server(connection)
            if config.database.least_privilege:
                _ensure_roles(connection, config)
        for name in ("airflow", "mlflow"):
            _ensure_side_database(config, name)
        migrate(owner)
        if config.database.least_privilege:
            with _connect(owner) as connection:
                _grant(connection, config)
    except OperationalError as error:
        raise DatabaseUnavailable(
            f"PostgreSQL at {engine_url()} does not answer: {_first_line(error)}.",
            hint="Check that it runs and that database.url is right.",
        ) from error


def _connect(url: URL) -> Connection:
    """A connection in autocommit, for CREATE DATABASE cannot run in a transaction; closing it really ends it."""
    made = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 10})
    return made.connect()


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["no answer"])[0]


def _maintenance(url: URL) -> URL:
    return url.set(database="postgres")


_DATABASE = "SELECT 1 FROM pg_database WHERE datname = :name"


def _exists(connection: Connection, query: str, name: str) -> bool:
    return connection.execute(text(query), {"name": name}).first() is not None


def _ensure_database(owner: URL) -> None:
    """Create the platform's own database if the server has none of that name."""
    try:
        _connect(owner).close()
    except OperationalError:
        # Why it cannot be entered is told in the server's language alone, so its catalogue is asked.
        if not _is_missing(owner):
            raise
        with _connect(_maintenance(owner)) as connection:
            _create_database(connection, str(owner.database), None)


def _is_missing(owner: URL) -> bool:
    """Whether the server is there and has no such database; False where the owner may not look."""
    try:
        with _connect(_maintenance(owner)) as connection:
            return not _exists(connection, _DATABASE, str(owner.database))
    except OperationalError:
        return False


def _create_database(connection: Connection, name: str, owner: str | None) -> None:
    statement = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(name))
    if owner:
        statement += sql.SQL("OWNER {}").format(sql.Identifier(owner))
    try:
        _execute(connection, statement)
    except ProgrammingError as error:
        raise DatabaseError(
            f"The database {name} cannot be created: {_first_line(error)}.",
            hint=f'Have an administrator run: CREATE DATABASE "{name}"' + (f' OWNER "{owner}";' if owner else ";"),
        ) from error
    log.info("db.database_created", database=name)


def _execute(connection: Connection, statement: sql.Composable) -> None:
    """Run DDL whose names psycopg2 has quoted; SQLAlchemy's text() cannot quote identifiers."""
    raw: Any = connection.connection.driver_connection
    connection.exec_driver_sql(statement.as_string(raw).replace("%", "%%"))


def _check_server(connection: Connection) -> None:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if version < MIN_SERVER:
        raise DatabaseError(f"PostgreSQL {version // 10000} is too old.", hint="Use PostgreSQL 15 or newer.")
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except (ProgrammingError, OperationalError, DBAPIError) as error:
        raise DatabaseError(
            f"The pgvector extension is not to be had: {_first_line(error)}.",
            hint="Install pgvector on the server (package postgresql-<version>-pgvector) and, as a superuser, run"
            " CREATE EXTENSION vector; in this database.",
        ) from error
    found = str(connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar_one())
    if tuple(int(part) for part in found.split(".")[:2]) < MIN_PGVECTOR:
        raise DatabaseError(
            f"pgvector {found} is too old.",
            hint="Install pgvector 0.8 or newer on the server and run ALTER EXTENSION vector UPDATE; in this database.",
        )


def role_name(config: Settings, role: str) -> str:
    """`<database>_<role>`: roles belong to the whole server, so they carry the database's name."""
    return f"{config.database_url('owner').database}_{role}"


def _ensure_roles(connection: Connection, config: Settings) -> None:
    for role in get_args(DatabaseRole):
        if role == "owner":
            continue
        name, password = role_name(config, role), secrets().value(f"database_{role}")
        verb = "ALTER" if _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = :name", name) else "CREATE"
        statement = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        try:
            _execute(connection, statement)
        except ProgrammingError as error:
            raise DatabaseError(
                f"The user of database.url may not manage the role {name}: {_first_line(error)}.",
                hint="Grant it CREATEROLE, or set database.least_privilege to false (DSDC_DATABASE_LEAST_PRIVILEGE).",
            ) from None  # the driver's message would carry the statement, and with it the password


def _ensure_side_database(config: Settings, name: DatabaseRole) -> None:
    """Airflow's and MLflow's own databases, owned by their own users."""
    url = config.database_url(name)
    owner = role_name(config, name) if config.database.least_privilege else None
    with _connect(config.database_url("owner")) as connection:
        if _exists(connection, _DATABASE, str(url.database)):
            return
        if owner:
            # A creator that is no superuser must be a member of the role that is to own the database.
            _execute(
                connection,
                sql.SQL("GRANT {} TO {}").format(
                    sql.Identifier(owner), sql.Identifier(str(config.database_url("owner").username))
                ),
            )
        _create_database(connection, str(url.database), owner)


def alembic_config() -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def migrate(owner: URL, revision: str = "head") -> None:
    """Upgrade the schema; two processes at once are kept apart by an advisory lock."""
    made = create_engine(owner, poolclass=NullPool)
    config = alembic_config()
    with made.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('dsdc.migrate'))"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _grant(connection: Connection, config: Settings) -> None:
    for role, statements in _GRANTS.items():
        name = sql.Identifier(role_name(config, role))
        _execute(connection, sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        if role != "exporter":
            _execute(connection, sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        for statement in statements:
            try:
                _execute(connection, sql.SQL(statement).format(role=name))
            except ProgrammingError as error:
                if role != "exporter":
                    raise
                # Only a superuser can hand out pg_monitor; without it the exporter sees less, nothing breaks.
                log.warning("db.no_pg_monitor", error=_first_line(error))
