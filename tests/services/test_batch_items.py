"""Documents of batches from claim to end, in processes that really die in between."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from dsdc.db.repositories.batches import Batches, ItemClaim, NewItem
from dsdc.db.repositories.idempotency import IdempotencyKeys, KeyClaim
from dsdc.db.session import transaction
from dsdc.errors import StillRunning, StorageError
from dsdc.pipeline.fsck.check import fsck
from dsdc.pipeline.uploads import expect, upload_key
from dsdc.settings import Settings
from dsdc.storage import FolderStorage, open_storage
from dsdc.web.metrics import HttpMetrics
from services.predict.batch_items import ItemWork
from services.predict.metrics import PredictMetrics
from services.predict.once import Once, request_of
from tests.fakes import StandInAnswerer
from tests.faults.processes import KILLED, armed, run
from tests.services.platforms import MODEL, seed_champion
from tests.services.stored import until

ATTEMPTS = 4
RENEWED_S = 8  # a lease, which is renewed four times in its life
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def config(database: Settings) -> Iterator[Settings]:
    seed_champion()
    predict = database.predict.model_copy(update={"batch_attempts": ATTEMPTS})
    yield database.model_copy(
        update={"predict": predict, "pipeline": database.pipeline.model_copy(update={"backoff_s": 0.0})}
    )


def service(config: Settings) -> ItemWork:
    """A prediction service's hands, without the service around them."""
    answerer = StandInAnswerer(MODEL)
    answerer.load()
    return ItemWork(config, answerer, open_storage(config), PredictMetrics(HttpMetrics()))


def hand_in(config: Settings, *names: str, accept: bool = True) -> UUID:
    """A batch of pages with these names, all different."""
    batch_id, storage = uuid.uuid4(), open_storage(config)
    with transaction() as session:
        Batches(session).begin(batch_id, owner="ada", store=True)
    for number, name in enumerate(names, 1):
        data = PNG + f"{batch_id} {number}".encode()
        stored = FolderStorage(config.root / "x", config.root / "x", config.root / "x").put_bytes("uploads", data)
        expect(batch_id, NewItem(number, name, stored.sha256, stored.size))
        storage.put_bytes("uploads", data)
    if accept:
        with transaction() as session:
            assert Batches(session).accept(batch_id, store=True)
    return batch_id


def work_off(config: Settings) -> None:
    """As a service that finds the work of dead ones: their leases have run out."""
    expire_leases()
    hands = service(config)
    hands.tidy()
    while (claim := hands.claim(alone=True)) is not None:
        hands.answer(claim)
    hands.tidy()


def expire_leases() -> None:
    with transaction() as session:
        for table in ("prediction_batch_items", "idempotency_keys"):
            past = "clock_timestamp() - interval '1 second'"
            session.execute(
                text(f"UPDATE {table} SET lease_until = {past}, available = {past} WHERE state = 'running'")
            )


def items(batch_id: UUID) -> list[dict[str, object]]:
    with transaction() as session:
        found = session.execute(
            text(
                "SELECT i.*, (SELECT count(*) FROM predictions p WHERE p.original_name = i.name) AS answers"
                " FROM prediction_batch_items i WHERE batch_id = :id ORDER BY position"
            ),
            {"id": batch_id},
        )
        return [dict(row._mapping) for row in found]


def uploads(config: Settings) -> list[str]:
    return list(open_storage(config).keys("uploads"))


@pytest.mark.parametrize("place", ["batch.claimed", "batch.answered", "batch.ended"])
@pytest.mark.parametrize("time", [1, 3])
def test_killed_anywhere_each_document_is_answered_once(config: Settings, place: str, time: int) -> None:
    batch_id = hand_in(config, "a", "b", "c", "d")
    assert run(lambda: work_off(config), f"{place}=kill@{time}") == KILLED
    assert uploads(config)
    work_off(config)
    assert [(i["state"], i["answers"], i["uploaded"]) for i in items(batch_id)] == [("done", 1, False)] * 4
    assert sum(int(str(i["crashes"])) for i in items(batch_id)) == (place != "batch.ended")
    assert uploads(config) == []


def test_one_that_wakes_up_late_changes_nothing(config: Settings) -> None:
    batch_id = hand_in(config, "a")
    late, other = service(config), service(config)
    claim = late.claim(alone=True)
    expire_leases()
    again = other.claim(alone=True)
    assert claim is not None
    assert again is not None
    assert again.answer_id == claim.answer_id
    other.answer(again)
    late.answer(claim)
    assert [(i["state"], i["answers"], i["crashes"]) for i in items(batch_id)] == [("done", 1, 1)]


