"""What it brings and costs to answer from the image alone where the champion is sure enough of it.

Each page goes three ways in turn: always read, read only where the image is not enough, and never read. Pages that the
champion has learnt from are left out. Nothing is stored. What a cascade may cost is promised for pages like those that
the champion has learnt from, so the cost is told by collection.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.serving import Page, pages
from dsdc.cli.console import Bars, bars, print_json, table
from dsdc.db.repositories.models import Snapshots
from dsdc.db.session import transaction
from dsdc.errors import PurposeFailed
from dsdc.ml.dataset import Known, blocks_of
from dsdc.ml.predict import Classifier
from dsdc.ml.registry import champion
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.chain import Chain, Enough
from dsdc.settings import settings


@dataclass(frozen=True)
class _Answer:
    source: str
    seconds: float
    right: bool
    unread: bool


def run(
    documents: Annotated[int, typer.Option(min=1, help="Pages, fewer where too few are new to the champion.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """p50 with OCR, with the cascade and from images alone, and what the cascade costs in accuracy."""
    config = settings()
    served, ready = champion(config), assemble(config)
    classifier = Classifier.load(served.folder, served.head_sha256, top=1)
    if classifier.cascade_threshold is None:
        raise PurposeFailed(
            f"{served.name} {served.version} promises nothing from images alone.",
            hint="Train with 199 or more labelled documents.",
        )
    with transaction() as session:
        learnt = {member.document_id for member in Snapshots(session).members(served.snapshot_id)}
    _ = ready.processors.embedder.width
    ready.processors.keep_warm()
    with pages(10 * documents) as every, bars() as progress:
        new = [p for p in every if hashlib.sha256(p.data).hexdigest() not in learnt and p.label in classifier.classes]
        chosen = new[:: max(1, len(new) // documents)][:documents]
        found = _measure(Chain(ready, config.predict.max_pages), classifier, ready, chosen, progress)
    report = {"pages": len(chosen), "threshold": classifier.cascade_threshold} | found
    print_json(report) if as_json else _print(report)


def _measure(
    chain: Chain, classifier: Classifier, ready: Assembly, chosen: Sequence[Page], progress: Bars
) -> dict[str, Any]:
    def sure(images: Known) -> bool:
        return classifier.sure(blocks_of([images], ready.processors))

    ways: dict[str, Enough | None] = {"always read": None, "cascade": sure, "never read": lambda _: True}
    answers: dict[str, list[_Answer]] = {way: [] for way in ways}
    for number, page in enumerate(chosen):
        for way, enough in ways.items():
            begun = time.perf_counter()
            with chain.run(page.data, enough) as (passed, _):
                verdict = classifier.classify(blocks_of([passed.known()], ready.processors))
            took = time.perf_counter() - begun
            answers[way].append(_Answer(page.source, took, verdict.label == page.label, not passed.texts))
        progress.step("pages", number + 1, len(chosen) - number - 1)
    return _figures(answers)


def _figures(answers: dict[str, list[_Answer]]) -> dict[str, Any]:
    ways = {
        way: {
            "p50_ms": round(1000 * float(np.median([a.seconds for a in found])), 1),
            "accuracy": round(float(np.mean([a.right for a in found])), 4),
            "unread": round(float(np.mean([a.unread for a in found])), 4),
        }
        for way, found in answers.items()
    }
    always, cascade = ways["always read"], ways["cascade"]
    return {
        "ways": ways,
        "median_speed": round(always["p50_ms"] / cascade["p50_ms"], 2),
        "accuracy_cost": round(always["accuracy"] - cascade["accuracy"], 4),
        "by_source": _by_source(answers["always read"], answers["cascade"]),
    }


def _by_source(always: Sequence[_Answer], cascade: Sequence[_Answer]) -> dict[str, dict[str, int]]:
    """Of each collection: pages, those left unread, and answers that became wrong or right for it."""
    found: dict[str, Counter[str]] = {}
    for read, quick in zip(always, cascade, strict=True):
        counts = found.setdefault(read.source, Counter(pages=0, unread=0, lost=0, gained=0))
        counts.update(pages=1, unread=quick.unread, lost=read.right > quick.right, gained=quick.right > read.right)
    return {source: dict(counts) for source, counts in found.items()}


def _print(report: dict[str, Any]) -> None:
    rows = [[way, v["p50_ms"], v["accuracy"], v["unread"]] for way, v in report["ways"].items()]
    title = (
        f"{report['pages']} pages; threshold {report['threshold']:.4f}; median {report['median_speed']} times as fast"
    )
    table(f"{title}; accuracy cost {report['accuracy_cost']}", ["", "p50 ms", "accuracy", "unread"], rows)
    sources = [[source, *counts.values()] for source, counts in report["by_source"].items()]
    table("By collection", ["", "pages", "unread", "answers lost", "answers gained"], sources)
