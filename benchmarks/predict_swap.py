"""What clients notice when the champion changes under load: answers by model version, refusals, and requests lost.

The two newest versions that serve what the platform computes take turns as champion; afterwards the champion is the one
that it was before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer
from sqlalchemy import func, select

from benchmarks.serving import Load, Serving, SignedIn, load, pages, service
from dsdc.cli.console import print_json, table
from dsdc.db.session import transaction
from dsdc.db.tables import ModelVersion, Prediction
from dsdc.errors import PurposeFailed
from dsdc.ml.registry import Registered, by_version, champion, set_alias
from dsdc.pipeline.training import unservable
from dsdc.settings import Settings, settings


def run(
    clients: Annotated[int, typer.Option(min=1, help="At once.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Of load.")] = 60,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two swaps.")] = 5,
    documents: Annotated[int, typer.Option(min=1, help="Different pages that are sent.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The champion changes every few seconds under load: requests lost."""
    config = settings()
    before = champion(config)
    other = next((found for found in _others(config, before.id) if not unservable(config, found)), None)
    if other is None:
        raise PurposeFailed("No other model can serve here.", hint="Train another; it need not be promoted.")
    begun = datetime.now(UTC)
    try:
        with pages(documents) as material, service() as serving, ThreadPoolExecutor(1) as pool:
            asking = pool.submit(load, serving, material, clients=clients, seconds=seconds)
            swaps = _swap(serving, [other.id, before.id], every, until=time.monotonic() + seconds)
            found = asking.result()
    finally:
        set_alias(config, "champion", before.id, author="benchmark", reason="predict_swap is over")
    report = {"swaps": swaps, **found.as_dict(), "answers_by_version": _answers(begun)}
    print_json(report) if as_json else _print(report, found)


def _others(config: Settings, but: int) -> Iterator[Registered]:
    """The other versions, the newest first."""
    with transaction() as session:
        query = select(ModelVersion.version).where(ModelVersion.name == config.train.model_name, ModelVersion.id != but)
        versions = list(session.scalars(query.order_by(ModelVersion.version.desc())))
    yield from (by_version(config, version) for version in versions)


def _swap(serving: Serving, turns: list[int], every: float, *, until: float) -> int:
    """Make one version after the other the champion and have it loaded; how often."""
    config, done = settings(), 0
    with httpx.Client(base_url=serving.url, auth=SignedIn("model-admin"), timeout=600, trust_env=False) as http:
        while time.monotonic() < until:
            set_alias(config, "champion", turns[done % len(turns)], author="benchmark", reason="predict_swap")
            http.post("/v1/model/reload").raise_for_status()
            done += 1
            time.sleep(every)
    return done


def _answers(since: datetime) -> dict[str, int]:
    with transaction() as session:
        query = (
            select(ModelVersion.version, func.count())
            .join(Prediction, Prediction.model_version_id == ModelVersion.id)
            .where(Prediction.created >= since, Prediction.author == "benchmark")
            .group_by(ModelVersion.version)
            .order_by(ModelVersion.version)
        )
        return {f"version {version}": count for version, count in session.execute(query).tuples()}


def _print(report: dict[str, Any], found: Load) -> None:
    by_version = ", ".join(f"{version}: {n}" for version, n in report["answers_by_version"].items())
    table(
        f"{report['swaps']} swaps in {found.seconds:.0f} s; answers by {by_version}",
        ["clients", "answered", "refused", "lost", "answers/s", "p50 ms", "p99 ms"],
        [
            [
                found.clients,
                found.answered,
                found.refused,
                sum(found.failed.values()),
                f"{found.per_s:.2f}",
                f"{found.p50_ms:,.0f}",
                f"{found.p99_ms:,.0f}",
            ]
        ],
    )