def test_a_lease_is_renewed_while_its_service_lives(config: Settings) -> None:
    batch_id = hand_in(config, "a")
    hands = service(
        config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"claim_lease_s": RENEWED_S})})
    )
    with hands.leases:
        claim = hands.claim(alone=True)
        assert claim is not None
        first = items(batch_id)[0]["lease_until"]
        until(lambda: items(batch_id)[0]["lease_until"] != first)
        with transaction() as session:
            left = session.execute(text("SELECT lease_until - clock_timestamp() FROM prediction_batch_items")).scalar()
        assert timedelta(0) < left <= timedelta(seconds=RENEWED_S)
        assert service(config).claim(alone=True) is None
        hands.answer(claim)


def test_what_breaks_an_engine_is_given_up(config: Settings) -> None:
    batch_id = hand_in(config, "a", "poison", "c")
    work_off(config)
    found = items(batch_id)
    assert [i["state"] for i in found] == ["done", "failed", "done"]
    assert (found[1]["attempts"], found[1]["failures"]) == (ATTEMPTS, ATTEMPTS - 1)
    problem = found[1]["problem"]
    assert isinstance(problem, dict)
    assert problem["type"] == "urn:dsdc:problem:given-up"
    assert "after 4 attempts" in problem["detail"]
    assert "an engine broke" not in problem["detail"]
    assert uploads(config) == []


def test_what_ends_services_is_given_up_and_takes_no_others_with_it(config: Settings) -> None:
    batch_id = hand_in(config, "deadly", "b", "c")
    for _ in range(ATTEMPTS):
        assert run(lambda: work_off(config)) == KILLED
    assert run(lambda: work_off(config)) == 0
    found = items(batch_id)
    assert [i["state"] for i in found] == ["failed", "done", "done"]
    assert [i["attempts"] for i in found] == [ATTEMPTS, 1, 1]  # a suspect comes last
    problem = found[0]["problem"]
    assert isinstance(problem, dict)
    assert "The service ended while it worked on this document" in problem["detail"]
    assert uploads(config) == []


def test_a_suspect_is_not_taken_beside_others(config: Settings) -> None:
    batch_id = hand_in(config, "a")
    with transaction() as session:
        session.execute(text("UPDATE prediction_batch_items SET crashes = 2"))
    hands = service(config)
    assert hands.claim(alone=False) is None
    claim = hands.claim(alone=True)
    assert claim is not None
    assert (claim.batch_id, claim.is_suspect) == (batch_id, True)


class _NoStore(FolderStorage):
    def read(self, key: str) -> bytes:
        raise StorageError("The store is away.")


def test_a_fault_of_the_platform_counts_against_no_document(config: Settings) -> None:
    batch_id = hand_in(config, "a")
    answerer = StandInAnswerer(MODEL)
    answerer.load()
    hands = ItemWork(config, answerer, _NoStore(Path("/x"), Path("/x")), PredictMetrics(HttpMetrics()))
    for _ in range(ATTEMPTS + 1):
        claim = hands.claim(alone=True)
        assert isinstance(claim, ItemClaim)
        hands.answer(claim)
    assert [(i["state"], i["failures"], i["crashes"]) for i in items(batch_id)] == [("pending", 0, 0)]
    work_off(config)
    assert items(batch_id)[0]["state"] == "done"


def test_bytes_that_are_gone_are_a_documents_end(config: Settings) -> None:
    batch_id = hand_in(config, "a", "b", "c")
    missing, changed, _ = uploads(config)
    open_storage(config).delete(missing)
    with open_storage(config).local(changed) as path:
        path.write_bytes(PNG + b"other")
    work_off(config)
    assert sorted(str(i["state"]) for i in items(batch_id)) == ["done", "failed", "failed"]


def test_what_is_cancelled_while_nobody_works_ends(config: Settings) -> None:
    batch_id = hand_in(config, "a", "b", "c")
    assert run(lambda: work_off(config), "batch.claimed=kill@2") == KILLED
    with transaction() as session:
        Batches(session).cancel(batch_id)
    assert [i["state"] for i in items(batch_id)] == ["done", "running", "cancelled"]
    work_off(config)
    assert [i["state"] for i in items(batch_id)] == ["done", "cancelled", "cancelled"]
    assert uploads(config) == []


