"""Documents forgotten on purpose: nothing of them is left but a skeleton, however often it was interrupted."""

from __future__ import annotations

import io
import json
import os
from uuid import uuid4

import pytest
from PIL import Image
from sqlalchemy import text

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.batches import Batches, NewItem
from dsdc.db.session import transaction
from dsdc.errors import Conflict, DocumentError, Forgotten, NotFound, PurposeFailed, SettingsError, TooLarge
from dsdc.pipeline import erasure, maintenance
from dsdc.pipeline.assembly import STAGES, Assembly
from dsdc.pipeline.erasure_plan import plan_expired, plan_for
from dsdc.pipeline.fsck import fsck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.outcomes import Outcomes
from dsdc.pipeline.quarantine import reject_file
from dsdc.pipeline.release import release
from dsdc.pipeline.worker import run_stage
from dsdc.processors.mail import MailUnpacker
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.faults.inputs import arrive
from tests.faults.processes import KILLED, run
from tests.pipeline.test_fsck import _assembly
from tests.pipeline.test_release import command_line, dsdc
from tests.pipeline.test_unpack import mail, picture, rows, sha256
from tests.projects import forget_settings

__all__ = ["command_line"]

NAME = "salary of Ann Smith.png"


@pytest.fixture
def ready(database: Settings) -> Assembly:
    made = _assembly(database, open_storage(database))
    object.__setattr__(made.unpack, "_unpacker", MailUnpacker())
    return made


def process(ready: Assembly) -> None:
    for stage in STAGES:
        run_stage(stage, assembly=ready)


def bring(config: Settings, ready: Assembly, *files: tuple[str, bytes]) -> None:
    for name, data in files:
        arrive(config.path("to_ingest"), name, data)
    ingest_inbox(author="test")
    process(ready)


def forget(config: Settings, *documents: str) -> dict[str, dict[str, int]]:
    plan = plan_for(config, documents)
    place = open_storage(config)
    return erasure.forget(config, place, plan.documents, author="ann", reason="asked to", told=plan.told())


def kinds(config: Settings, **options: bool) -> list[str]:
    report = fsck(config, open_storage(config), renderer=PageRenderer(config.render), **options)
    return sorted(f"{finding.kind}{' repaired' if finding.repaired else ''}" for finding in report.findings)


def predict(document: str, *, name: str, neighbour: str | None = None, kept: bool = True) -> str:
    """An answer, as the service stores it; with `kept`, of a document that is there."""
    prediction = str(uuid4())
    with transaction("owner") as session:
        session.execute(
            text("""
            WITH s AS (INSERT INTO dataset_snapshots (content_sha256, taxonomy, classes, documents, processors, params)
                VALUES (:hash, 'rvl-cdip', '{memo}', 0, '{}', '{}') RETURNING id),
            m AS (INSERT INTO model_versions (name, version, mlflow_run_id, head_sha256, recipe_sha256, snapshot_id,
                clip_processor_id, clip_weights_sha256, classes, metrics, calibration, code_commit)
                SELECT 'x', :number, 'r', repeat('0', 64), repeat('0', 64), id, (SELECT min(id) FROM processors),
                repeat('0', 64), '{memo}', '{}', '{}', 'c' FROM s RETURNING id)
            INSERT INTO predictions (id, document_sha256, document_id, original_name, pages, model_version_id,
                embedding_ids, label, probability, probabilities, prediction_set, decision, neighbours, versions,
                timings_ms, source, author)
            SELECT :id, :document, :kept, :name, 1, id, '{}', 'memo', 0.9, '{}', '{memo}', 'accept',
                CAST(:near AS jsonb), '{}', '{}', 'api', 'bob' FROM m
            """),
            {
                "hash": prediction.replace("-", "") * 2,
                "number": int(prediction[:7], 16),
                "id": prediction,
                "document": document,
                "kept": document if kept else None,
                "name": name,
                "near": json.dumps([{"document_id": neighbour, "label": "memo"}] if neighbour else []),
            },
        )
    return prediction


