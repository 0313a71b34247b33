"""Sample documents that come in one by one, as from a scanner, for demonstrations."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from dsdc.log import get_logger
from dsdc.pipeline.ingest import Progress
from dsdc.samples import Sample, generate
from dsdc.settings import settings
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)


def simulate_arrivals(
    *, count: int, seed: int, seconds_between: float = 0.0, labelled: bool = True, progress: Progress | None = None
) -> dict[str, int]:
    """Draw `count` documents and put them into the inbox, in an order that mixes the classes.

    They are drawn in a hidden folder of the inbox, which ingest leaves alone, and renamed: nobody sees half a file.

    Args:
        count: how many documents.
        seed: of everything random; the same seed draws the same bytes.
        seconds_between: wait after each arrival.
        labelled: into a folder with the class's name; otherwise under a name that gives nothing away.
        progress: called with (arrived, count).

    Returns:
        Number of documents that arrived, by class.
    """
    config = settings()
    inbox = config.path("to_ingest")
    inbox.mkdir(parents=True, exist_ok=True)
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    arrived: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=inbox) as folder:
        samples = generate(Path(folder), count=count, seed=seed)
        random.Random(seed).shuffle(samples)  # noqa: S311
        for number, sample in enumerate(samples, start=1):
            target = _target(inbox, sample, taxonomy, f"{seed}-{number:05d}", labelled=labelled)
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / sample.file).replace(target)
            arrived[sample.label] = arrived.get(sample.label, 0) + 1
            log.info("arrivals.file", name=target.relative_to(inbox).as_posix(), number=number, of=count)
            if progress is not None:
                progress(number, count)
            if number < count:
                time.sleep(seconds_between)
    return dict(sorted(arrived.items()))


def _target(inbox: Path, sample: Sample, taxonomy: Taxonomy, number: str, *, labelled: bool) -> Path:
    if labelled and taxonomy.find(sample.label):
        return inbox / sample.file
    return inbox / f"arrival-{number}{Path(sample.file).suffix}"
