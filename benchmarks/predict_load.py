"""How the prediction service holds under many clients, what it does at four times that, and a plain app beside it.

Which of the two is measured first changes from round to round. Both must give equal answers, or nothing is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import httpx
import typer

from benchmarks.serving import Load, Page, Serving, load, pages, post, service, started
from dsdc.cli.console import print_json, table
from dsdc.errors import PurposeFailed
from services.supervisor.ports import free_port

_WAYS = ("platform", "plain FastAPI")


def run(
    clients: Annotated[int, typer.Option(min=1, help="At once.")] = 64,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 60,
    documents: Annotated[int, typer.Option(min=1, help="Different pages that are sent.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Of both, in turn.")] = 1,
    overload: Annotated[int, typer.Option(min=0, help="Times as many clients afterwards; 0: leave it out.")] = 4,
    plain: Annotated[bool, typer.Option(help="Compare with a plain FastAPI application.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Requests/s, p50, p99, errors, refusals and memory of the service under load, against plain FastAPI."""
    with pages(documents) as material, service() as ours:
        before = ours.memory_mb()
        found: list[tuple[str, Load]] = []
        for number in range(rounds):
            found += _round(ours, material, clients, seconds, _WAYS[:: -1 if number % 2 else 1] if plain else _WAYS[:1])
        if overload:
            found.append((f"platform x {overload}", load(ours, material, clients=overload * clients, seconds=seconds)))
        report = {
            "memory_mb": {"before": round(before), "after": round(ours.memory_mb())},
            "measured": [{"way": way} | one.as_dict() for way, one in found],
        }
    print_json(report) if as_json else _print(report)


def _round(
    ours: Serving, material: Sequence[Page], clients: int, seconds: float, ways: Sequence[str]
) -> list[tuple[str, Load]]:
    found = []
    for way in ways:
        if way == "platform":
            found.append((way, load(ours, material, clients=clients, seconds=seconds)))
            continue
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with started(["-m", "benchmarks.plain_app", str(port)], url, {}) as process:
            theirs = Serving(url, process)
            _check_equal(ours, theirs, material[:3])
            found.append((way, load(theirs, material, clients=clients, seconds=seconds)))
    return found


def _check_equal(ours: Serving, theirs: Serving, material: Sequence[Page]) -> None:
    for page in material:
        said = []
        for one in (ours, theirs):
            with httpx.Client(base_url=one.url, auth=one.auth, timeout=600, trust_env=False) as http:
                answer = post(http, page.data, page.path.name)
                said.append((answer["label"], round(answer["probability"], 4)))
        if said[0] != said[1]:
            raise PurposeFailed(f"The two do not agree on {page.path.name}: {said}.")


def _print(report: dict[str, Any]) -> None:
    memory = report["memory_mb"]
    rows = [
        [
            one["way"],
            one["clients"],
            f"{one['per_s']:.2f}",
            f"{one['p50_ms']:,.0f}",
            f"{one['p99_ms']:,.0f}",
            one["answered"],
            one["refused"],
            ", ".join(f"{kind}: {count}" for kind, count in one["failed"].items()) or 0,
            f"{one['peak_mb']:,.0f}",
        ]
        for one in report["measured"]
    ]
    title = f"memory before {memory['before']:,} MB, after {memory['after']:,} MB"
    table(title, ["", "clients", "answers/s", "p50 ms", "p99 ms", "answered", "refused", "failed", "peak MB"], rows)