def everywhere(config: Settings, word: str) -> list[str]:
    """Tables and files in which a word is, looked at from outside."""
    found = []
    with transaction("owner") as session:
        tables = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        for table in tables:
            if session.scalar(
                text(f"SELECT count(*) FROM {table} t WHERE t::text ILIKE '%' || :word || '%'"), {"word": word}
            ):
                found.append(table)
    for area in ("to_ingest", "raw", "processed", "uploads", "rejected"):
        folder = config.path(area)
        for path in folder.rglob("*") if folder.is_dir() else ():
            if word in path.name or (path.is_file() and word.encode() in path.read_bytes()):
                found.append(str(path))
    return found


def test_nothing_is_left_but_a_skeleton(database: Settings, ready: Assembly) -> None:
    data, other = picture(7), picture(8)
    document, neighbour = sha256(data), sha256(other)
    bring(database, ready, (f"memo/{NAME}", data), ("memo/other.png", other))
    first = predict(document, name=NAME, neighbour=neighbour)
    second = predict(neighbour, name="other.png", neighbour=document)
    reject_file(database, io.BytesIO(data), NAME, TooLarge("as it was before"), stage="ingest")
    (tmp := database.path("uploads") / document[:2] / document[2:4]).mkdir(parents=True)
    (tmp / document).write_bytes(data)
    assert everywhere(database, "Smith") != []
    plan = plan_for(database, [document[:8]])
    (target,) = plan.targets
    assert (target.name, target.state, target.neighbour_of) == (NAME, "stored", (second,))
    assert (target.counts["pages"], target.counts["vectors"], target.counts["quarantined"]) == (1, 2, 1)

    done = forget(database, document[:12].upper())
    assert done == {document: {"embeddings": 2, "texts": 1, "pages": 1, "names": 2, "quarantined": 1}}
    assert everywhere(database, "Smith") == []
    places = ("raw", "processed", "uploads", "rejected")
    assert [p for area in places for p in database.path(area).rglob(f"{document[:16]}*")] == []
    assert len([p for p in database.path("processed").rglob("*") if p.is_file()]) == 1, "the other's page"
    assert rows(
        f"SELECT state, byte_size, page_count, original_name FROM original_documents WHERE id = '{document}'"
    ) == [("forgotten", len(data), 1, "")]
    assert rows(f"SELECT source, name, folder, author FROM sightings WHERE document_id = '{document}'") == [
        ("inbox", "", "", "test")
    ]
    assert rows(f"SELECT label, source FROM labels WHERE document_id = '{document}'") == [("memo", "import")]
    assert rows(f"SELECT label, probability, original_name FROM predictions WHERE id = '{first}'") == [
        ("memo", 0.9, "")
    ]
    assert rows(f"SELECT DISTINCT state, category FROM stage_attempts WHERE document_id = '{document}'") == [
        ("skipped", "forgotten")
    ]
    audit = rows(f"SELECT actor, action, details FROM audit_log WHERE subject = '{document}' ORDER BY id")
    assert [entry[:2] for entry in audit] == [("ann", "document.forget"), ("ann", "document.erased")]
    assert (audit[0][2]["reason"], audit[0][2]["neighbour_of"], audit[0][2]["labels"]) == ("asked to", 1, 1)
    assert kinds(database) == []
    assert sum(forget(database, document)[document].values()) == 0, "a second time changes nothing"
    process(ready)
    assert rows(f"SELECT count(*) FROM processed_images WHERE document_id = '{document}'") == [(0,)]


def test_a_page_that_another_document_shows_stays(database: Settings, ready: Assembly) -> None:
    """The same pixels in two files: one page image."""
    image, files = Image.new("L", (40, 50), 99), []
    for level in (1, 9):
        data = io.BytesIO()
        image.save(data, "PNG", compress_level=level)
        files.append(data.getvalue())
    assert files[0] != files[1]
    bring(database, ready, ("a.png", files[0]), ("b.png", files[1]))
    assert rows("SELECT count(DISTINCT image_file), count(*) FROM processed_images") == [(1, 2)]
    forget(database, sha256(files[0]))
    assert kinds(database) == []
    forget(database, sha256(files[1]))
    assert list(open_storage(database).keys("processed")) == []
    assert kinds(database) == []


