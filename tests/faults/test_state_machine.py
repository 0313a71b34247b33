"""Anything may happen in any order, and no byte is lost, none doubled: the invariant holds after every single step.

Arrivals, duplicates, replaced files, kills at every failpoint, full disks, signals, restarts of PostgreSQL, leases that
run out, workers side by side, releases from quarantine. In the end everything is run calmly: every input has been
processed exactly once, and running it all again changes nothing.

`DSDC_FAULTS_EXAMPLES=1000 pytest tests/faults/test_state_machine.py` runs that many random stories (about 2 s each)
instead of the few fixed ones.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dsdc import failpoints, log
from dsdc.pipeline.assembly import STAGES
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.release import release
from services.postgres.embedded import temporary_server
from tests.faults.invariant import rows
from tests.faults.machine import KINDS, REFUSED, Child, Site, expire_leases, process

Files = list[tuple[str, int, str]]  # kind, seed, place

EXAMPLES = int(os.environ.get("DSDC_FAULTS_EXAMPLES", "0"))
STEPS = 20

PLACES = [
    f"{folder}{name}" for folder in ("", "letter/", "invoice/", "attic/") for name in ("a.pdf", "b.png", "c", "-d.eml")
]
WORK = ("ingest", "process", "release", "fsck", *STAGES)
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
STORING = ("ingest", "process", "unpack", "render", "release")
DISK_FULL = ("storage.drafted", "storage.before_rename", "storage.renamed")
A_MOMENT_S = 0.1

kinds = st.sampled_from(sorted(KINDS))
seeds = st.integers(0, 9)
places = st.sampled_from(PLACES)
works = st.sampled_from(WORK)
times = st.integers(1, 16)  # the how manieth failpoint that a command comes by
fresh = st.lists(st.tuples(kinds, seeds, places), min_size=1, max_size=3)


class Faults(RuleBasedStateMachine):
    """One site and everything that may befall it."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        site.reset()

    @initialize(first=fresh)
    def begin(self, first: Files) -> None:
        self._give_work("ingest", first)

    def _give_work(self, work: str, files: Files) -> None:
        """Files for a command to work on."""
        for kind, seed, place in files:
            self.site.bring(kind, seed, place)
        if files and work != "ingest":
            ingest_inbox()
        for before in STAGES[: STAGES.index(work)] if files and work in STAGES else ():
            process(before)

    @rule(kind=kinds, seed=seeds, place=places)
    def bring(self, kind: str, seed: int, place: str) -> None:
        """New bytes or known ones, under a new name or over a file that still waits."""
        self.site.bring(kind, seed, place)

    @rule(kind=kinds, seed=seeds, where=st.lists(places, min_size=2, max_size=4, unique=True))
    def bring_copies(self, kind: str, seed: int, where: list[str]) -> None:
        for place in where:
            self.site.bring(kind, seed, place)

    @rule()
    def ingest(self) -> None:
        ingest_inbox()

    @rule(stage=st.sampled_from(("", *STAGES)))
    def process(self, stage: str) -> None:
        process(stage)

    @rule()
    def release(self) -> None:
        release()

    @rule(work=works, number=times, how=st.sampled_from(("kill", "exit")), files=fresh)
    def dies(self, work: str, number: int, how: str, files: Files) -> None:
        self._give_work(work, files)
        self.site.settled = False
        status = self.site.fork(work, f"{how}@{number}").wait()
        assert status in (0, -signal.SIGKILL, failpoints.EXIT_STATUS), self.site.log

    @rule(work=st.sampled_from(STORING), point=st.sampled_from(DISK_FULL), number=st.integers(1, 3), files=fresh)
    def disk_is_full(self, work: str, point: str, number: int, files: Files) -> None:
        self._give_work(work, files)
        self.site.settled = False  # bytes that were put before it was full may still wait for their row
        status = self.site.fork(work, f"{point}=nospace@{number}").wait()
        assert status in (0, REFUSED), self.site.log

    @rule(work=works, number=times, how=st.sampled_from(SIGNALS), files=fresh)
    def signalled(self, work: str, number: int, how: int, files: Files) -> None:
        self._give_work(work, files)
        self.site.settled = False
        child = self.site.fork(work, f"pause@{number}")
        if child.paused():
            child.go_on(how)
        note(f"{work} ended with {child.wait()}")

    @rule(work=works, number=times, others=st.lists(works, min_size=1, max_size=2), files=fresh, survives=st.booleans())
    def side_by_side(self, work: str, number: int, others: list[str], files: Files, survives: bool) -> None:
        """One command is asleep at some point while others begin; then it goes on, or dies."""
        self._give_work(work, files)
        self._meanwhile(work, number, lambda: [self.site.fork(other) for other in others], survives=survives)

    def _meanwhile(self, work: str, number: int, act: Callable[[], list[Child]], *, survives: bool = True) -> None:
        """Something else begins while a command is asleep; it may have to wait for the sleeper."""
        self.site.settled = self.site.settled and survives
        sleeper = self.site.fork(work, f"pause@{number}")
        sleeper.paused()
        others = act()
        time.sleep(A_MOMENT_S)
        sleeper.go_on(signal.SIGCONT if survives else signal.SIGKILL)
        ends = [child.wait() for child in (sleeper, *others)]
        assert set(ends[1:]) <= {0} and ends[0] in (0, -signal.SIGKILL), f"{work}, others: {ends}\n{self.site.log}"

    @rule(place=places, kinds=st.tuples(kinds, kinds), seed=seeds, number=times)
    def replaced_while_it_is_taken(self, place: str, kinds: tuple[str, str], seed: int, number: int) -> None:
        def replace() -> list[Child]:
            self.site.bring(kinds[1], seed + 1, place)
            return []

        self.site.bring(kinds[0], seed, place)
        self._meanwhile("ingest", number, replace)

    @rule(work=st.sampled_from(("render", "process", "release")), seed=seeds, files=fresh, number=times, place=places)
    def arrives_again_while_it_is_worked_on(self, work: str, seed: int, files: Files, number: int, place: str) -> None:
        """A damaged file most of all, which is on its way out of the store while it is on its way in."""

        def bring_again() -> list[Child]:
            self.site.bring("damaged", seed, place)
            return [self.site.fork("ingest")]

        self._give_work(work, [*files, ("damaged", seed, place)])
        self._meanwhile(work, number, bring_again)

    @rule(stage=st.sampled_from(STAGES), number=st.integers(1, 8), files=fresh, survives=st.booleans())
    def taken_over(self, stage: str, number: int, files: Files, survives: bool) -> None:
        """A worker is asleep beyond its lease; another one does the work; what the first says late is refused."""
        self._give_work(stage, files)
        self._meanwhile(stage, number, lambda: [self.site.fork("take over")], survives=survives)

    @rule(work=works, number=times, crash=st.booleans(), files=fresh)
    def server_restarts(self, work: str, number: int, crash: bool, files: Files) -> None:
        self._give_work(work, files)
        child = self.site.fork(work, f"pause@{number}")
        child.paused()
        self.site.restart_server(crash=crash)
        child.go_on()
        # Only the check of everything gives up: it is run again as a whole.
        assert child.wait() in ((0, REFUSED) if work == "fsck" else (0,)), self.site.log

    @rule()
    def leases_run_out(self) -> None:
        expire_leases()

    @rule()
    def repaired(self) -> None:
        assert self.site.fork("fsck").wait() == 0, self.site.log

    @precondition(lambda self: not self.site.settled)
    @rule()
    def calm(self) -> None:
        self.site.calm()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        self.site.check()

    def teardown(self) -> None:
        self.site.calm()
        self.site.check()
        before = self.site.state()
        assert_all_done(self.site)
        self.site.calm()
        self.site.check()
        assert self.site.state() == before, "running everything again changes nothing"


