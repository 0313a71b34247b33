"""Engines and the one place that commits: `with transaction() as session: …`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from dsdc.errors import DatabaseError, DatabaseUnavailable
from dsdc.log import get_logger
from dsdc.settings import DatabaseRole, settings

log = get_logger(__name__)
T = TypeVar("T")

# PostgreSQL's "try again": serialization failure, deadlock, lock time-out; and a server that goes or comes.
_RETRY_STATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08000", "08003", "08006", "53300"}

_DISK_FULL = "53100"
_CANCELLED = "57014"  # by statement_timeout, or by an administrator
# Classes of faults that are the server's own, whatever it was asked: not enough of something; its files fail it.
_SERVERS_OWN = ("53", "58")
_LONGEST_WAIT_S = 5.0

_default_role: DatabaseRole = "pipeline"


def use_role(role: DatabaseRole) -> None:
    """The role of this process's transactions from now on, where none is named; services call it once at start."""
    global _default_role  # noqa: PLW0603
    _default_role = role


_engines: dict[DatabaseRole, Engine] = {}


def engine(role: DatabaseRole) -> Engine:
    """The process's connection pool for one database role."""
    if role not in _engines:
        _engines[role] = _make_engine(role)
    return _engines[role]


def _make_engine(role: DatabaseRole) -> Engine:
    config = settings().database
    made = create_engine(
        settings().database_url(role),
        pool_size=config.pool_size,
        max_overflow=config.pool_size,
        pool_pre_ping=True,
        pool_timeout=30,
        hide_parameters=True,  # an error's text, which may be logged, carries no password hash
        connect_args={
            "connect_timeout": 10,
            "application_name": f"dsdc-{role}",
            "options": f"-c statement_timeout={config.statement_timeout_s * 1000} -c timezone=UTC",
            "keepalives_idle": 30,
        },
    )

    @event.listens_for(made, "connect")
    def _vectors(connection: object, _record: object) -> None:
        _register_vectors(connection)

    return made


def _register_vectors(connection: object) -> None:
    from pgvector.psycopg2 import register_vector
    from psycopg2 import ProgrammingError

    try:
        register_vector(connection)
    except ProgrammingError:
        # The extension is created by `dsdc db setup`, whose own first connection comes through here.
        connection.rollback()  # type: ignore[attr-defined]


def dispose_engines() -> None:
    """Close all pools: when the settings name another database now."""
    while _engines:
        _engines.popitem()[1].dispose()


@contextmanager
def transaction(role: DatabaseRole | None = None) -> Iterator[Session]:
    """A session that commits at the end and rolls back on any error.

    Raises:
        DatabaseUnavailable: when the server cannot be reached or goes away, cancels what takes too long, or has not
            enough memory; when all connections of this process are in use.
        DatabaseError: when its disk is full.
    """
    try:
        with Session(engine(role or _default_role), expire_on_commit=False) as session:
            yield session
            session.commit()
    except PoolExhausted as error:
        raise DatabaseUnavailable(
            f"All connections that this process may have to PostgreSQL at {engine_url()} are in use.",
            hint="Try again shortly; if it stays so, raise database.pool_size.",
        ) from error
    except OperationalError as error:
        fault = _fault(error)
        if fault is None:
            raise
        raise fault from error


def _fault(error: OperationalError) -> DatabaseError | None:
    """What the platform suffers from; None where the server refuses what it was told."""
    state = getattr(error.orig, "pgcode", None) or ""
    if state == _DISK_FULL:
        return DatabaseError(
            f"PostgreSQL at {engine_url()} has no space left.", hint="Free space on its disk, and run this again."
        )
    if is_transient(error):
        return _unavailable(error, "Start the platform with ./scripts/start.sh, or check database.url.")
    if state == _CANCELLED:
        return _unavailable(
            error, "Try again; if it stays so, see what it is busy with, or raise database.statement_timeout_s."
        )
    if state.startswith(_SERVERS_OWN):
        return _unavailable(error, "Its log says more.")
    return None


def clock(session: Session) -> datetime:
    """What time it is in the database, which says of each row when it was made."""
    return session.execute(select(func.clock_timestamp())).scalar_one()


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed if it is tried again."""
    state = getattr(error.orig, "pgcode", None)
    # psycopg2 gives no SQLSTATE when there is no connection at all, or it broke.
    return error.connection_invalidated or state is None or state in _RETRY_STATES


def _unavailable(error: OperationalError, hint: str) -> DatabaseUnavailable:
    reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
    return DatabaseUnavailable(f"PostgreSQL at {engine_url()} does not answer ({reason}).", hint=hint)


def engine_url() -> str:
    """Host, port and database, without user or password, for messages."""
    url = settings().database_url("owner")
    return f"{url.host}:{url.port or 5432}/{url.database}"


def retrying(work: Callable[[], T], *, patience_s: float | None = None, first_wait_s: float = 0.1) -> T:
    """Run `work`, a whole transaction, again after a passing fault of the database.

    Safe only for work that is idempotent: after a lost connection nobody knows whether COMMIT arrived.

    Args:
        patience_s: how long to go on trying, by default `database.patience_s`; waits double up to 5 s, with jitter.
        first_wait_s: the first wait, in seconds.
    """
    until = time.monotonic() + (settings().database.patience_s if patience_s is None else patience_s)
    wait = first_wait_s
    while True:
        try:
            return work()
        except (DatabaseUnavailable, DBAPIError) as error:
            if (isinstance(error, DBAPIError) and not is_transient(error)) or time.monotonic() + wait > until:
                raise
            log.warning("db.retry", wait_s=round(wait, 2), error=str(error).splitlines()[0])
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_S) * random.uniform(0.75, 1.25)  # noqa: S311


def ping(role: DatabaseRole | None = None) -> None:
    """Raise DatabaseUnavailable unless the database answers a query."""
    with transaction(role) as session:
        session.execute(text("SELECT 1"))


def schema_version(role: DatabaseRole | None = None) -> str | None:
    """The Alembic revision the database is at; None before the first migration."""
    with transaction(role) as session:
        exists = session.execute(text("SELECT to_regclass('alembic_version')")).scalar()
        if exists is None:
            return None
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar()