def test_what_never_arrived_whole_goes_once_it_is_old(config: Settings) -> None:
    waiting, arriving = hand_in(config, "a"), hand_in(config, "b", "c", accept=False)
    service(config).tidy()
    assert len(uploads(config)) == 3
    with transaction() as session:
        session.execute(text("UPDATE prediction_batches SET created = created - interval '2 hours'"))
    service(config).tidy()
    assert len(uploads(config)) == 1
    with transaction() as session:
        assert session.execute(text("SELECT id FROM prediction_batches")).scalars().all() == [waiting]
        assert not Batches(session).accept(arriving, store=True)


def test_the_same_bytes_stay_for_whoever_still_waits(config: Settings) -> None:
    first = hand_in(config, "a")
    (key,) = uploads(config)
    sha256, second = key.rsplit("/", 1)[-1], uuid.uuid4()
    with transaction() as session:
        Batches(session).begin(second, owner="bob", store=False)
    expect(second, NewItem(1, "same", sha256, 10))
    hands = service(config)
    claim = hands.claim(alone=True)
    assert claim is not None
    hands.answer(claim)
    assert (items(first)[0]["state"], uploads(config)) == ("done", [key])
    with transaction() as session:
        Batches(session).accept(second, store=False)
    work_off(config)
    assert (items(second)[0]["state"], uploads(config)) == ("done", [])


def test_a_repair_leaves_alone_what_waits(config: Settings) -> None:
    batch_id, storage, long_ago = hand_in(config, "a", "b"), open_storage(config), 1_000_000_000
    stray = storage.put_bytes("uploads", b"nobody's").key
    for key in uploads(config):
        with storage.local(key) as path:
            os.utime(path, (long_ago, long_ago))
    found = fsck(config, storage, repair=True).findings
    assert [(f.kind, f.where, f.repaired) for f in found] == [("orphan", stray, True)]
    work_off(config)
    assert [i["state"] for i in items(batch_id)] == ["done", "done"]


def test_a_request_repeated_after_a_kill_finds_what_was_made(config: Settings) -> None:
    request, made = request_of("ada", "POST /v1/predict", '"key"', "a.png"), config.root / "made"

    def once() -> UUID:
        def work(resource_id: UUID) -> None:
            assert not made.exists()
            made.write_text(str(resource_id))

        return Once(config).run(request, work, lambda resource_id: made.read_text() == str(resource_id))

    assert run(once, "once.made=kill") == KILLED
    expire_leases()
    assert str(once()) == made.read_text()
    assert str(once()) == made.read_text()


def test_a_request_repeated_after_a_kill_is_done_where_nothing_was_made(config: Settings) -> None:
    request, tries = request_of("ada", "POST /v1/predict", "key", "a.png"), config.root / "tries"

    def work(resource_id: UUID) -> None:
        with tries.open("a") as file:
            file.write(f"{resource_id}\n")
        if len(tries.read_text().splitlines()) == 1:
            os.kill(os.getpid(), 9)

    assert run(lambda: Once(config).run(request, work, lambda _: False)) == KILLED
    expire_leases()
    done = Once(config).run(request, work, lambda _: False)
    assert tries.read_text().split() == [str(done)] * 2  # the second try is under the same name


def test_upload_keys_are_in_an_area_of_their_own() -> None:
    assert upload_key("ab" * 32) == f"uploads/ab/ab/{'ab' * 32}"


def test_a_full_disk_leaves_the_batch_unaccepted(config: Settings) -> None:
    with armed("storage.drafted=nospace"), pytest.raises(StorageError):
        hand_in(config, "a")


def test_a_claim_whose_answer_was_lost_may_be_told_again(config: Settings) -> None:
    request, mine, other = request_of("ada", "POST /v1/predict", "key", "a.png"), uuid.uuid4(), uuid.uuid4()

    def claim(resource_id: UUID) -> KeyClaim:
        with transaction() as session:
            return IdempotencyKeys(session).claim(request, resource_id, lease_s=60, lifetime_s=60)

    first, second = claim(mine), claim(mine)
    assert (first.again, second.again, second.resource_id) == (False, True, mine)
    assert second.fence > first.fence
    with pytest.raises(StillRunning):
        claim(other)
