"""A platform small and quick enough to be broken thousands of times: real store, queue and database, no engines.

Its commands run in children forked from a process that has imported everything, so that a child starts in
milliseconds and can die at any failpoint. `python -m tests.faults.machine` is that process.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import text

from dsdc import failpoints, log
from dsdc.db.session import engine, retrying, transaction
from dsdc.db.setup import setup_database
from dsdc.db.tables import Base
from dsdc.errors import DsdcError
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.fsck import YOUNG_S, fsck
from dsdc.pipeline.inbox import scan
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.release import release
from dsdc.pipeline.worker import run_stage
from dsdc.processors.mail import MailUnpacker
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from services.postgres.embedded import EmbeddedServer
from tests.fake_processors import SameCleaner, SmallEmbedder, WidthReader
from tests.faults.documents import email, saved
from tests.faults.invariant import check_invariant, files_of, final_state, rows, sha256_of
from tests.projects import ROOT, admin, forget_settings, make_project

PAUSED = "paused"
REFUSED, BROKEN = 3, 4  # exit statuses of a child: the platform's own error, or one that nobody foresaw
PATIENCE_S = 60.0

QUICK = {
    "DSDC_DATABASE_LEAST_PRIVILEGE": "false",
    "DSDC_DATABASE_PATIENCE_S": "30",
    "DSDC_INGEST_QUIET_S": "0",
    "DSDC_INGEST_BATCH": "2",
    "DSDC_PIPELINE_BACKOFF_S": "0",
    "DSDC_PIPELINE_CLAIM_BATCH": "3",
    "DSDC_PIPELINE_CLAIM_LEASE_S": "30",  # nobody waits for it: `Site.expire_leases` lets the time pass
    "DSDC_PIPELINE_MAX_CRASHES": "1000",  # who is killed here is never killed by its document
    "DSDC_PARSING_PROCESSES": "1",
}


def picture(seed: int) -> Image.Image:
    """A page; every seed another one."""
    return Image.linear_gradient("L").resize((20 + seed, 30)).rotate(90 * (seed % 4), expand=True)


def attachment(name: str, data: bytes) -> bytes:
    """An e-mail that brings a file."""
    part = b'Content-Type: application/octet-stream; name="%s"\r\n' % name.encode()
    part += b'Content-Disposition: attachment; filename="%s"\r\n' % name.encode()
    part += b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(data)
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n--x\r\n" + part + b"--x--\r\n"
    return email(body, b'multipart/mixed; boundary="x"')


#: Kinds of files: (how its bytes come from a seed, where it ends, and with which category if in quarantine).
KINDS: dict[str, tuple[Callable[[int], bytes], str, str | None]] = {
    "page": (lambda n: saved(picture(n), "PNG"), "stored", None),
    "pages": (
        lambda n: saved(picture(n), "TIFF", save_all=True, append_images=[picture(n + 50), picture(n + 60)]),
        "stored",
        None,
    ),
    "mail": (lambda n: attachment(f"page {n}.png", saved(picture(n), "PNG")), "stored", None),
    "mail with rubbish": (lambda n: attachment(f"note {n}.xyz", b"rubbish %d" % n), "stored", None),
    "empty": (lambda _: b"", "refused", "empty"),
    "text": (lambda n: b"Dear Sir, number %d\n" % n * 9, "refused", "unsupported"),
    "damaged": (lambda n: saved(picture(n), "PNG")[:48], "rejected", "corrupt"),
}


def made(kind: str, seed: int) -> bytes:
    return KINDS[kind][0](seed)


def quick_assembly(config: Settings) -> Assembly:
    """The real stages; the renderer and the unpacker are the real ones too, in this process."""
    processors = ProcessorSet(
        MailUnpacker(), PageRenderer(config.render), WidthReader(), SameCleaner(), SmallEmbedder()
    )
    return bind(config, processors, register(processors), open_storage(config))


def process(only: str = "") -> None:
    ready = retrying(lambda: quick_assembly(settings()))
    for name in [only] if only else STAGES:
        run_stage(name, assembly=ready)


def fsck_repair() -> None:
    config = settings()
    fsck(config, open_storage(config), repair=True, renderer=PageRenderer(config.render))


def take_over() -> None:
    """What another machine does when a worker has not been heard of for longer than its leases last."""
    expire_leases()
    process()


def expire_leases() -> None:
    """As if a lease's time had passed."""
    now = "clock_timestamp()"
    with transaction() as session:
        session.execute(
            text(f"UPDATE stage_attempts SET available = {now}, lease_until = {now} WHERE state = 'running'")
        )


