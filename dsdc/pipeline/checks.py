"""Checks that end in a sentence, or raise and say what to do. `check_platform` runs each as a task of its own."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta

from alembic.script import ScriptDirectory
from sqlalchemy import func, select

from dsdc.db.session import schema_version, transaction
from dsdc.db.setup import alembic_config
from dsdc.db.tables import StageAttempt
from dsdc.errors import DatabaseError, PurposeFailed
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.ingest import scan
from dsdc.pipeline.purpose import open_work
from dsdc.pipeline.status import check_service, database_check, service_urls
from dsdc.settings import settings

ATTEMPTS_S = 10.0  # a service that has just been restarted answers within this time


def check_database() -> str:
    """PostgreSQL answers and holds a schema.

    Raises:
        DatabaseUnavailable: it does not answer.
        DatabaseError: it holds no schema, or not the newest.
    """
    said = database_check()
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if schema_version() != newest:
        raise DatabaseError(f"The database {said}; the code needs {newest}.", hint="Run ./scripts/start.sh.")
    return said


def require_service(name: str) -> str:
    """The HTTP service `name` of `service_urls` is up.

    Raises:
        PurposeFailed: it is not, with its answer and where to look.
    """
    url = service_urls(settings())[name]
    state = check_service(url, timeout_s=ATTEMPTS_S)
    if state != "up":
        raise PurposeFailed(
            f"The service {name} at {url} is not up: {state}.",
            hint=f"Read logs/{name}.log; ./scripts/start.sh starts what is down.",
        )
    return f"{name} is up"


def check_disk(free_gb: float) -> dict[str, float]:
    """GB (10^9 bytes) free under each data folder.

    Raises:
        PurposeFailed: a folder has less than `free_gb`.
    """
    config = settings()
    free: dict[str, float] = {}
    for name in ("to_ingest", "raw", "processed", "rejected", "models", "logs"):
        folder = config.path(name)
        while not folder.exists():  # not made yet: its parent's disk is the one that it will be on
            folder = folder.parent
        free[name] = round(shutil.disk_usage(folder).free / 1e9, 2)
    short = [f"{name} ({gb} GB)" for name, gb in free.items() if gb < free_gb]
    if short:
        raise PurposeFailed(
            f"Less than {free_gb} GB are free under {', '.join(short)}.",
            hint="Make room, or move the folder: paths.* in config.local.yaml.",
        )
    return free


def check_stuck(minutes: float) -> dict[str, int]:
    """Nothing has waited for longer than `minutes`: neither files in the inbox nor due work of a stage.

    Returns:
        Work that is open at present, by stage: waiting for a later attempt, or in somebody's hands.

    Raises:
        PurposeFailed: names what waits, and how much of it.
    """
    ready = assemble(settings())
    waiting = {"files in data/to_ingest": _old_files(minutes), **_overdue(ready, minutes)}
    if any(waiting.values()):
        listed = ", ".join(f"{name}: {n}" for name, n in waiting.items() if n)
        raise PurposeFailed(
            f"Waiting for more than {minutes:g} minutes: {listed}.",
            hint="See that the DAG ingest_and_process is on and its runs are green, or run `dsdc process`.",
        )
    return open_work(ready)


def _old_files(minutes: float) -> int:
    limit = time.time() - minutes * 60
    return sum(f.status.st_ctime < limit for f in scan(settings().path("to_ingest"), lambda _path, _reason: None))


def _overdue(ready: Assembly, minutes: float) -> dict[str, int]:
    """`available` is when a pending input is due, and for a running one when its lease ends.

    Only the processors in use count: what was left over by an earlier version waits for nobody.
    """
    query = (
        select(StageAttempt.stage, func.count())
        .where(
            StageAttempt.state.in_(("pending", "running")),
            StageAttempt.available < func.clock_timestamp() - timedelta(minutes=minutes),
            StageAttempt.processor_id.in_(ready.ids.of_stages),
        )
        .group_by(StageAttempt.stage)
    )
    with transaction() as session:
        return {f"stage {row[0]}": row[1] for row in session.execute(query)}
