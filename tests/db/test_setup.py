"""How the platform's own database comes about, on servers that speak another language or do not let everybody in."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from dsdc.db import setup
from tests.projects import admin


class Translator:
    """A proxy in front of PostgreSQL, whose messages are of another language."""

    def __init__(self, server: URL) -> None:
        self._server = (server.host or "127.0.0.1", server.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data.replace(b"does not exist", b"n'existe pas !"))  # as long as before
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def wanted(postgres: URL) -> Iterator[URL]:
    """A database that is not there."""
    url = postgres.set(drivername="postgresql+psycopg2", database=f"dsdc_test_{uuid.uuid4().hex[:12]}")
    yield url
    admin(postgres, f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')


def test_a_missing_database_is_made_whatever_language_the_server_speaks(wanted: URL) -> None:
    proxy = Translator(wanted)
    try:
        through = wanted.set(host="127.0.0.1", port=proxy.port).update_query_dict({"sslmode": "disable"})
        with pytest.raises(OperationalError, match="n'existe pas"):
            setup._connect(through)
        for _ in range(2):
            setup._ensure_database(through)
        setup._connect(through).close()
    finally:
        proxy.close()


@pytest.fixture
def confined(postgres: URL, wanted: URL) -> Iterator[URL]:
    """An owner who may enter a database of their own, and not the one called postgres."""
    role = f"{wanted.database}_owner"
    admin(postgres, f"CREATE ROLE \"{role}\" LOGIN CREATEDB PASSWORD 'confined'")
    admin(postgres, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    yield wanted.set(username=role, password="confined")
    admin(postgres, "GRANT CONNECT ON DATABASE postgres TO PUBLIC")
    admin(postgres, f'DROP DATABASE IF EXISTS "{wanted.database}" WITH (FORCE)')
    admin(postgres, f'DROP ROLE "{role}"')


def test_an_owner_who_may_enter_their_own_database_alone(confined: URL, postgres: URL) -> None:
    with pytest.raises(OperationalError, match=str(confined.database)):  # what is missing, not what is forbidden
        setup._ensure_database(confined)
    admin(postgres, f'CREATE DATABASE "{confined.database}" OWNER "{confined.username}"')
    setup._ensure_database(confined)
