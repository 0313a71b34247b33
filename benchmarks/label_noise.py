"""How many labels that were made wrong on purpose `dsdc labels suspicious` puts where somebody would look first.

A share of the store's labels is replaced, in memory alone, each by another class drawn at random. Then the platform
trains as always and ranks all labels by its held-out answers. Labels of real archives are wrong here and there already,
and those compete for the first places: fewer than all of the flipped ones is no fault as such.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import typer
from joblib import Parallel, cpu_count, delayed

from dsdc.cli.console import bars, print_json, table
from dsdc.ml.dataset import collect
from dsdc.ml.features import DocumentSet
from dsdc.ml.fit import fit
from dsdc.ml.heldout import HeldOut
from dsdc.ml.noise import suspicious
from dsdc.pipeline.assembly import assemble
from dsdc.settings import Settings, settings
from dsdc.taxonomy import Taxonomy


def run(
    share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of the labels that are flipped.")] = 0.05,
    looked_at: Annotated[float, typer.Option(min=0.001, max=1, help="Of the ranked labels, the first.")] = 0.1,
    draws: Annotated[int, typer.Option(min=1, help="Each with other labels flipped.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Labels flipped on purpose, and how many of them the noise finder ranks first."""
    config = settings()
    ready = assemble(config)
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    data = collect(taxonomy, ready.versions, ready.processors, min_per_class=config.train.min_per_class).data
    work = [delayed(_draw)(data, share, looked_at, seed, config) for seed in range(draws)]
    found: list[dict[str, Any]] = []
    with bars() as progress:
        for one in Parallel(n_jobs=min(draws, cpu_count()), return_as="generator")(work):
            found.append(one)
            progress.step("draws", len(found), draws - len(found))
    report = {"documents": len(data), "share": share, "looked_at": looked_at, "draws": found}
    print_json(report) if as_json else _print(report)


def _draw(data: DocumentSet, share: float, looked_at: float, seed: int, config: Settings) -> dict[str, Any]:
    started = time.perf_counter()
    random, n = np.random.default_rng(seed), len(data)
    flipped = random.choice(n, size=round(share * n), replace=False)
    labels = data.labels.copy()
    labels[flipped] = (labels[flipped] + random.integers(1, len(data.classes), len(flipped))) % len(data.classes)
    noisy = replace(data, labels=labels)
    fitted = fit(noisy, config.train, coverage=config.predict.coverage, review_budget=config.predict.review_budget)
    ranked = suspicious(HeldOut.of(noisy, fitted))
    wrong = {data.document_ids[row] for row in flipped}
    first = [doubt.document_id in wrong for doubt in ranked[: round(looked_at * n)]]
    return {
        "seed": seed,
        "flipped": len(wrong),
        "among_first": sum(first),
        "doubted": sum(doubt.document_id in wrong for doubt in ranked),
        "likely_errors": sum(doubt.likely_error and doubt.document_id in wrong for doubt in ranked),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _print(report: Mapping[str, Any]) -> None:
    columns = ["seed", "flipped", "among_first", "doubted", "likely_errors", "seconds"]
    title = (
        f"{report['documents']} labels, {report['share']:.0%} flipped; how many are among the first"
        f" {report['looked_at']:.0%}"
    )
    table(title, columns, [[draw[column] for column in columns] for draw in report["draws"]])