@pytest.mark.parametrize("place", ["forget.marked", "forget.bytes_gone", "forget.before_commit"])
@pytest.mark.parametrize("by", ["again", "fsck"])
def test_killed_in_the_middle_it_is_finished_later(database: Settings, ready: Assembly, place: str, by: str) -> None:
    document = sha256(picture(7))
    bring(database, ready, (NAME, picture(7)), ("other.png", picture(8)))
    assert run(lambda: forget(database, document), f"{place}=kill") == KILLED
    assert rows(f"SELECT state FROM original_documents WHERE id = '{document}'") == [("forgotten",)]
    process(ready)
    assert "remains" in kinds(database)
    if by == "again":
        forget(database, document)
    else:
        assert "remains repaired" in kinds(database, repair=True)
    assert everywhere(database, "Smith") == []
    assert kinds(database) == []
    assert rows("SELECT count(*) FROM processed_images") == [(1,)]
    assert len(list(open_storage(database).keys("raw"))) == 1


def test_a_worker_with_its_work_in_hand_is_refused(database: Settings, ready: Assembly) -> None:
    document = sha256(picture(7))
    arrive(database.path("to_ingest"), NAME, picture(7))
    ingest_inbox()
    stage = ready.render
    with transaction() as session:
        queue = StageAttempts(session)
        queue.enqueue("render", stage.processor_id, stage.inputs(), limit=9)
        (claim,) = queue.claim("render", stage.processor_id, worker="w", limit=9, lease_s=60)
    forget(database, document)
    with transaction() as session:
        queue = StageAttempts(session)
        assert queue.renew([claim], lease_s=60) == set()
        assert not queue.retry(claim, wait_s=0, category="x", message="x")
        # As one leaves it who queued the document while it was being forgotten.
        session.execute(text("UPDATE stage_attempts SET state = 'pending', available = clock_timestamp()"))
        assert queue.claim("render", stage.processor_id, worker="w", limit=9, lease_s=60) == []
    assert rows("SELECT count(*) FROM processed_images") == [(0,)]


