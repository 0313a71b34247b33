"""Services that stop, die and share work in the middle of batches: every document is answered once, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from dsdc.client import Client
from dsdc.web.contract import Batch
from services.supervisor.ports import free_port
from tests.services.platforms import Platform
from tests.services.stored import nothing_is_left, over, page, rows, until

SETTINGS = {"DSDC_PIPELINE_CLAIM_LEASE_S": "2", "DSDC_PREDICT_BATCH_MAX_FILES": "100"}
DOCUMENTS = 24  # some are left for the last service, however slowly the others start and end


@pytest.fixture(scope="module", autouse=True)
def _alone(platform: Platform) -> Iterator[None]:
    """The service of the other tests rests meanwhile."""
    service = platform.processes[1]
    service.send_signal(signal.SIGSTOP)
    yield
    service.send_signal(signal.SIGCONT)


@contextmanager
def serving(platform: Platform, url: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**SETTINGS, **env, "DSDC_PREDICT_PORT": str(urlsplit(url).port)}
    service = platform.start("tests.services.stand_in_predict", "batches.log", url, **env)
    try:
        yield service
    finally:
        platform.processes.remove(service)
        service.kill()
        service.wait()


@pytest.fixture
def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def viewer(platform: Platform, url: str) -> Iterator[Client]:
    with Client(platform.auth, url) as client:
        client.sign_in("the-viewer", platform.passwords["the-viewer"])
        yield client


def documents(count: int, prefix: str) -> list[tuple[str, bytes]]:
    """Under names that no other test uses."""
    token = uuid.uuid4().hex[:8]
    return [(f"{prefix}{token}-{n}.png", page(n) + token.encode()) for n in range(count)]


def states(platform: Platform, batch: Batch) -> dict[str, int]:
    """From the database, for no service may be there to be asked."""
    query = "SELECT state, count(*) FROM prediction_batch_items WHERE batch_id = :id GROUP BY state"
    return {row[0]: row[1] for row in rows(platform, query, id=batch.batch_id)}


def each_answered_once(platform: Platform, batch: Batch) -> None:
    found = rows(
        platform,
        "SELECT i.state, count(p.id) FROM prediction_batch_items i"
        " LEFT JOIN predictions p ON p.original_name = i.name AND p.author = 'the-viewer'"
        " WHERE i.batch_id = :id GROUP BY i.id, i.state",
        id=batch.batch_id,
    )
    assert Counter(found) == {("done", 1): batch.items}


def _stopped_in_the_middle(platform: Platform, service: subprocess.Popen[bytes], batch: Batch, done: int) -> bool:
    """So many are done, and one is in the hands of the service, which stands still: it is killed with that one."""
    service.send_signal(signal.SIGSTOP)
    time.sleep(0.2)  # the database has done by then what it was last told
    found = states(platform, batch)
    if found.get("done", 0) >= done and found.get("running") == 1:
        return True
    service.send_signal(signal.SIGCONT)
    return False


def done_by(platform: Platform, batch: Batch) -> list[int]:
    """How many documents each service has answered."""
    query = "SELECT count(*) FROM prediction_batch_items WHERE batch_id = :id AND state = 'done' GROUP BY worker"
    return [row[0] for row in rows(platform, query, id=batch.batch_id)]


def test_one_batch_through_four_services(platform: Platform, viewer: Client, url: str) -> None:
    """The first drains, the second gives back, the third is killed, the fourth ends it."""
    with serving(platform, url) as service:
        batch = viewer.submit_batch(documents(DOCUMENTS, "slow-0.5-"))
        until(lambda: viewer.batch(batch.batch_id).counts["running"] == 1)
        service.send_signal(signal.SIGTERM)
        assert service.wait(120) in (0, -signal.SIGTERM)
    drained = states(platform, batch)
    assert set(drained) == {"done", "pending"}
    with serving(platform, url, DSDC_PIPELINE_DRAIN_S="0") as service:
        until(lambda: viewer.batch(batch.batch_id).counts["running"] == 1)
        service.send_signal(signal.SIGTERM)
        assert service.wait(120) in (0, -signal.SIGTERM)
    given_back = states(platform, batch)
    assert set(given_back) == {"done", "pending"}
    assert given_back["done"] >= drained["done"]
    with serving(platform, url) as service:
        until(lambda: _stopped_in_the_middle(platform, service, batch, given_back["done"] + 2))
        service.kill()
        service.wait()
    assert states(platform, batch)["pending"] > 0
    with serving(platform, url):
        assert over(viewer, batch).counts["done"] == DOCUMENTS
    each_answered_once(platform, batch)
    ended = "SELECT sum(crashes), sum(failures) FROM prediction_batch_items WHERE batch_id = :id"
    assert rows(platform, ended, id=batch.batch_id) == [(1, 0)]  # the kill, and neither of the two that were asked
    assert nothing_is_left(platform)


def test_two_services_share_the_work_and_one_takes_over_from_the_other(
    platform: Platform, viewer: Client, url: str
) -> None:
    with serving(platform, url), serving(platform, f"http://127.0.0.1:{free_port()}") as other:
        batch = viewer.submit_batch(documents(30, "slow-0.2-"))
        until(lambda: len(done := done_by(platform, batch)) == 2 and min(done) >= 3)
        other.kill()
        over(viewer, batch)
    each_answered_once(platform, batch)
    assert len(done_by(platform, batch)) == 2
