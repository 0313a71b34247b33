"""What HTTP adds to an answer: the service against the same call in this process, in turn, on the same pages.

With OCR, and from the page image alone where the champion is sure enough of it (`cascade=auto`). Answers must be equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from benchmarks.serving import Page, pages, post, service
from dsdc.cli.console import print_json, table
from dsdc.errors import PurposeFailed
from dsdc.pipeline.answer import Answerer
from dsdc.settings import CascadeMode, settings
from dsdc.storage import open_storage

_MODES: dict[str, CascadeMode] = {"with OCR": "off", "cascade": "auto"}


def run(
    documents: Annotated[int, typer.Option(min=1, help="Different pages.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Of both, in turn.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """p50 of one client over HTTP, against the same call in-process."""
    config = settings()
    here = Answerer(config, open_storage(config))
    here.load()
    with (
        pages(documents) as material,
        service() as serving,
        httpx.Client(base_url=serving.url, auth=serving.auth, timeout=600, trust_env=False) as http,
    ):
        report = {mode: _measure(here, http, material, rounds, given) for mode, given in _MODES.items()}
    print_json(report) if as_json else _print(report)


def _measure(
    here: Answerer, http: httpx.Client, material: Sequence[Page], rounds: int, cascade: CascadeMode
) -> dict[str, Any]:
    def inside(page: Page) -> dict[str, Any]:
        return here.answer(
            page.data, name=page.path.name, author="benchmark", source="api", store=False, cascade=cascade
        ).as_dict()

    def outside(page: Page) -> dict[str, Any]:
        return post(http, page.data, page.path.name, cascade=cascade)

    times: dict[str, list[float]] = {"in-process": [], "HTTP": []}
    unread = 0
    _both(inside, outside, material[0])  # neither pays for its first answer
    for _ in range(rounds):
        for page in material:
            took, evidence = _both(inside, outside, page)
            unread += evidence == "image"
            for way, seconds in took.items():
                times[way].append(1000 * seconds)
    medians = {way: round(float(np.median(found)), 1) for way, found in times.items()}
    added = float(np.median(np.subtract(times["HTTP"], times["in-process"])))
    return {"p50_ms": medians, "added_ms": round(added, 1), "unread": unread, "answers": len(times["HTTP"])}


def _both(
    inside: Callable[[Page], dict[str, Any]], outside: Callable[[Page], dict[str, Any]], page: Page
) -> tuple[dict[str, float], str]:
    took, said = {}, []
    for way, ask in (("in-process", inside), ("HTTP", outside)):
        begun = time.perf_counter()
        said.append(ask(page))
        took[way] = time.perf_counter() - begun
    if (said[0]["label"], round(said[0]["probability"], 4)) != (said[1]["label"], round(said[1]["probability"], 4)):
        raise PurposeFailed(f"The two do not agree on {page.path.name}.")
    return took, str(said[0]["versions"]["evidence"])


def _print(report: dict[str, Any]) -> None:
    rows = [
        [
            mode,
            found["p50_ms"]["in-process"],
            found["p50_ms"]["HTTP"],
            found["added_ms"],
            f"{found['unread']} of {found['answers']}",
        ]
        for mode, found in report.items()
    ]
    table("One client", ["", "in-process p50 ms", "HTTP p50 ms", "added ms", "from the image alone"], rows)
