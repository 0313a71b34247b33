"""The connection breaks after COMMIT was sent; a deadlock; a serialization failure: tried again, and one row each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from dsdc.db.session import retrying, transaction
from dsdc.pipeline.assembly import bind, register
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.fake_processors import LineRenderer, NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.pipeline.test_ingest import picture
from tests.projects import forget_settings


class Cutter:
    """A proxy in front of PostgreSQL. While `armed`, every second COMMIT reaches the server and its answer nobody."""

    def __init__(self, server: URL) -> None:
        self._server = (server.host or "127.0.0.1", server.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.armed = False
        self.commits = self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server)
        deaf = threading.Event()
        threading.Thread(target=self._answers, args=(server, client, deaf), daemon=True).start()
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.armed and data == b"Q\x00\x00\x00\x0bCOMMIT\x00":
                    self.commits += 1
                    if self.commits % 2 == 0:
                        deaf.set()
                        self.cut += 1
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _answers(server: socket.socket, client: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if deaf.is_set():
                    break  # COMMIT is done; who sent it never learns
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the thread that reads from it

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cutter(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """The project's database behind a proxy."""
    url = make_url(database.database.url)
    proxy = Cutter(url)
    through = url.set(host="127.0.0.1", port=proxy.port).update_query_dict({"sslmode": "disable"})
    monkeypatch.setenv("DSDC_DATABASE_URL", through.render_as_string(hide_password=False))
    forget_settings()
    yield proxy
    proxy.close()


def scalar(query: str) -> int:
    with transaction() as session:
        return int(session.execute(text(query)).scalar_one())


@pytest.mark.parametrize("keep", [False, True])
def test_an_answer_to_commit_that_never_came(cutter: Cutter, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_INGEST_BATCH", "2")
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_BATCH", "3")
    forget_settings()
    inbox = settings().path("to_ingest") / "memo"
    inbox.mkdir()
    for shade in range(9):
        (inbox / f"{shade}.png").write_bytes(picture(shade))
    cutter.armed = True
    report = ingest_inbox(keep=keep, source="import" if keep else "inbox")
    cutter.armed = False
    assert (report.taken, report.new, report.labelled) == (9, 9, 9)
    assert scalar("SELECT count(*) FROM original_documents") == 9
    assert scalar("SELECT count(*) FROM sightings") == 9
    assert scalar("SELECT count(*) FROM labels") == 9
    cut_while_ingesting = cutter.cut
    assert cut_while_ingesting > 0

    class Pictures(LineRenderer):
        def pages(self, source, media_type, *, first=1):
            lines = source.with_name(f"{source.name}.txt")
            lines.write_text("one\ntwo\n")
            yield from super().pages(lines, media_type, first=first)
            lines.unlink()

    cutter.armed = True
    processors = ProcessorSet(NothingInside(), Pictures(), WidthReader(), SameCleaner(), SmallEmbedder())
    assembly = bind(settings(), processors, retrying(lambda: register(processors)), open_storage(settings()))
    render, text_ = run_stage("render", assembly=assembly), run_stage("text", assembly=assembly)
    assert (render.done, render.lost, text_.done, text_.lost) == (9, 0, 18, 0)
    cutter.armed = False
    assert cutter.cut > cut_while_ingesting
    assert scalar("SELECT count(*) FROM processed_images") == scalar("SELECT count(*) FROM raw_texts") == 18
    assert scalar("SELECT count(*) FROM stage_attempts WHERE state <> 'done' OR crashes > 0") == 0


def test_a_deadlock_is_tried_again(database: Settings) -> None:
    ids = [f"{n:064x}" for n in (1, 2)]
    with transaction() as session:
        for document in ids:
            session.execute(
                text(
                    "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
                    " VALUES (:id, 'raw/x', 'x', 'application/pdf', 1)"
                ),
                {"id": document},
            )
    meet = threading.Barrier(2)
    tries: list[str] = []

    def work(first: str, second: str) -> None:
        def both() -> None:
            tries.append(first)
            with transaction() as session:
                for document in (first, second):
                    session.execute(
                        text("UPDATE original_documents SET byte_size = byte_size + 1 WHERE id = :id"), {"id": document}
                    )
                    if document == first and len(tries) <= 2:
                        meet.wait(10)  # each holds what the other wants next

        retrying(both)

    threads = [threading.Thread(target=work, args=pair) for pair in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(tries) == 3, "one of the two was told to try again"
    assert scalar("SELECT sum(byte_size) FROM original_documents") == 2 + 4


def test_a_serialization_failure_is_tried_again(database: Settings) -> None:
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
                " VALUES (repeat('0', 64), 'raw/x', 'x', 'application/pdf', 1)"
            )
        )
    tries = 0

    def add_one() -> None:
        nonlocal tries
        tries += 1
        with transaction() as session:
            session.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            session.execute(text("SELECT byte_size FROM original_documents"))
            if tries == 1:
                with transaction() as other:
                    other.execute(text("UPDATE original_documents SET byte_size = byte_size + 1"))
            session.execute(text("UPDATE original_documents SET byte_size = byte_size + 1"))

    retrying(add_one)
    assert tries == 2
    assert scalar("SELECT byte_size FROM original_documents") == 3