ACTIONS: dict[str, Callable[[], object]] = {
    "ingest": ingest_inbox,
    "process": process,
    "release": release,
    "fsck": fsck_repair,
    "take over": take_over,
    **{stage: lambda stage=stage: process(stage) for stage in STAGES},
}


class Nursery:
    """The process that forks children. It has done everything once, and it has one thread, so that forking is safe."""

    def __init__(self, env: dict[str, str], log_file: Path) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DSDC_")}
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.machine"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=kept | env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._ask(do="warm up")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def fork(self, action: str, trap: str = "") -> Child:
        return Child(self, self._ask(do="fork", action=action, trap=trap), action, trap)

    def look(self, pid: int) -> int | str | None:
        """Its exit status, negative for a signal; PAUSED when it has just paused; None while it is at work."""
        return self._ask(do="look", pid=pid)


@dataclass
class Child:
    """A command at work."""

    nursery: Nursery = field(repr=False)
    pid: int
    action: str
    trap: str
    ended: int | str | None = None

    def paused(self) -> bool:
        """Wait until it pauses at its failpoint, or has ended without coming there."""
        self.ended = self._next()
        return self.ended == PAUSED

    def go_on(self, number: int = signal.SIGCONT) -> None:
        """Wake it, with another signal to begin with if one is given; nothing to one that has ended."""
        if self.ended == PAUSED:
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)
            self.ended = None

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        if self.ended is None:
            self.ended = self._next()
        assert isinstance(self.ended, int), f"{self} is asleep"
        return self.ended

    def _next(self) -> int | str:
        until = time.monotonic() + PATIENCE_S
        while (status := self.nursery.look(self.pid)) is None:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGABRT)
                raise AssertionError(f"{self} hangs")
            time.sleep(0.003)
        return status


def _serve() -> None:
    """Answer requests by lines of JSON until there are no more."""
    log.configure("warning", "json")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answer: int | str | None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["do"] == "fork":
            answer = _fork(request)
        elif request["do"] == "look":
            pid, status = os.waitpid(request["pid"], os.WNOHANG | os.WUNTRACED)
            answer = None if not pid else PAUSED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        else:
            answer = _warm_up()
        answers.write(json.dumps(answer) + "\n")


def _warm_up() -> int:
    """What is imported, compiled and cached now, no child has to do again; no connection is left that they share."""
    inbox = settings().path("to_ingest")
    for number, kind in enumerate(KINDS):
        (inbox / f"{number}").write_bytes(made(kind, 1))
    for action in ACTIONS.values():
        action()
    engine("pipeline").dispose()
    return threading.active_count()


