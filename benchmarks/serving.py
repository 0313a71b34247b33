"""What the benchmarks of the prediction service share: a service of their own, real pages, and many clients.

The service runs over the configured store, on ports of its own, with an `auth` of its own for its keys. Documents are
sent with store=false: their answers are recorded, under the author `benchmark`, and nothing else.
"""

from __future__ import annotations

import asyncio
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import psutil

from dsdc.db.repositories.users import Role
from dsdc.errors import PurposeFailed
from dsdc.samples import generate
from dsdc.settings import project_root, settings
from dsdc.web.keys import KeyFolder, signing_key
from dsdc.web.tokens import TokenSigner
from services.supervisor.ports import free_port

STARTS_WITHIN_S = 180.0


@dataclass(frozen=True)
class Page:
    """A document, its class where it is known, and the collection that it is from."""

    path: Path
    label: str | None = None
    source: str = "samples"

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


@contextmanager
def pages(limit: int) -> Iterator[list[Page]]:
    """Real pages spread over the classes of DSDC_CORPUS, or samples made for this where there is none."""
    labels = Path(os.environ.get("DSDC_CORPUS") or project_root().parent / "shared" / "corpus") / "labels.csv"
    if labels.is_file():
        with labels.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if not r["file"].endswith(".pdf")]
        step = max(1, len(rows) // limit)
        yield [Page(labels.parent / r["file"], r["label"], r["source"]) for r in rows[::step][:limit]]
        return
    with tempfile.TemporaryDirectory(prefix="dsdc-bench-") as folder:
        made = generate(Path(folder), count=limit, seed=7)
        yield [Page(Path(folder) / s.file, s.label) for s in made]


@dataclass(frozen=True)
class Serving:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    auth: httpx.Auth | None = None

    def memory_mb(self) -> float:
        """Resident memory of it and its children."""
        main = psutil.Process(self.process.pid)
        found = 0
        for one in (main, *main.children(recursive=True)):
            try:
                found += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return found / 1e6


@contextmanager
def service(**env: str) -> Iterator[Serving]:
    """`predict` over the configured store.

    Raises:
        PurposeFailed: it does not become ready; without a champion it never does.
    """
    auth, predict = free_port(), free_port()
    own = {"DSDC_AUTH_PORT": str(auth), "DSDC_AUTH_URL": f"http://127.0.0.1:{auth}", "DSDC_PREDICT_PORT": str(predict)}
    with (
        started(["-m", "services.auth"], f"http://127.0.0.1:{auth}", own | env),
        started(["-m", "services.predict"], f"http://127.0.0.1:{predict}", own | env) as process,
    ):
        yield Serving(f"http://127.0.0.1:{predict}", process, SignedIn("viewer"))


class SignedIn(httpx.Auth):
    """A user of this role, with tokens as `auth` gives them; a new one for each request, however long a run takes."""

    def __init__(self, role: Role) -> None:
        config = settings()
        self._signer = TokenSigner(config.auth, signing_key(KeyFolder.of(config).ensure(), datetime.now(UTC)))
        self._claims: dict[str, Any] = {"subject": uuid4(), "name": "benchmark", "role": role, "session": uuid4()}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        signed, _ = self._signer.sign(kind="access", **self._claims)
        request.headers["Authorization"] = f"Bearer {signed}"
        yield request


@contextmanager
def started(arguments: Sequence[str], url: str, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that answers `/readyz`; ended afterwards."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=project_root(), env=os.environ | dict(env), stdout=out, stderr=out
        )
        try:
            try:
                _wait(url, process)
            except PurposeFailed as error:
                out.seek(0)
                raise PurposeFailed(f"{error} Its last words: {out.read()[-2000:].decode(errors='replace')}") from error
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end, said = time.monotonic() + STARTS_WITHIN_S, "nothing"
    while time.monotonic() < end and process.poll() is None:
        try:
            answer = httpx.get(f"{url}/readyz", timeout=10, trust_env=False)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return
        said = answer.text if answer is not None else said
        time.sleep(0.2)
    raise PurposeFailed(f"A service for the benchmark did not get ready: {said}")


def post(http: httpx.Client, page: bytes, name: str, **params: str) -> dict[str, Any]:
    """One answer; raises httpx.HTTPStatusError where it is refused."""
    given = http.post("/v1/predict", files={"file": (name, page)}, params={"store": "false"} | params)
    answer: dict[str, Any] = given.raise_for_status().json()
    return answer


@dataclass(frozen=True)
class Load:
    """What `clients` that ask without a pause for `seconds` were told. Refusals are 429 and 503 with Retry-After."""

    clients: int
    seconds: float
    answered: int
    refused: int
    failed: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    peak_mb: float

    @property
    def per_s(self) -> float:
        return self.answered / self.seconds

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "failed": dict(self.failed), "per_s": round(self.per_s, 2)}


def load(serving: Serving, documents: Sequence[Page], *, clients: int, seconds: float) -> Load:
    """Ask; who is refused comes again after a second at most, as a client in a hurry would."""
    return asyncio.run(_load(serving, [(p.path.name, p.data) for p in documents], clients, seconds))


async def _load(serving: Serving, documents: Sequence[tuple[str, bytes]], clients: int, seconds: float) -> Load:
    times: list[float] = []
    told: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=clients)
    begun, peak = time.monotonic(), serving.memory_mb()
    async with httpx.AsyncClient(
        base_url=serving.url, auth=serving.auth, timeout=600, limits=limits, trust_env=False
    ) as http:

        async def client(number: int) -> None:
            turn = number
            while time.monotonic() < begun + seconds:
                kind, took = await _one(http, *documents[turn % len(documents)])
                told[kind] += 1
                turn += 1
                if kind == "answered":
                    times.append(took)
                else:
                    await asyncio.sleep(1)

        asking = asyncio.gather(*(client(number) for number in range(clients)))
        while not asking.done():
            peak = max(peak, serving.memory_mb())
            await asyncio.wait([asking], timeout=0.5)
        await asking
    spent = time.monotonic() - begun
    p50, p99 = (1000 * float(np.percentile(times, q)) if times else float("nan") for q in (50, 99))
    failed = {kind: n for kind, n in told.items() if kind not in ("answered", "refused")}
    return Load(clients, spent, told["answered"], told["refused"], failed, p50, p99, peak)


async def _one(http: httpx.AsyncClient, name: str, data: bytes) -> tuple[str, float]:
    """(answered, refused, or what went wrong; seconds)."""
    begun = time.perf_counter()
    try:
        given = await http.post("/v1/predict", files={"file": (name, data)}, params={"store": "false"})
    except httpx.HTTPError as error:
        return type(error).__name__, 0.0
    took = time.perf_counter() - begun
    if given.status_code == 200:
        return "answered", took
    refused = given.status_code in (429, 503) and "retry-after" in given.headers
    return "refused" if refused else f"status {given.status_code}", took
