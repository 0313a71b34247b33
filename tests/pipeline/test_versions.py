"""Other versions over a real store, with the real processors: what becomes pending, what stays, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text
from typer.testing import CliRunner

from dsdc.cli.main import app
from dsdc.db.session import transaction
from dsdc.errors import SettingsError
from dsdc.pipeline.replay import with_changes
from dsdc.processors.embed.weights import WeightsStore
from dsdc.samples import generate
from dsdc.settings import Clip, Settings, settings
from tests.pipeline.test_release import command_line
from tests.projects import ROOT, forget_settings

__all__ = ["command_line"]

pytestmark = pytest.mark.usefixtures("command_line")

LABELS = ["letter", "memo"]
COUNT = 5  # documents, one of them without a word
ROWS = ("processed_images", "raw_texts", "processed_texts", "embeddings")
#: What a replay must leave alone.
SERVED = ("predictions", "labels", "model_versions", "model_aliases", "dataset_snapshots", "rejected_documents")


def dsdc(*arguments: str, ok: bool = True) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if not ok:
        assert done.exception is not None
        raise done.exception
    assert done.exception is None, (done.output, done.exception)
    return json.loads(done.stdout)


def scalar(query: str) -> Any:
    with transaction() as session:
        return session.execute(text(query)).scalar()


def counts(tables: tuple[str, ...]) -> dict[str, int]:
    return {table: scalar(f"SELECT count(*) FROM {table}") for table in tables}


def fingerprint(table: str, up_to: int) -> str:
    """Of every column of the rows that were there."""
    query = f"SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} t WHERE id <= {up_to}"
    return str(scalar(query))


def open_work() -> dict[str, tuple[int, int]]:
    """Stage -> (pending, to follow), where there is any."""
    found = dsdc("reprocess", "--dry-run")
    return {name: (n["pending"], n["follow"]) for name, n in found.items() if n["pending"] or n["follow"]}


def configure(project: Path, changes: str) -> None:
    (project / "config.local.yaml").write_text(changes)
    forget_settings()


@pytest.fixture
def store(database: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Scans, labelled but for a blank one, through all stages, read by Tesseract; how many pages there are."""
    WeightsStore(Clip(), ROOT / "models").fetch()
    monkeypatch.setenv("DSDC_MLFLOW_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("DSDC_OCR_ENGINE", "tesseract")
    monkeypatch.setenv("DSDC_RENDER_MAX_SIDE", "1100")
    monkeypatch.chdir(tmp_path)  # a store without a server keeps its artefacts beside the process
    forget_settings()
    generate(tmp_path / "samples", count=COUNT - 1, seed=11, slugs=LABELS)
    Image.new("L", (500, 700), 255).save(tmp_path / "samples" / "blank.png")
    dsdc("import", "csv", str(tmp_path / "samples"), "--labels", str(tmp_path / "samples" / "labels.csv"))
    dsdc("ingest", str(tmp_path / "samples" / "blank.png"))
    dsdc("process")
    yield scalar("SELECT count(*) FROM processed_images")


def test_a_changed_processor_makes_the_stale_rows_pending_and_no_others(store: int, project: Path) -> None:
    pages, worded = store, scalar("SELECT count(*) FROM processed_texts WHERE btrim(processed_text) <> ''")
    before = counts(ROWS)
    kept = {table: fingerprint(table, 10**9) for table in ROWS}
    assert open_work() == {}

    configure(project, "processors: {clean: 2}\n")
    assert open_work() == {"clean": (pages, 0), "embed-text": (0, pages)}
    configure(project, "ocr: {deskew: false}\n")
    assert open_work() == {"text": (pages, 0), "clean": (0, pages), "embed-text": (0, pages)}
    configure(project, "clip: {max_text_windows: 3}\n")
    assert open_work() == {"embed-image": (pages, 0), "embed-text": (pages, 0)}
    configure(project, "render: {dpi: 100}\n")
    found = open_work()
    assert found.pop("render") == (COUNT, 0)
    assert found == dict.fromkeys(("text", "embed-image", "clean", "embed-text"), (0, pages))
    assert counts(ROWS) == before, "only looked at"

    configure(project, "processors: {clean: 2}\n")
    told = dsdc("reprocess", "--dry-run")
    assert told["clean"]["measured"]["processor"] == "text-cleaner 1"
    assert told["clean"]["measured"]["inputs"] == pages
    assert 0 < told["embed-text"]["seconds"] < 600
    assert told["text"]["seconds"] == 0
    done = {report["stage"]: report["done"] + report["skipped"] for report in dsdc("reprocess", "--stage", "clean")}
    assert done == {"clean": pages}
    assert open_work() == {"embed-text": (pages, 0)}
    done = {report["stage"]: report["done"] for report in dsdc("reprocess")}
    assert {name: n for name, n in done.items() if n} == {"embed-text": worded}

    assert counts(ROWS) == before | {
        "processed_texts": before["processed_texts"] + pages,
        "embeddings": before["embeddings"] + worded,
    }
    assert scalar("SELECT count(DISTINCT version) FROM processors WHERE stage = 'clean'") == 2
    configure(project, "")
    assert open_work() == {}, "going back costs nothing"
    with transaction() as session:
        old = {
            t: session.execute(text(f"SELECT id FROM {t} ORDER BY id OFFSET {n - 1} LIMIT 1")).scalar()
            for t, n in before.items()
        }
    assert {table: fingerprint(table, old[table]) for table in ROWS} == kept, "and no old row has changed"

    configure(project, "processors: {clean: 3}\n")
    with pytest.raises(SettingsError, match="no version '3' of text-cleaner"):
        dsdc("reprocess", "--dry-run", ok=False)


def test_a_replay_changes_nothing_that_is_served_and_its_work_is_not_done_again(store: int, project: Path) -> None:
    pages = store
    trained = dsdc("train", "--method", "neighbours")
    assert trained["promoted"]
    document = scalar("SELECT min(id) FROM original_documents")
    dsdc("predict", str(settings().path("raw") / document[:2] / document[2:4] / document))
    served = counts(SERVED)
    before = {table: (scalar(f"SELECT max(id) FROM {table}"), fingerprint(table, 10**9)) for table in ROWS}
    documents = scalar("SELECT md5(string_agg(d::text, '|' ORDER BY id)) FROM original_documents d")

    found = dsdc("replay", "--processor", "clean=2")
    assert (found["documents"], found["compared"], found["missing"], found["failed"]) == (COUNT, COUNT, 0, {})
    assert found["made"] == {"clean": pages, "embed-text": pages}
    assert counts(SERVED) == served
    assert {t: (i, fingerprint(t, i)) for t, (i, _) in before.items()} == before
    assert scalar("SELECT md5(string_agg(d::text, '|' ORDER BY id)) FROM original_documents d") == documents
    assert not found["gate"]["promote"], "the model has learnt from all of them: that proves nothing"
    assert "--retrain" in found["gate"]["reason"]
    again = dsdc("replay", "--processor", "clean=2", "--sample", "2", "--seed", "5")
    assert (again["made"], again["compared"]) == ({"clean": 0, "embed-text": 0}, 2)
    assert again["report"] != found["report"], "however soon after"

    assert dsdc("fsck", "--quick")["findings"] == []
    _check_report(Path(found["report"]), found)
    configure(project, "processors: {clean: 2}\n")
    assert open_work() == {}, "what the replay made counts"
    configure(project, "")
    assert open_work() == {}


def _check_report(place: Path, found: dict[str, Any]) -> None:
    html = place.read_text()
    assert "<script" not in html
    assert "http" not in html, "it needs nothing but itself"
    assert json.loads(place.with_suffix(".json").read_text())["flips"] == found["flips"]
    shown = {entry["document_id"]: entry for entry in found["texts"]}
    assert shown, "version 2 of the cleaner finds something to drop on a scan"
    assert all(entry["before"] != entry["after"] for entry in shown.values())

    from mlflow import MlflowClient

    client = MlflowClient(settings().mlflow.uri)
    run = client.get_run(found["mlflow_run_id"])
    assert run.data.tags["replay"] == "processors.clean=2"
    files = {file.path for file in client.list_artifacts(run.info.run_id, "report")}
    assert files == {"report/replay.html", "report/replay.json"}
    tracked = Path(client.download_artifacts(run.info.run_id, "report/replay.html")).read_text()
    name = next(iter(shown.values()))["name"]
    assert name in html
    assert name not in tracked, "an erasure does not reach it there"


def test_what_cannot_be_replayed_is_said(project: Path) -> None:
    config = settings()
    for processors, values, problem in (
        (["unpack=2"], [], "no processor 'unpack'"),
        (["clean"], [], "NAME=VALUE"),
        ([], ["predict.top=3"], "shapes nothing"),
        ([], ["ocr.engin=tesseract"], r"ocr\.engin"),
        ([], ["render.dpi=5"], r"render\.dpi"),
    ):
        with pytest.raises(SettingsError, match=problem):
            with_changes(config, processors, values)
    change = with_changes(config, ["clean=2"], ["ocr.deskew=false", "render.dpi=150"])
    assert (change.config.processors.clean, change.config.ocr.deskew, change.config.render.dpi) == ("2", False, 150)
    assert config.processors.clean == ""
