"""Files outside the store, scored with the champion; nothing is stored."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dsdc.errors import DocumentError, NotFound, ParserDied, StorageError
from dsdc.log import get_logger
from dsdc.ml.dataset import blocks_of
from dsdc.ml.evaluate import METRICS, Scored, evaluate
from dsdc.ml.predict import Classifier, Verdict
from dsdc.ml.registry import champion
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.chain import Chain
from dsdc.pipeline.manifests import read_rows
from dsdc.pipeline.match import require_match
from dsdc.settings import Settings
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)


@dataclass(frozen=True)
class _Scored:
    file: str
    label: str
    verdict: Verdict


@dataclass(frozen=True)
class _Unread:
    """Why there is no answer to a file."""

    reason: str


def evaluate_files(
    config: Settings,
    root: Path,
    labels: Path,
    predictions: Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Accuracy, calibration and coverage of the champion on `root/file` for each row of a labels file.

    Files that cannot be read count as `failed` and in no metric, with their reasons in `failures`; labels that the
    model has no class for count as wrong. With no file that could be read, every metric is None. Answers are written
    to `predictions` (`file,label,predicted,probability,decision`) as they come.

    Raises:
        NotFound: the labels file cannot be read, has no such columns, no rows, or a row without file or label; or
            `root` or the folder of `predictions` is not there. Nothing was scored.
        StorageError: `predictions` cannot be written.
        NoChampion, WeightsError, ModelMismatch: no model to score with.
    """
    rows = _read(labels)
    if not root.is_dir():
        raise NotFound(f"{root} is no folder.")
    served = champion(config)
    assembly = assemble(config)
    classifier = Classifier.load(served.folder, served.head_sha256, top=config.predict.top)
    require_match(f"{served.name} version {served.version}", classifier.origin, assembly.processors)
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    chain, done, failures = Chain(assembly, config.render.max_pages), [], {}
    # As many at once as there are parsers; one of them is embedded or judged while the others are read.
    with (
        _table(predictions) as write,
        ThreadPoolExecutor(config.parsing.at_once, thread_name_prefix="evaluate") as pool,
    ):
        answers = pool.map(partial(_ask, chain, classifier, assembly), (root / file for file, _ in rows))
        try:
            for number, ((file, label), verdict) in enumerate(zip(rows, answers, strict=True), start=1):
                if isinstance(verdict, _Unread):
                    failures[file] = verdict.reason
                else:
                    done.append(_Scored(file, taxonomy.find(label) or label, verdict))
                    write(done[-1])
                if progress is not None:
                    progress(number, len(rows) - number)
        finally:
            pool.shutdown(cancel_futures=True)  # whoever interrupts does not wait for what has not begun
    told = {"model": f"{served.name} {served.version}", "failed": len(rows) - len(done), "failures": failures}
    return told | _figures(done, classifier.classes)


def _ask(chain: Chain, classifier: Classifier, assembly: Assembly, path: Path) -> Verdict | _Unread:
    """The answer, or why there is none, which is told too."""
    try:
        with chain.run(path.read_bytes()) as (passed, _):
            return classifier.classify(blocks_of([passed.known()], assembly.processors))
    except (DocumentError, ParserDied, OSError) as error:
        log.warning("evaluate.unreadable", file=str(path), error=str(error))
        return _Unread(str(error))


def _figures(done: list[_Scored], classes: tuple[str, ...]) -> dict[str, Any]:
    if not done:
        return {"n": 0, **dict.fromkeys(metric.name for metric in METRICS), "per_class": {}}
    # A class that the model does not know can only be missed: it gets a column of zeros.
    every = (*classes, *sorted({d.label for d in done} - set(classes)))
    probabilities = np.array([[d.verdict.probabilities.get(slug, 0.0) for slug in every] for d in done])
    sets = np.array([[slug in d.verdict.prediction_set for slug in every] for d in done])
    truth = np.array([every.index(d.label) for d in done], dtype=np.int64)
    accepted = np.array([d.verdict.decision == "accept" for d in done])
    return evaluate(Scored(every, truth, probabilities, sets, accepted)).as_json()


def _read(labels: Path) -> list[tuple[str, str]]:
    rows = read_rows(labels)
    if not rows:
        raise NotFound(f"{labels} names no file.")
    bare = [f"line {row.line} ({row.file})" for row in rows if not row.label]
    if bare:
        some = ", ".join(bare[:5]) + (", …" if len(bare) > 5 else "")
        raise NotFound(f"{labels} has no label in {some}.", hint="Give each file its class, or take the line out.")
    return [(row.file, row.label) for row in rows]


@contextmanager
def _table(target: Path | None) -> Iterator[Callable[[_Scored], None]]:
    """What writes an answer into a CSV at `target`, at once; to nowhere without one.

    Raises:
        NotFound: it cannot be opened. StorageError: it cannot be written.
    """
    if target is None:
        yield lambda _: None
        return
    try:
        file = target.open("wb", buffering=0)
    except OSError as error:
        raise NotFound(f"{target} cannot be written: {error.strerror}; nothing was scored.") from error
    with file:
        _write(file, target, ["file", "label", "predicted", "probability", "decision"])
        yield lambda row: _write(file, target, _columns(row))


def _columns(row: _Scored) -> list[str]:
    return [row.file, row.label, row.verdict.label, f"{row.verdict.probability:.6f}", row.verdict.decision]


def _write(file: BinaryIO, target: Path, columns: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(columns)
    data = line.getvalue().encode()
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}.") from error
