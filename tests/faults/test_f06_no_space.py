"""No space left, in any place that is written to: the run fails and says so, the inbox is whole, and space heals."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsdc.db.setup import setup_database
from dsdc.errors import DatabaseError, StorageError
from dsdc.pipeline.assembly import Assembly, bind, register
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import reject_document
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from services.postgres.embedded import EmbeddedServer
from tests.fake_processors import NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.faults.inputs import arrive, picture
from tests.faults.invariant import check_invariant, files_of, rows, sha256_of
from tests.faults.processes import armed
from tests.projects import forget_settings, make_project

Small = Callable[[Path, str], None]


@pytest.fixture
def small() -> Iterator[Small]:
    """Puts a small file system over a folder, or gives the one that is there another size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> None:
        again = "remount," if folder in mounted else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        if folder not in mounted:
            mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def noise(number: int, kilobytes: int = 100) -> bytes:
    """A picture that takes so much room."""
    return picture(number) + bytes([number]) * (kilobytes << 10)


def drop(config: Settings, count: int = 6) -> list[str]:
    return [sha256_of(arrive(config.path("to_ingest"), f"{n}.png", noise(n)).read_bytes()) for n in range(1, count + 1)]


def no_drafts(folder: Path) -> bool:
    return not [p for p in folder.rglob(".incoming*") if p.is_file()] and not list(folder.glob("**/.incoming/*"))


@pytest.mark.parametrize("options", ["size=300k", "nr_inodes=14"])
def test_in_the_store(options: str, database: Settings, small: Small) -> None:
    small(database.path("raw"), options)
    arrived = drop(database)
    with pytest.raises(StorageError, match="No space left"):
        ingest_inbox()
    assert no_drafts(database.path("raw"))
    assert 0 < rows("SELECT count(*) FROM original_documents")[0][0] < len(arrived)
    check_invariant(database, arrived)  # what came before has its place, the rest is in the inbox
    small(database.path("raw"), "size=8m,nr_inodes=0")
    assert ingest_inbox().taken > 0
    assert not files_of(database.path("to_ingest"))
    check_invariant(database, arrived)


