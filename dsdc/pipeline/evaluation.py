"""Files outside the store, scored with the champion; nothing is stored."""

from __future__ import annotations

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dsdc.errors import DocumentError, NotFound
from dsdc.log import get_logger
from dsdc.ml.dataset import blocks_of
from dsdc.ml.evaluate import Scored, evaluate
from dsdc.ml.predict import Classifier, Verdict
from dsdc.ml.registry import champion
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.chain import Chain
from dsdc.pipeline.match import require_match
from dsdc.settings import Settings
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)


@dataclass(frozen=True)
class _Scored:
    file: str
    label: str
    verdict: Verdict


def evaluate_files(
    config: Settings,
    root: Path,
    labels: Path,
    predictions: Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Accuracy, calibration and coverage of the champion on `root/file` for each row of a labels file.

    Files that cannot be read count as `failed` and in no metric; labels that the model has no class for count as wrong.

    Raises:
        NotFound: the labels file is missing or has no such columns.
        NoChampion, WeightsError, ModelMismatch: no model to score with.
    """
    rows = _read(labels)
    served = champion(config)
    assembly = assemble(config)
    classifier = Classifier.load(served.folder, served.head_sha256, top=config.predict.top)
    require_match(f"{served.name} version {served.version}", classifier.origin, assembly.processors)
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    chain, done, failed = Chain(assembly, config.render.max_pages), [], 0
    # As many at once as there are parsers; one of them is embedded or judged while the others are read.
    with ThreadPoolExecutor(config.parsing.at_once, thread_name_prefix="evaluate") as pool:
        answers = pool.map(partial(_ask, chain, classifier, assembly), (root / file for file, _ in rows))
        try:
            for number, ((file, label), verdict) in enumerate(zip(rows, answers, strict=True), start=1):
                if verdict is None:
                    failed += 1
                else:
                    done.append(_Scored(file, taxonomy.find(label) or label, verdict))
                if progress is not None:
                    progress(number, len(rows) - number)
        finally:
            pool.shutdown(cancel_futures=True)  # whoever interrupts does not wait for what has not begun
    if predictions is not None:
        _write(predictions, done)
    return {"model": f"{served.name} {served.version}", "failed": failed} | _figures(done, classifier.classes)


def _ask(chain: Chain, classifier: Classifier, assembly: Assembly, path: Path) -> Verdict | None:
    """The answer; None for a file that cannot be read, which is told."""
    try:
        with chain.run(path.read_bytes()) as (passed, _):
            return classifier.classify(blocks_of([passed.known()], assembly.processors))
    except (DocumentError, OSError) as error:
        log.warning("evaluate.unreadable", file=str(path), error=str(error))
        return None


def _figures(done: list[_Scored], classes: tuple[str, ...]) -> dict[str, Any]:
    if not done:
        return {"n": 0}
    # A class that the model does not know can only be missed: it gets a column of zeros.
    every = (*classes, *sorted({d.label for d in done} - set(classes)))
    probabilities = np.array([[d.verdict.probabilities.get(slug, 0.0) for slug in every] for d in done])
    sets = np.array([[slug in d.verdict.prediction_set for slug in every] for d in done])
    truth = np.array([every.index(d.label) for d in done], dtype=np.int64)
    accepted = np.array([d.verdict.decision == "accept" for d in done])
    return evaluate(Scored(every, truth, probabilities, sets, accepted)).as_json()


def _read(labels: Path) -> list[tuple[str, str]]:
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise NotFound(f"{labels} has no columns file,label but {rows.fieldnames}.")
            return [(row["file"], row["label"]) for row in rows if row["file"]]
    except OSError as error:
        raise NotFound(f"{labels} cannot be read: {error.strerror}.") from error


def _write(target: Path, done: list[_Scored]) -> None:
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "predicted", "probability", "decision"])
        for row in done:
            verdict = row.verdict
            writer.writerow([row.file, row.label, verdict.label, f"{verdict.probability:.6f}", verdict.decision])