def _fork(request: dict[str, Any]) -> int:
    """The pid of a child that is about to do what was asked for."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _child(request, tell)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    return pid


def _arm(trap: str) -> None:
    """`kill@5`, `exit@5`, `pause@5`: at the fifth failpoint that is reached; or as in DSDC_FAILPOINTS."""
    action, _, number = trap.partition("@")
    if "=" in trap or not trap:
        failpoints.arm(trap)
        return
    ends: dict[str, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(failpoints.EXIT_STATUS),
        "pause": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    }
    one_for_all = failpoints._Trap(ends[action], int(number))
    failpoints._traps = dict.fromkeys(failpoints.NAMES, one_for_all)


def _child(request: dict[str, Any], tell: int) -> None:
    """Do one thing and end; never returns."""
    os.close(0)
    status = BROKEN
    try:
        log.configure("warning", "json", child=os.getpid(), action=request["action"], trap=request["trap"])
        _arm(request["trap"])
        os.close(tell)
        ACTIONS[request["action"]]()
        status = 0
    except DsdcError as error:
        print(f"REFUSED {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        status = REFUSED
    except BaseException:  # noqa: BLE001 - told in the log and by the status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Site:
    """A project and a database of its own, and the memory of what was brought."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        make_project(folder, ocr_engine="tesseract")
        # Servers for tests forget their last commits when they crash, which no real one may.
        admin(server.url(), f'ALTER ROLE "{server.owner}" SET synchronous_commit = on')
        url = server.url("machine").render_as_string(hide_password=False)
        self._env = QUICK | {"DSDC_DIR": str(folder), "DSDC_DATABASE_URL": url}
        self._before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith("DSDC_")}
        os.environ.update(self._env)
        forget_settings()
        self.config = settings()
        self.inbox = self.config.path("to_ingest")
        self._log_file = self.config.path("logs") / "children.log"
        setup_database(self.config)
        self._nursery = Nursery(self._env, self._log_file)
        self.reset()

    def close(self) -> None:
        """End what runs, and make this process forget the site."""
        self._nursery.close()
        for key in self._env:
            os.environ.pop(key, None)
        os.environ.update(self._before)
        forget_settings()

    def reset(self) -> None:
        """As if nothing had ever come."""
        for name in ("to_ingest", "raw", "processed", "rejected"):
            folder = self.config.path(name)  # type: ignore[arg-type]
            shutil.rmtree(folder)
            folder.mkdir()
        with transaction() as session:
            session.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY CASCADE"))
        self._log_file.write_text("")
        self.kind_of: dict[str, str] = {}
        self._arrived: Counter[str] = Counter()
        self._replaced: list[tuple[str, str]] = []  # (arrival key, SHA-256) of what was overwritten while it waited
        self.settled = True

    @property
    def log(self) -> str:
        """What the children said, its end."""
        return self._log_file.read_text()[-6000:]

    def bring(self, kind: str, seed: int, place: str) -> None:
        """Put a file into the inbox whole at once, in place of what may wait there under that name."""
        data, target = made(kind, seed), self.inbox / place
        target.parent.mkdir(exist_ok=True)
        self._forget(target)
        draft = target.with_name(f".{target.name}.draft")
        draft.write_bytes(data)
        draft.replace(target)
        self.kind_of[sha256_of(data)] = kind
        self._arrived[sha256_of(data)] += 1

    def _forget(self, target: Path) -> None:
        """What is overwritten by its owner has not arrived, unless it was taken already."""
        for found in scan(self.inbox, lambda *_: None):
            if found.path == target:
                self._replaced.append((found.arrival_key, sha256_of(target.read_bytes())))

    def arrived(self) -> Counter[str]:
        """SHA-256 of everything that came and is still to be somewhere."""
        taken = {key for (key,) in rows("SELECT arrival_key FROM sightings WHERE arrival_key IS NOT NULL")}
        gone = Counter(sha256 for key, sha256 in self._replaced if key not in taken)
        return +(self._arrived - gone)

    def fork(self, action: str, trap: str = "") -> Child:
        """Start a command in a process of its own, with a failpoint."""
        return self._nursery.fork(action, trap)

    def restart_server(self, *, crash: bool) -> None:
        """Down and up; `crash` is as after a power cut: no goodbye to anybody, recovery at the next start."""
        if crash and self.server.pid is not None:
            os.kill(self.server.pid, signal.SIGQUIT)
        self.server.stop()
        self.server.start()

    def calm(self) -> None:
        """Everything once, by a process that nothing happens to; then all is where it belongs."""
        expire_leases()
        ingest_inbox()
        process()
        self._let_time_pass()
        fsck_repair()
        self.settled = True

    def _let_time_pass(self) -> None:
        """What nobody has finished by now, nobody will: it is no longer left alone as if it were under way."""
        long_ago = time.time() - 2 * YOUNG_S
        for name in ("raw", "processed", "rejected"):
            for path in self.config.path(name).rglob("*"):  # type: ignore[arg-type]
                os.utime(path, (long_ago, long_ago))

    def check(self) -> None:
        arrived = self.arrived()
        waiting = Counter(sha256_of(path.read_bytes()) for path in files_of(self.inbox))
        stored = {sha256 for (sha256,) in rows("SELECT id FROM original_documents WHERE state = 'stored'")}
        aside = {sha256 for (sha256,) in rows("SELECT sha256 FROM rejected_documents WHERE released IS NULL")}
        again = waiting.keys() & (stored | aside)
        check_invariant(self.config, list(arrived.elements()), settled=self.settled and not again)
        if self.settled:
            assert not stored & aside
            assert {sha256 for sha256, times in arrived.items() if times > waiting[sha256]} <= stored | aside

    def state(self) -> dict[str, Any]:
        """All that is there, derived rows too, without what differs from run to run."""
        derived = {
            "texts": "SELECT document_id, page, raw_text, processor_id FROM raw_texts",
            "cleaned": "SELECT raw_text_id, processed_text, processor_id FROM processed_texts",
            "vectors": "SELECT processed_image_id, processed_text_id, processor_id, embedding::text FROM embeddings",
        }
        return final_state(self.config) | {name: sorted(map(repr, rows(query))) for name, query in derived.items()}


if __name__ == "__main__":
    _serve()