def test_in_the_temporary_folder_of_an_object_store(
    database: Settings, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSDC_STORAGE_URL", f"file://{database.path('raw').parent}")
    forget_settings()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    small(scratch, "size=64k")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    arrived = drop(settings(), 2)
    with pytest.raises(StorageError, match="No space left"):
        ingest_inbox()
    assert not list(scratch.iterdir())
    check_invariant(settings(), arrived)
    small(scratch, "size=1m")
    ingest_inbox()
    assert not files_of(database.path("to_ingest"))
    check_invariant(settings(), arrived)


def test_in_an_object_store(database: Settings, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_STORAGE_URL", f"file://{database.path('raw').parent}")
    forget_settings()
    small(database.path("raw"), "size=64k")
    arrived = drop(settings(), 2)
    with pytest.raises(StorageError):
        ingest_inbox()
    assert len(files_of(database.path("to_ingest"))) == 2
    small(database.path("raw"), "size=1m")
    ingest_inbox()
    check_invariant(settings(), arrived)


def test_in_quarantine(database: Settings, small: Small) -> None:
    """Full, it refuses nothing: what cannot be set aside stays where it is."""
    letter = b"Dear Sir, this is plain text.\n" * 8000
    small(database.path("rejected"), "size=200k")
    arrive(database.path("to_ingest"), "a.png", picture(1))
    arrive(database.path("to_ingest"), "letter.pdf", letter)
    with pytest.raises(StorageError, match="No space left"):
        ingest_inbox()
    arrived = [sha256_of(picture(1)), sha256_of(letter)]
    assert not list(database.path("rejected").iterdir())
    assert [p.name for p in files_of(database.path("to_ingest"))] == ["letter.pdf"]
    check_invariant(database, arrived)
    small(database.path("rejected"), "size=4m")
    assert ingest_inbox().rejected == 1
    check_invariant(database, arrived)


def test_in_quarantine_for_a_document_of_the_store(database: Settings, small: Small) -> None:
    small(database.path("rejected"), "size=64k")
    (document_id,) = drop(database, 1)
    ingest_inbox()

    def set_aside() -> None:
        storage = open_storage(database)
        reject_document(database, storage, document_id, stage="render", category="corrupt", message="No page.")

    with pytest.raises(StorageError, match="No space left"):
        set_aside()
    check_invariant(database, [document_id])
    assert rows("SELECT state FROM original_documents") == [("stored",)]
    small(database.path("rejected"), "size=1m")
    set_aside()
    check_invariant(database, [document_id])


def _assembly(config: Settings) -> Assembly:
    processors = ProcessorSet(
        NothingInside(), PageRenderer(config.render), WidthReader(), SameCleaner(), SmallEmbedder()
    )
    return bind(config, processors, register(processors), open_storage(config))


def test_for_page_images(database: Settings, small: Small) -> None:
    small(database.path("processed"), "nr_inodes=8")
    arrived = drop(database, 4)
    ingest_inbox()
    with pytest.raises(StorageError, match="No space left"):
        run_stage("render", assembly=_assembly(database))
    assert no_drafts(database.path("processed"))
    assert rows("SELECT count(*) FROM rejected_documents") == [(0,)]
    check_invariant(database, arrived)
    small(database.path("processed"), "nr_inodes=0")
    run_stage("render", assembly=_assembly(database))
    assert rows("SELECT count(*) FROM processed_images") == [(4,)]
    check_invariant(database, arrived)


def test_for_a_labels_file(database: Settings, small: Small) -> None:
    """The last thing a run does; the documents are in the store by then."""
    kept = database.path("raw") / "manifests"
    kept.mkdir()
    small(kept, "nr_inodes=1")
    arrived = drop(database, 1)
    (database.path("to_ingest") / "labels.csv").write_text("file,label\n1.png,memo\n")
    with pytest.raises(StorageError, match="No space left"):
        ingest_inbox()
    assert (database.path("to_ingest") / "labels.csv").exists()
    small(kept, "nr_inodes=0")
    ingest_inbox()
    assert [p.name for p in files_of(kept)] != []
    check_invariant(database, arrived)
    assert rows("SELECT label FROM current_labels") == [("memo",)]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that the server's account may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="dsdc-pg-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def full_database(open_folder: Path, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose database server has 160 MB in all; the folder that holds them."""
    small(open_folder, "size=160m,mode=755")
    with EmbeddedServer(open_folder / "data", durable=False) as server:
        monkeypatch.setenv("DSDC_DIR", str(make_project(tmp_path)))
        monkeypatch.setenv("DSDC_DATABASE_URL", server.url("dsdc").render_as_string(hide_password=False))
        monkeypatch.setenv("DSDC_DATABASE_LEAST_PRIVILEGE", "false")
        monkeypatch.setenv("DSDC_DATABASE_PATIENCE_S", "1")
        monkeypatch.setenv("DSDC_INGEST_QUIET_S", "0")
        forget_settings()
        setup_database(settings())
        yield open_folder
        forget_settings()


def test_in_the_database(full_database: Path) -> None:
    config = settings()
    arrived = drop(config)
    ballast = full_database / "ballast"
    with ballast.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            os.write(file.fileno(), bytes(4096))
    with pytest.raises(DatabaseError, match="space"):
        ingest_inbox()
    assert len(files_of(config.path("to_ingest"))) == len(arrived)
    ballast.unlink()
    ingest_inbox()
    assert not files_of(config.path("to_ingest"))
    check_invariant(config, arrived)


def test_a_disk_that_is_full_at_any_step_of_storing(database: Settings) -> None:
    arrived = drop(database, 2)
    for place in ("storage.drafted", "storage.before_rename", "storage.renamed"):
        with armed(f"{place}=nospace"), pytest.raises(StorageError, match="No space left"):
            ingest_inbox()
        assert no_drafts(database.path("raw"))
        check_invariant(database, arrived, settled=False)
    ingest_inbox()
    check_invariant(database, arrived)