def test_what_arrives_again_is_refused_until_somebody_names_it(
    database: Settings, ready: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = sha256(picture(7))
    bring(database, ready, ("memo/first.png", picture(7)))
    forget(database, document)
    arrive(database.path("to_ingest"), "letter/again.png", picture(7))
    report = ingest_inbox()
    assert (report.taken, report.rejected) == (0, 1)
    assert "forgotten on purpose" in report.reasons["letter/again.png"]
    assert "data/to_ingest" in report.reasons["letter/again.png"], "and how it could be taken after all"
    (number,) = [row for (row,) in rows("SELECT id FROM rejected_documents WHERE released IS NULL")]
    assert rows("SELECT category, original_name FROM rejected_documents") == [("forgotten", "again.png")]
    assert kinds(database) == []
    assert list(open_storage(database).keys("raw")) == []
    assert release().released == 0, "`all` does not mean what was forgotten"

    assert release([number], author="ann").released == 1
    assert rows("SELECT state, original_name FROM original_documents") == [("stored", "again.png")]
    assert rows("SELECT action, actor FROM audit_log ORDER BY id DESC LIMIT 1") == [("document.remember", "ann")]
    process(ready)
    assert rows("SELECT count(*) FROM embeddings") == [(2,)]
    assert kinds(database) == []
    assert sum(forget(database, document)[document].values()) > 0, "and it may be forgotten once more"
    assert kinds(database) == []


def test_who_waits_for_an_answer_about_it_is_told(database: Settings, ready: Assembly) -> None:
    document, batch = sha256(picture(7)), uuid4()
    bring(database, ready, ("a.png", picture(7)))
    with transaction() as session:
        batches = Batches(session)
        batches.begin(batch, owner="bob", store=True)
        for position, data in enumerate((picture(7), picture(8)), start=1):
            batches.add(batch, NewItem(position, NAME, sha256(data), len(data)))
        batches.accept(batch, store=True)
    open_storage(database).put_bytes("uploads", picture(7))
    (target,) = plan_for(database, [document]).targets
    assert target.counts["waiting_in_batches"] == 1
    forget(database, document)
    items = rows("SELECT state, name, uploaded, problem ->> 'status' FROM prediction_batch_items ORDER BY position")
    assert items == [("failed", "", False, "410"), ("pending", NAME, True, None)]
    assert forget(database, sha256(picture(8))[:12]).keys() == {sha256(picture(8))}, "known from the batch alone"
    assert rows("SELECT DISTINCT state, name, uploaded FROM prediction_batch_items") == [("failed", "", False)]
    assert list(open_storage(database).keys("uploads")) == []


def test_an_email_takes_along_what_came_with_it_alone(database: Settings, ready: Assembly) -> None:
    own, shared, loose = picture(1), picture(2), picture(3)
    inner = mail("inner", ("deep.png", picture(4)))
    outer = mail("pay", ("own.png", own), ("shared.png", shared), ("loose.png", loose))
    outer.add_attachment(inner)
    other = mail("other", ("shared.png", shared))
    bring(database, ready, ("a.eml", bytes(outer)), ("b.eml", bytes(other)), ("loose.png", loose))
    run_stage("unpack", assembly=ready)
    process(ready)
    plan = plan_for(database, [sha256(bytes(outer))])
    goes = {target.name: target.attached for target in plan.targets}
    assert goes == {"a.eml": False, "own.png": True, "inner.eml": True, "deep.png": True}
    (kept,) = plan_for(database, [sha256(shared)]).targets
    assert set(kept.messages) == {sha256(bytes(outer)), sha256(bytes(other))}, "their bytes hold it too"

    forget(database, sha256(bytes(outer)))
    states = dict(rows("SELECT original_name, state FROM original_documents WHERE state = 'stored'"))
    assert set(states) == {"shared.png", "loose.png", "b.eml"}
    assert {target.name for target in plan_for(database, [sha256(bytes(other))]).targets} == {"b.eml", "shared.png"}
    forget(database, sha256(shared))
    execute = "UPDATE stage_attempts SET state = 'pending', available = clock_timestamp() WHERE stage = 'unpack'"
    with transaction() as session:
        session.execute(text(f"{execute} AND document_id = '{sha256(bytes(other))}'"))
    run_stage("unpack", assembly=ready)
    assert rows(f"SELECT state FROM original_documents WHERE id = '{sha256(shared)}'") == [("forgotten",)]
    assert rows(f"SELECT DISTINCT name FROM sightings WHERE document_id = '{sha256(shared)}'") == [("",)]
    assert kinds(database) == [], "unpacking the other message again brings nothing back"


def refused(name: str) -> list[tuple]:
    return rows(f"SELECT original_name FROM rejected_documents WHERE released IS NULL AND original_name = '{name}'")


def test_an_email_takes_along_what_was_refused_out_of_it(database: Settings, ready: Assembly) -> None:
    salary, shared, loose = (b"PK\x03\x04" + word for word in (b"own", b"shared", b"loose"))
    own, once = mail("pay", ("salary.docx", salary), ("shared.docx", shared), ("loose.docx", loose)), picture(9)
    other = mail("more", ("shared.docx", shared))
    bring(database, ready, ("a.eml", bytes(own)), ("b.eml", bytes(other)), ("loose.docx", loose), ("c.png", once))
    assert len(refused("salary.docx")) == 1
    plan = plan_for(database, [sha256(bytes(own))])
    assert {t.name: (t.attached, t.counts["quarantined"]) for t in plan.targets} == {
        "a.eml": (False, 0),
        "salary.docx": (True, 1),
    }, "the plan says it"
    assert run(lambda: forget(database, sha256(bytes(own))), "forget.marked=kill") == KILLED
    forget(database, sha256(bytes(own)))
    assert everywhere(database, "salary") == []
    assert [p for p in database.path("rejected").iterdir() if p.name.startswith(sha256(salary)[:16])] == []
    assert refused("shared.docx") and refused("loose.docx"), "they came in another way too"
    forget(database, sha256(bytes(other)))
    assert not refused("shared.docx")
    assert refused("loose.docx")
    assert kinds(database) == []


def test_what_is_refused_while_its_email_is_forgotten_leaves_nothing(database: Settings, ready: Assembly) -> None:
    """The worker sets it aside before the mark, and once more after it; its rows are refused in any case."""
    salary, inside, message_name = b"PK\x03\x04own", picture(4), "a.eml"
    message = mail("pay", ("inside.png", inside), ("salary.docx", salary))
    arrive(database.path("to_ingest"), message_name, bytes(message))
    ingest_inbox()
    with transaction() as session:
        queue = StageAttempts(session)
        queue.enqueue("unpack", ready.unpack.processor_id, ready.unpack.inputs(), limit=9)
        claims = queue.claim("unpack", ready.unpack.processor_id, worker="w", limit=9, lease_s=60)
        inputs = ready.unpack.load(session, [claims[0].input_id])
    plan = plan_for(database, [sha256(bytes(message))])
    assert len(plan.targets) == 1, "nothing is known of its attachments yet"
    results = list(ready.unpack.compute(inputs))
    assert refused("salary.docx")
    place = open_storage(database)

    def as_planned() -> None:
        erasure.forget(database, place, plan.documents, author="ann", reason="", told=plan.told())

    assert run(as_planned, "forget.before_commit=kill") == KILLED
    assert "remains repaired" in kinds(database, repair=True)
    assert everywhere(database, "salary") == []
    reject = DocumentError("no such type")
    with pytest.raises(Forgotten):
        reject_file(database, io.BytesIO(salary), "salary.docx", reject, stage="unpack", parent=sha256(bytes(message)))
    assert everywhere(database, "salary") == []
    assert list(place.keys("raw")) != [], "the attachment that was stored already"
    Outcomes(database, place, ready.unpack).record(claims, inputs, results)
    assert list(place.keys("raw")) == []
    assert kinds(database) == []


def test_fsck_tells_by_the_reason_which_email_a_copy_without_a_row_came_in(database: Settings, ready: Assembly) -> None:
    salary = b"PK\x03\x04own"
    message = mail("pay", ("salary.docx", salary))
    document = sha256(bytes(message))
    bring(database, ready, ("a.eml", bytes(message)))
    for forgotten in (False, True):
        with transaction("owner") as session:  # as after a crash between the copy and its row
            session.execute(text("DELETE FROM rejected_documents"))
        for path in database.path("rejected").iterdir():
            os.utime(path, (0, 0))
        if forgotten:
            forget(database, document)
            assert everywhere(database, "salary") != []
        assert "orphan repaired" in kinds(database, repair=True)
        parents = rows("SELECT parents FROM rejected_documents")
        assert parents == ([] if forgotten else [([document],)])
    assert everywhere(database, "salary") == []


def test_pages_that_were_stored_while_their_document_was_forgotten_go(database: Settings, ready: Assembly) -> None:
    image, files = Image.new("L", (40, 50), 99), []
    for level in (1, 9):
        data = io.BytesIO()
        image.save(data, "PNG", compress_level=level)
        files.append(data.getvalue())
    bring(database, ready, ("same.png", files[0]))
    for name, data in (("twin.png", files[1]), ("own.png", picture(7))):
        arrive(database.path("to_ingest"), name, data)
    ingest_inbox()
    stage, place = ready.render, open_storage(database)
    with transaction() as session:
        queue = StageAttempts(session)
        queue.enqueue("render", stage.processor_id, stage.inputs(), limit=9)
        claims = queue.claim("render", stage.processor_id, worker="w", limit=9, lease_s=60)
        inputs = stage.load(session, [claim.input_id for claim in claims])
    results = list(stage.compute(inputs))
    assert len(list(place.keys("processed"))) == 2
    forget(database, sha256(files[1]), sha256(picture(7)))
    Outcomes(database, place, stage).record(claims, inputs, results)
    assert len(list(place.keys("processed"))) == 1, "the page that another document shows"
    assert kinds(database) == []


def test_what_only_lies_in_quarantine_goes_too(database: Settings) -> None:
    data = b"Dear Sir, this is plain text.\n" * 20
    arrive(database.path("to_ingest"), "Ann Smith.pdf", data)
    assert ingest_inbox().rejected == 1
    forget(database, sha256(data)[:10])
    assert everywhere(database, "Smith") == []
    assert [p.name for p in database.path("rejected").iterdir()] == []
    assert kinds(database) == []


def test_names_that_are_none_and_names_of_several(database: Settings, ready: Assembly) -> None:
    bring(database, ready, ("a.png", picture(7)))
    for named, why in (("abcdef0", "no SHA-256"), ("not hexadecimal", "no SHA-256"), ("0" * 64, "no document")):
        with pytest.raises(NotFound, match=why):
            plan_for(database, [named])
    twin = sha256(picture(7))[:20] + "f" * 44
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO original_documents (id, file_path, original_name, media_type, byte_size)"
                f" VALUES ('{twin}', 'raw/x', 'x', 'image/png', 1)"
            )
        )
    with pytest.raises(Conflict, match="2 documents begin"):
        plan_for(database, [twin[:12]])