def assert_all_done(site: Site) -> None:
    """Every input that there is ended once, and every file is where its kind belongs."""
    assert rows("SELECT stage, input_id, state FROM stage_attempts WHERE state IN ('pending', 'running')") == []
    for inputs, stage in (
        ("SELECT id::text AS input FROM original_documents WHERE state = 'stored'", "render"),
        ("SELECT id::text AS input FROM processed_images", "text"),
        ("SELECT id::text AS input FROM processed_images", "embed-image"),
        ("SELECT id::text AS input FROM raw_texts", "clean"),
        ("SELECT id::text AS input FROM processed_texts", "embed-text"),
    ):
        ends = f"FROM stage_attempts a WHERE a.stage = '{stage}' AND a.input_id = i.input"
        good = f"(SELECT count(*) {ends} AND a.state IN ('done', 'skipped'))"
        assert rows(f"SELECT i.input FROM ({inputs}) i WHERE {good} <> 1") == [], stage
    states = dict(rows("SELECT id, state FROM original_documents"))
    refused = dict(rows("SELECT sha256, category FROM rejected_documents WHERE released IS NULL"))
    for sha256 in site.arrived():
        _, where, category = KINDS[site.kind_of[sha256]]
        found = states.get(sha256, "refused"), refused.get(sha256)
        assert found == (where, category), f"a file of the kind {site.kind_of[sha256]!r}"
    labelled = rows("SELECT document_id, label FROM labels")
    for document, folder in rows("SELECT document_id, folder FROM sightings WHERE folder IN ('letter', 'invoice')"):
        assert (document, folder) in labelled


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    before = structlog.get_config()
    log.configure("critical")
    with temporary_server() as server:
        made = Site(server, tmp_path_factory.mktemp("machine"))
        yield made
        made.close()
    structlog.configure(**before)


@pytest.mark.timeout(0)
def test_whatever_happens_nothing_is_lost_or_doubled(site: Site) -> None:
    run_state_machine_as_test(
        lambda: Faults(site),
        settings=settings(
            max_examples=EXAMPLES or 24,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate],  # shrinking would repeat the story for minutes, and its timing is part of it
            suppress_health_check=list(HealthCheck),
        ),
    )
