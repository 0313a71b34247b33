"""The report: one HTML file that needs nothing else, the same as JSON beside it, and both in MLflow.

What goes to MLflow has no file names and no texts: an erasure of a document does not reach there.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dsdc.errors import Conflict, TrackingUnavailable
from dsdc.log import get_logger
from dsdc.ml.tracking import Tracking
from dsdc.pipeline.replay.result import Replayed, Texts
from dsdc.pipeline.replay_reports import remove, tells_of_forgotten
from dsdc.settings import Settings
from dsdc.storage import writing

log = get_logger(__name__)

_SHOWN = 500  # flips in the table; the JSON has more
_LONGEST = 600  # words of a text that are compared


def write_report(config: Settings, replayed: Replayed, path: Path) -> str | None:
    """Write `path` (HTML) and the JSON beside it, then log both; the run's id in MLflow, None where that is down.

    Raises:
        StorageError: the place refuses. Conflict: a document of it was forgotten meanwhile; no report is left.
    """
    _write(replayed, path, named=True)
    # Whoever forgets marks the document first and then looks for reports: one of the two sees the other.
    if tells_of_forgotten(path):
        remove(path)
        raise Conflict("A document of the replay was forgotten meanwhile.", hint="Run it again; what was made is kept.")
    try:
        return _track(config, replayed)
    except TrackingUnavailable as error:
        log.warning("replay.not_tracked", error=str(error))
        return None


def _write(replayed: Replayed, path: Path, *, named: bool) -> None:
    found = replayed.as_dict(named=named)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # JSON first: it names documents in full, so that the page beside it is found too, however much of it there is.
        path.with_suffix(".json").write_text(json.dumps(found, indent=2, ensure_ascii=False), encoding="utf-8")
        path.write_text(_page(replayed, found, named=named), encoding="utf-8")


def _track(config: Settings, replayed: Replayed) -> str:
    with tempfile.TemporaryDirectory(prefix="dsdc-replay-") as scratch:
        folder = Path(scratch)
        _write(replayed, folder / "replay.html", named=False)
        return Tracking(config.mlflow.uri).log_report(
            f"replay {replayed.what}",
            folder,
            experiment=config.train.experiment,
            tags={"replay": replayed.what, "before": replayed.before, "after": replayed.after},
            params={"sample": replayed.sample, "seed": replayed.seed, "kind": replayed.kind},
            metrics=replayed.metrics(),
        )


def _page(replayed: Replayed, found: dict[str, Any], *, named: bool) -> str:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return templates.get_template("report.html").render(
        found=found,
        flips=replayed.counts.sorted()[:_SHOWN],
        listed=len(replayed.counts.flips),
        named=named,
        gate=replayed.verdict.gate,
        live=replayed.verdict.live,
        texts=[(text, list(_compared(text))) for text in replayed.texts] if named else [],
    )


def _compared(text: Texts) -> Iterator[tuple[str, Sequence[tuple[bool, str]]]]:
    """Both texts as runs of words, and whether the other text has them."""
    old, new = (_words(one) for one in (text.before, text.after))
    matches = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    yield "before", [(kind == "equal", " ".join(old[a:b])) for kind, a, b, _, _ in matches if b > a]
    yield "after", [(kind == "equal", " ".join(new[a:b])) for kind, _, _, a, b in matches if b > a]


def _words(text: str) -> list[str]:
    words = text.replace("\n", " \n ").split(" ")
    return [word for word in words if word][:_LONGEST]