def aged(days: int, *names: str) -> None:
    with transaction("owner") as session:
        for name in names:
            which = f"(SELECT document_id FROM sightings WHERE name = '{name}')"
            ago = f"clock_timestamp() - interval '{days} days'"
            session.execute(text(f"UPDATE original_documents SET import_datetime = {ago} WHERE id IN {which}"))
            session.execute(text(f"UPDATE sightings SET seen = {ago} WHERE name = '{name}'"))


def test_retention_forgets_what_came_last_long_ago(
    database: Settings, ready: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = mail("old", ("inside.png", picture(4)))
    files = {name: picture(n) for n, name in enumerate(("old.png", "new.png", "labelled.png"))}
    bring(database, ready, *files.items(), ("letter.eml", bytes(message)))
    process(ready)
    aged(40, "old.png", "labelled.png", "inside.png")
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO labels (document_id, taxonomy, label, source, author)"
                f" VALUES ('{sha256(files['labelled.png'])}', 'rvl-cdip', 'memo', 'human', 'ann')"
            )
        )
    with pytest.raises(SettingsError, match=r"retention\.days"):
        plan_expired(settings())
    monkeypatch.setenv("DSDC_RETENTION_DAYS", "30")
    forget_settings()
    assert [target.name for target in plan_expired(settings()).targets] == ["old.png"], "the e-mail of the other is new"
    aged(40, "letter.eml")
    assert {target.name for target in plan_expired(settings()).targets} == {"old.png", "letter.eml", "inside.png"}
    done = maintenance.forget_expired(author="airflow:run")
    assert (done["documents"], done["pages"]) == (3, 3)
    assert rows("SELECT DISTINCT actor, details ->> 'reason' FROM audit_log WHERE action = 'document.forget'") == [
        ("airflow:run", "retention.days is 30")
    ]
    assert maintenance.forget_expired(author="airflow:run") == {"documents": 0}
    assert maintenance.check_store(repair=False, hashes=True)["documents"] == 5
    monkeypatch.setenv("DSDC_RETENTION_LABELLED", "true")
    forget_settings()
    assert [target.name for target in plan_expired(settings()).targets] == ["labelled.png"]
    next(database.path("raw").glob("??/??/*")).unlink()
    with pytest.raises(PurposeFailed, match="1 findings: missing raw/"):
        maintenance.check_store(repair=False, hashes=True)


