"""Stages over a real queue: every input ends once, and one bad input is nobody else's trouble."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Documents, NewDocument
from dsdc.db.repositories.vector_index import VectorIndex
from dsdc.db.session import transaction
from dsdc.errors import DatabaseUnavailable, StorageError
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.worker import run_stage
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Settings
from dsdc.storage import Storage, open_storage
from tests.fake_processors import LineRenderer, NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.projects import forget_settings


def scalar(query: str):
    with transaction() as session:
        return session.execute(text(query)).scalar()


def _rows(query: str):
    with transaction() as session:
        return session.execute(text(query)).all()


def add(storage: Storage, *documents: str) -> list[str]:
    """Documents whose lines are their pages; their ids."""
    rows = []
    for content in documents:
        stored = storage.put_bytes("raw", content.encode())
        rows.append(NewDocument(stored.sha256, stored.key, f"{content[:5]}.txt", "text/x-lines", stored.size))
    with transaction() as session:
        Documents(session).add(rows)
    return [row.id for row in rows]


@pytest.fixture
def assembly(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Assembly:
    monkeypatch.setenv("DSDC_PIPELINE_BACKOFF_S", "0")
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_BATCH", "3")
    forget_settings()
    return build(database)


def build(config: Settings, renderer: LineRenderer | None = None) -> Assembly:
    processors = ProcessorSet(
        NothingInside(), renderer or LineRenderer(), WidthReader(), SameCleaner(), SmallEmbedder()
    )
    return bind(config, processors, register(processors), open_storage(config))


def run(assembly: Assembly) -> dict[str, dict]:
    return {name: run_stage(name, assembly=assembly).as_dict() for name in STAGES}


def test_all_stages_end_every_input_once(database: Settings, assembly: Assembly) -> None:
    add(open_storage(database), *(f"document {n}\nsecond page" for n in range(7)))
    first = run(assembly)
    assert {name: first[name]["done"] for name in STAGES} == {
        "unpack": 0,
        "render": 7,
        "text": 14,
        "clean": 14,
        "embed-image": 14,
        "embed-text": 7,
    }
    assert first["embed-text"]["skipped"] == 7
    assert scalar("SELECT count(*) FROM embeddings") == 21
    again = run(assembly)
    assert all(again[name]["done"] == again[name]["skipped"] == 0 for name in STAGES)
    assert scalar("SELECT count(*) FROM embeddings") == 21


def test_a_corrupt_document_is_quarantined_and_the_rest_goes_on(database: Settings, assembly: Assembly) -> None:
    storage = open_storage(database)
    good, bad = add(storage, "good one", "corrupt\ncorrupt")
    report = run_stage("render", assembly=assembly)
    assert (report.done, report.failed, report.categories) == (1, 1, {"corrupt": 1})
    assert scalar(f"SELECT state FROM original_documents WHERE id = '{bad}'") == "rejected"
    assert scalar("SELECT message FROM rejected_documents") == "Page 1 is damaged."
    assert not storage.exists(f"raw/{bad[:2]}/{bad[2:4]}/{bad}")
    kept = database.path("rejected") / scalar("SELECT file_path FROM rejected_documents")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == bad
    assert run_stage("text", assembly=assembly).done == 1
    assert storage.exists(f"raw/{good[:2]}/{good[2:4]}/{good}")


def test_the_good_pages_of_a_damaged_document_are_kept_and_it_is_marked_partial(
    database: Settings, assembly: Assembly
) -> None:
    holes, cut = add(open_storage(database), "one\ncorrupt\ncorrupt\nfour\ncorrupt\nsix", "one\ntwo\ncut\nfour")
    report = run_stage("render", assembly=assembly)
    assert (report.done, report.partial, report.failed) == (2, 2, 0)
    said = {row.document_id: row.message for row in _rows("SELECT * FROM stage_attempts WHERE category = 'partial'")}
    assert said == {
        holes: "Without page 2-3, 5: Page 2 is damaged.",
        cut: "Without what follows page 2: The file ends here.",
    }
    pages = _rows(f"SELECT page FROM processed_images WHERE document_id = '{holes}' ORDER BY page")
    assert [row.page for row in pages] == [1, 4, 6]
    assert run_stage("text", assembly=assembly).done == 5


def test_a_passing_fault_is_tried_again_and_then_given_up(database: Settings, assembly: Assembly) -> None:
    add(open_storage(database), "crash")
    report = run_stage("render", assembly=assembly)
    assert (report.retried, report.failed) == (2, 1)
    assert scalar("SELECT attempts FROM stage_attempts") == 3
    assert scalar("SELECT category FROM rejected_documents") == "error"


def test_an_unusable_vector_fails_that_page_alone(database: Settings, assembly: Assembly) -> None:
    add(open_storage(database), "one\ntwo\nthree\nfour")
    reports = run(assembly)
    assert (reports["embed-image"]["done"], reports["embed-image"]["failed"]) == (3, 1)
    assert scalar("SELECT count(*) FROM original_documents WHERE state = 'stored'") == 1


def test_a_fault_of_the_platform_ends_the_worker_and_costs_no_document(
    database: Settings, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(open_storage(database), *(f"document {n}" for n in range(5)))

    def no_space(*_: object) -> None:
        raise StorageError("No space left.")

    with monkeypatch.context() as full:
        full.setattr(LineRenderer, "pages", lambda *a, **k: iter(()))
        full.setattr("dsdc.pipeline.stages.render.RenderStage.record", no_space)
        with pytest.raises(StorageError):
            run_stage("render", assembly=assembly)
    assert scalar("SELECT count(*) FROM stage_attempts WHERE state = 'running'") == 0
    assert run_stage("render", assembly=assembly).done == 5


def test_a_database_that_is_too_slow_ends_the_worker_and_costs_no_document(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, _ = add(open_storage(database), "one\ntwo", "three")
    monkeypatch.setenv("DSDC_DATABASE_STATEMENT_TIMEOUT_S", "3")
    monkeypatch.setenv("DSDC_DATABASE_PATIENCE_S", "0")
    monkeypatch.setenv("DSDC_PIPELINE_MAX_ATTEMPTS", "1")
    forget_settings()
    assembly = build(database)
    with transaction("owner") as other:
        other.execute(text("LOCK TABLE processed_images IN EXCLUSIVE MODE"))
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            run_stage("render", assembly=assembly)
    assert _rows("SELECT DISTINCT state, failures FROM stage_attempts") == [("pending", 0)]
    assert scalar(f"SELECT state FROM original_documents WHERE id = '{document}'") == "stored"
    assert run_stage("render", assembly=assembly).done == 2


def test_a_long_document_is_recorded_in_pieces_and_resumed(database: Settings, monkeypatch) -> None:
    (document,) = add(open_storage(database), "\n".join(f"line {n}" for n in range(40)))
    seen: list[int] = []

    class Dying(LineRenderer):
        def pages(self, source: Path, media_type: str, *, first: int = 1):
            for page in super().pages(source, media_type, first=first):
                seen.append(page.page)
                if page.page == 35 and first == 1:
                    raise KeyboardInterrupt
                yield page

    assembly = build(database, Dying())
    with pytest.raises(KeyboardInterrupt):
        run_stage("render", assembly=assembly)
    assert scalar("SELECT count(*) FROM processed_images") == 32
    seen.clear()
    assert run_stage("render", assembly=assembly).done == 1
    assert seen[0] == 33
    assert scalar(f"SELECT page_count FROM original_documents WHERE id = '{document}'") == 40


def test_a_new_version_leaves_the_old_rows_and_makes_all_pending(database: Settings, assembly: Assembly) -> None:
    add(open_storage(database), "one\ntwo")
    run(assembly)

    class Newer(LineRenderer):
        version = "2"

    reports = run(build(database, Newer()))
    assert reports["render"]["done"] == 1
    assert reports["text"]["done"] == 2
    assert scalar("SELECT count(*) FROM processed_images") == 4
    assert scalar("SELECT count(DISTINCT processor_id) FROM processed_images") == 2


def test_an_engine_that_breaks_over_one_input_costs_that_input_alone(database: Settings, monkeypatch) -> None:
    monkeypatch.setenv("DSDC_PIPELINE_BACKOFF_S", "0")
    forget_settings()
    add(open_storage(database), "one\ntwo\nthree\nfour\nfive")

    class Fragile(SmallEmbedder):
        def images(self, images):
            if any(image.width == 14 for image in images):
                raise RuntimeError("the engine fell over")
            return super().images([image for image in images if image.width != 13] or images)

    processors = ProcessorSet(NothingInside(), LineRenderer(), WidthReader(), SameCleaner(), Fragile())
    assembly = bind(database, processors, register(processors), open_storage(database))
    run_stage("render", assembly=assembly)
    report = run_stage("embed-image", assembly=assembly)
    # Page 3 is 13 px wide and gets an unusable vector, page 4 breaks the engine each time.
    assert (report.done, report.failed) == (3, 2)
    assert scalar("SELECT message FROM stage_attempts WHERE category = 'error'") == "the engine fell over"


INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'ix_embeddings_hnsw%'"


def test_vectors_are_indexed_from_the_first_one_on(database: Settings) -> None:
    add(open_storage(database), "one\ntwo")
    indexed: list[int] = []

    class Looking(SmallEmbedder):
        def images(self, images):
            indexed.append(scalar(INDEXES))
            return super().images(images)

    processors = ProcessorSet(NothingInside(), LineRenderer(), WidthReader(), SameCleaner(), Looking())
    run(bind(database, processors, register(processors), open_storage(database)))
    assert indexed == [2], "one of images, one of texts; over many vectors a build would keep everybody from writing"


@pytest.fixture
def without_index(database: Settings, assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> Assembly:
    """A worked archive whose vectors are too many to be indexed in passing, under a short statement_timeout."""
    add(open_storage(database), "one\ntwo")
    run(assembly)
    with transaction("owner") as session:
        for name in session.scalars(text("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%hnsw%'")).all():
            session.execute(text(f"DROP INDEX {name}"))
    monkeypatch.setattr("dsdc.pipeline.worker.FEW_VECTORS", 0)
    monkeypatch.setenv("DSDC_DATABASE_STATEMENT_TIMEOUT_S", "3")
    monkeypatch.setenv("DSDC_DATABASE_PATIENCE_S", "0")
    forget_settings()
    return assembly


def test_a_missing_index_is_built_however_long_it_takes_and_with_nothing_else_to_do(without_index: Assembly) -> None:
    written = threading.Event()

    def write_slowly() -> None:
        with transaction("owner") as session:
            session.execute(text("LOCK TABLE embeddings IN ROW EXCLUSIVE MODE"))
            written.set()
            time.sleep(4)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert written.wait(60)
    assert run_stage("embed-image", assembly=without_index).done == 0
    writer.join()
    assert scalar(INDEXES) == 2


def test_an_index_that_another_worker_builds_is_left_to_it(without_index: Assembly) -> None:
    with transaction("owner") as other:
        assert VectorIndex(other, without_index.versions.embed).build(4)
        assert run_stage("embed-text", assembly=without_index).done == 0, "it does not wait"
    assert scalar(INDEXES) == 2


def test_a_batch_that_takes_longer_than_a_lease_keeps_it(database: Settings, monkeypatch) -> None:
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_LEASE_S", "5")
    forget_settings()
    add(open_storage(database), *(f"document {n}" for n in range(6)))

    taken_over: list[int] = []

    class Slow(LineRenderer):
        def pages(self, source: Path, media_type: str, *, first: int = 1):
            time.sleep(1.4)  # six of them outlast the lease
            with transaction() as session:
                rival = StageAttempts(session).claim("render", assembly.versions.render, worker="b", limit=9, lease_s=1)
                taken_over.append(len(rival))
            yield from super().pages(source, media_type, first=first)

    assembly = build(database, Slow())
    report = run_stage("render", assembly=assembly)
    assert (report.done, report.lost) == (6, 0)
    assert taken_over == [0] * 6
