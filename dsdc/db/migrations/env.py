"""Alembic's entry: runs on the connection that `dsdc.db.setup` hands over, or on the owner's own."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text
from sqlalchemy.engine import Connection

from dsdc.db.session import engine
from dsdc.db.tables import Base


def _run(connection: Connection) -> None:
    # A migration that waits behind a long query would block everyone behind it: give up and say so instead.
    connection.execute(text("SET lock_timeout = '10s'"))
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with engine("owner").begin() as owned:
        _run(owned)