@pytest.fixture
def retention(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Thirty days."""
    monkeypatch.setenv("DSDC_RETENTION_DAYS", "30")
    forget_settings()
    return settings()


def label(document: str, source: str) -> None:
    with transaction() as session:
        session.execute(
            text(
                "INSERT INTO labels (document_id, taxonomy, label, source, author)"
                f" VALUES ('{document}', 'rvl-cdip', 'memo', '{source}', 'ann')"
            )
        )


def test_retention_passes_over_what_came_or_was_labelled_after_its_plan(retention: Settings, ready: Assembly) -> None:
    names = ("again.png", "human.png", "import.png", "model.png")
    files = {name: picture(n) for n, name in enumerate(names)}
    bring(retention, ready, *files.items())
    aged(40, *names)
    plan = plan_expired(retention)
    assert len(plan.targets) == 4
    arrive(retention.path("to_ingest"), "again.png", files["again.png"])
    ingest_inbox()
    for source in ("human", "import", "model"):
        label(sha256(files[f"{source}.png"]), source)
    place = open_storage(retention)
    done = erasure.forget(retention, place, plan.documents, author="t", reason="", told=plan.told(), expired=True)
    assert set(done) == {sha256(files["model.png"])}
    assert rows("SELECT count(*) FROM original_documents WHERE state = 'stored'") == [(3,)]
    assert rows("SELECT count(*) FROM stage_attempts WHERE category = 'forgotten' AND stage = 'render'") == [(1,)]
    assert plan_expired(retention).targets == ()


@pytest.mark.usefixtures("command_line")
def test_retention_that_was_interrupted_is_finished_first(
    retention: Settings, ready: Assembly, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for again in (
        lambda: maintenance.forget_expired(author="t")["documents"],
        lambda: dsdc(monkeypatch, "forget", "--expired", "--yes") + 1,
    ):
        bring(retention, ready, (NAME, picture(7)))
        aged(40, NAME)
        assert run(lambda: maintenance.forget_expired(author="t"), "forget.marked=kill") == KILLED
        assert everywhere(retention, "Smith") != []
        assert again() == 1
        assert everywhere(retention, "Smith") == []
        assert kinds(retention) == []
        with transaction("owner") as session:  # as if it had never been here
            session.execute(text("TRUNCATE original_documents CASCADE"))
    assert "Finished what an earlier run had begun: 1" in capsys.readouterr().out


def test_retention_reaches_what_is_no_document(retention: Settings, ready: Assembly) -> None:
    """Refused files, what was forgotten and came again, and names of answers about what was not kept."""
    message = mail("pay", ("in mail Smith.docx", b"PK\x03\x04own"))
    bring(retention, ready, ("kept.png", picture(1)), ("a.eml", bytes(message)), ("gone.png", picture(2)))
    forget(retention, sha256(picture(2)))
    bring(retention, ready, ("back Smith.png", picture(2)), ("refused Smith.docx", b"PK\x03\x04loose"))
    predict(sha256(picture(3)), name="answered Smith.png", kept=False)
    predict(sha256(picture(4)), name="answered of late.png", kept=False)
    with transaction() as session:
        batches, batch = Batches(session), uuid4()
        batches.begin(batch, owner="bob", store=False)
        batches.add(batch, NewItem(1, "in batch Smith.png", sha256(picture(5)), 9))
        batches.accept(batch, store=False)
    assert plan_expired(retention).targets == ()
    ago = "clock_timestamp() - interval '40 days'"
    with transaction("owner") as session:
        session.execute(text(f"UPDATE rejected_documents SET rejected = {ago}"))
        session.execute(text(f"UPDATE prediction_batch_items SET created = {ago}"))
        session.execute(text(f"UPDATE predictions SET created = {ago} WHERE original_name LIKE '%Smith%'"))
    found = {target.document_id for target in plan_expired(retention).targets}
    loose = {sha256(data) for data in (picture(2), picture(3), picture(5), b"PK\x03\x04loose")}
    assert found == loose, "the e-mail is new"
    aged(40, "a.eml")
    assert maintenance.forget_expired(author="t")["documents"] == 6
    assert everywhere(retention, "Smith") == []
    assert rows("SELECT original_name FROM predictions WHERE original_name <> ''") == [("answered of late.png",)]
    assert kinds(retention) == []


@pytest.mark.usefixtures("command_line")
def test_by_command(
    database: Settings, ready: Assembly, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = sha256(picture(7))
    bring(database, ready, (NAME, picture(7)))
    capsys.readouterr()
    assert dsdc(monkeypatch, "forget", document, "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["documents"][0]["document_id"], said["erased"]) == (document, None)
    assert "Ann" not in str(said), "a name is for the person who decides"
    for wrong in ([], [document, "--expired"], [document], [document, "--json"]):
        assert dsdc(monkeypatch, "forget", *wrong) == 2
    assert rows("SELECT state FROM original_documents") == [("stored",)]
    capsys.readouterr()
    assert dsdc(monkeypatch, "forget", document[:9], "--yes", "--reason", "[asked] for") == 0
    assert "salary" in capsys.readouterr().out, "whoever decides sees what it is"
    assert rows("SELECT details ->> 'reason' FROM audit_log ORDER BY id LIMIT 1") == [("[asked] for",)]
    assert dsdc(monkeypatch, "fsck", "--quick") == 0
    assert dsdc(monkeypatch, "forget", "f" * 64, "--yes") == 1
