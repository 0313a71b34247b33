"""The clock of a machine jumps by an hour: leases, tokens, arrivals and repairs do not care."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import jose.jwt
import pytest
from sqlalchemy import text

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.users import Users
from dsdc.db.session import transaction
from dsdc.errors import InvalidToken, SettingsError
from dsdc.pipeline import ingest
from dsdc.pipeline.assembly import Assembly
from dsdc.pipeline.inbox import Watch
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.worker import run_stage
from dsdc.settings import Settings, settings
from dsdc.web import accounts
from dsdc.web.origin import LOCAL
from dsdc.web.tokens import TokenSigner, TokenVerifier
from tests.faults.documents import saved
from tests.faults.invariant import check_invariant, rows, sha256_of
from tests.faults.machine import picture, quick_assembly
from tests.projects import ROOT, forget_settings
from tests.tokens import KEY, WHO, verifier, with_claims

HOUR = 3600.0
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="libfaketime is missing: apt-get install faketime")
each_way = pytest.mark.parametrize("jump_s", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])


def with_clock(jump_s: float, code: str) -> str:
    """What a Python process prints whose whole clock is wrong, below Python itself; the monotonic one goes on."""
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{jump_s:+.0f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | fake | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


WORK = """
import time
from dsdc import log
from dsdc.pipeline.worker import run_stage
from dsdc.settings import settings
from tests.faults.machine import quick_assembly

log.configure("error")
print(round(time.time()), *run_stage("render", assembly=quick_assembly(settings())).as_dict().values())
"""


@pytest.fixture
def documents(database: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of four stored pictures; leases are short."""
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_LEASE_S", "2")
    forget_settings()
    for seed in range(4):
        (database.path("to_ingest") / f"{seed}.png").write_bytes(saved(picture(seed), "PNG"))
    ingest_inbox()
    return [sha256_of(saved(picture(seed), "PNG")) for seed in range(4)]


def claim(assembly: Assembly, worker: str, lease_s: float) -> int:
    with transaction() as session:
        stage = assembly.render
        queue = StageAttempts(session)
        queue.enqueue("render", stage.processor_id, stage.inputs(), limit=10)
        return len(queue.claim("render", stage.processor_id, worker=worker, limit=10, lease_s=lease_s))


@needs_faketime
@each_way
def test_a_worker_with_a_wrong_clock_takes_what_is_due_and_nothing_else(
    jump_s: float, documents: list[str], database: Settings
) -> None:
    assembly = quick_assembly(settings())
    assert claim(assembly, "another worker", lease_s=600) == 4
    began = time.time()
    clock, _, done, *_ = with_clock(jump_s, WORK).split()
    assert abs(float(clock) - began - jump_s) < 600, "the clock of that process is wrong"
    assert done == "0", "the other one's leases are not over, whatever its own clock says"
    with transaction() as session:
        session.execute(text("UPDATE stage_attempts SET available = now() - interval '1 s', lease_until = now()"))
    assert with_clock(jump_s, WORK).split()[2] == "4", "now they are"
    check_invariant(database, documents)


@each_way
def test_a_lease_is_kept_while_the_clock_jumps(
    jump_s: float, documents: list[str], database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jumps of this process in the middle of a page that takes longer than a lease."""
    monkeypatch.setenv("DSDC_PIPELINE_CLAIM_LEASE_S", "5")  # renewed in good time on a busy machine too
    monkeypatch.setenv("DSDC_PARSING_PROCESSES", "2")
    forget_settings()
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    assembly = quick_assembly(settings())
    pages, stolen = assembly.processors.renderer.pages, []

    def slow(*args: object, **options: int) -> Iterator[object]:
        offset[0] += jump_s
        time.sleep(2.6)  # two rounds of two outlast the lease
        stolen.append(claim(assembly, "a thief", lease_s=30))
        yield from pages(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(assembly.processors.renderer, "pages", slow)
    report = run_stage("render", assembly=assembly)
    assert (report.done, report.lost, stolen) == (4, 0, [0] * 4)
    check_invariant(database, documents)


@pytest.mark.parametrize("leeway_s", [31, 3600, -1])
def test_more_leeway_than_half_a_minute_is_refused(
    leeway_s: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSDC_AUTH_LEEWAY_S", str(leeway_s))
    forget_settings()
    with pytest.raises(SettingsError, match=r"auth\.leeway_s"):
        settings()


@each_way
def test_a_verifier_whose_clock_jumps_refuses_and_recovers(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    checks, token = verifier(), with_claims()
    checks.verify(token, "access")
    with monkeypatch.context() as jumped:
        set_clock(jumped, jump_s)
        with pytest.raises(InvalidToken):
            checks.verify(token, "access")
    checks.verify(token, "access")


@pytest.mark.parametrize(("apart_s", "good"), [(25.0, True), (-25.0, True), (40.0, False), (-40.0, False)])
def test_clocks_may_differ_by_the_leeway(
    apart_s: float, good: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leeway as large as it may be; the token is at the very end of its life, or not begun yet."""
    monkeypatch.setenv("DSDC_AUTH_LEEWAY_S", "30")
    forget_settings()
    config = settings().auth
    checks = TokenVerifier(config)
    checks.trust([KEY.public])
    token, claims = TokenSigner(config, KEY).sign(**WHO, kind="access")  # type: ignore[arg-type]
    edge = claims.expires if apart_s > 0 else claims.issued
    set_clock(monkeypatch, edge + apart_s - time.time())
    if good:
        assert checks.verify(token, "access").name == "ada"
        return
    with pytest.raises(InvalidToken):
        checks.verify(token, "access")


def set_clock(patch: pytest.MonkeyPatch, jump_s: float) -> None:
    """Move the clocks that the verifier and its library read."""
    real = time.time
    patch.setattr(time, "time", lambda: real() + jump_s)

    class Jumped(jose.jwt.datetime):  # type: ignore[name-defined, misc]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return super().now(tz) + timedelta(seconds=jump_s)

        @classmethod
        def utcnow(cls) -> object:
            return super().utcnow() + timedelta(seconds=jump_s)

    patch.setattr(jose.jwt, "datetime", Jumped)


ENDED = """
import asyncio, json
from dsdc.settings import settings
from dsdc.web.keys import KeyFolder
from dsdc.web.tokens import TokenVerifier
from services.auth.ring import KeyRing

config = settings()
ring = KeyRing(config.auth, KeyFolder.of(config), TokenVerifier(config.auth))
asyncio.run(ring.refresh_ended())
print(json.dumps(ring.ended.as_dict()))
"""


@needs_faketime
@each_way
def test_who_was_shut_out_is_published_whatever_the_clock_of_auth_says(jump_s: float, database: Settings) -> None:
    """Services with a good clock would otherwise let a disabled account in until its token ends by itself."""
    with transaction() as session:
        user = Users(session).add("eve", password_hash="$argon2id$" + "x" * 40, role="viewer")
    accounts.disable(user.id, actor="test", origin=LOCAL)
    assert str(user.id) in json.loads(with_clock(jump_s, ENDED))["subjects"]


@each_way
def test_a_file_that_is_being_written_waits_and_a_finished_one_does_not(
    jump_s: float, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps when the run has begun to look; a wrong one may have been there before."""
    monkeypatch.setenv("DSDC_INGEST_QUIET_S", "2")
    forget_settings()
    jumped: list[float] = []

    def clock() -> float:
        jumped.append(jump_s)
        return time.time() + jump_s

    monkeypatch.setattr(ingest, "Watch", partial(Watch, now_s=clock))
    inbox, finished, growing = database.path("to_ingest"), saved(picture(1), "PNG"), saved(picture(2), "PNG")
    growing += bytes(10_000)  # enough to grow for as long as anybody looks
    (inbox / "finished.png").write_bytes(finished)
    with appended(inbox / "growing.png", growing):
        report = ingest_inbox()
        assert (report.taken, report.rejected, report.unquiet) == (1, 0, 1)
    assert jumped
    assert ingest_inbox().taken == 1
    check_invariant(database, [sha256_of(finished), sha256_of(growing)])


@contextmanager
def appended(path: Path, data: bytes) -> Iterator[None]:
    """A file that grows by a few bytes now and then, and is closed in between, until the block ends."""
    over = threading.Event()

    def write() -> None:
        position = 0
        while not over.wait(0.05):
            with path.open("ab") as file:
                file.write(data[position : position + 3])
            position += 3
        with path.open("ab") as file:
            file.write(data[position:])

    path.touch()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


REPAIR = """
from dsdc import log
from tests.faults.machine import fsck_repair

log.configure("error")
fsck_repair()
"""


@needs_faketime
def test_a_repair_by_a_wrong_clock_takes_nothing_from_work_under_way(documents: list[str], database: Settings) -> None:
    """Bytes are stored before their rows: to a clock that is ahead they look as if somebody had forgotten them."""
    (database.path("to_ingest") / "new.png").write_bytes(saved(picture(9), "PNG"))
    env = os.environ | {"PYTHONPATH": str(ROOT), "DSDC_FAILPOINTS": "worker.computed=sleep:4;ingest.stored=sleep:4"}
    commands = ["from dsdc.pipeline.ingest import ingest_inbox; ingest_inbox()", WORK]
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env) for code in commands]
    until = time.monotonic() + 180
    while len(list(database.path("raw").glob("??/??/*"))) < 5 or not list(database.path("processed").glob("??/??/*")):
        assert time.monotonic() < until
        time.sleep(0.02)
    with_clock(HOUR + 60, REPAIR)
    assert [process.wait(180) for process in running] == [0, 0]
    assert rows("SELECT count(*) FROM processed_images")[0][0] >= 4
    check_invariant(database, [*documents, sha256_of(saved(picture(9), "PNG"))])
