"""A process killed at any step of taking files in: nothing is lost, nothing doubled, and the next run ends it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy.engine import URL

from dsdc import failpoints
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.quarantine import reject_document
from dsdc.pipeline.release import release
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.faults.invariant import check_invariant, final_state, rows, sha256_of
from tests.faults.processes import KILLED, another_project, run
from tests.projects import ROOT, forget_settings


def picture(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("L", (20, 20), shade).save(data, "PNG")
    return data.getvalue()


FILES = {
    "invoice/a.png": picture(1),
    "b.png": picture(2),
    "c.png": picture(2),
    "deep/er/d.png": picture(3),
    "empty.pdf": b"",
    "letter.pdf": b"Dear Sir, this is plain text.\n" * 20,
    "memo/e.png": picture(4),
    "text.pdf": b"Dear Madam, so is this.\n" * 20,
}
ARRIVED = [sha256_of(data) for data in FILES.values()]

#: Each place of the way in, at its first and at a later time.
PLACES = [name for name in failpoints.NAMES if name.partition(".")[0] in ("ingest", "storage")]
POINTS = [
    *(f"{name}@{n}" for name in PLACES for n in ((1, 3) if name not in ("ingest.manifest_kept",) else (1,))),
    "quarantine.copied@1",
    "quarantine.copied@2",
    "quarantine.recorded@1",
    "quarantine.recorded@3",
]


def drop(inbox: Path) -> None:
    for name, data in FILES.items():
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        (inbox / name).write_bytes(data)
    (inbox / "labels.csv").write_text("file,label\nb.png,memo\nc.png,memo\n")


def take() -> None:
    ingest_inbox(author="test")


@pytest.fixture
def config(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DSDC_INGEST_BATCH", "2")
    forget_settings()
    return settings()


@pytest.fixture(scope="module")
def calm(postgres: URL, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a run that nobody disturbs leaves."""
    folder = tmp_path_factory.mktemp("calm")
    with another_project(folder, postgres, template_database, DSDC_INGEST_BATCH="2") as config:
        drop(config.path("to_ingest"))
        take()
        check_invariant(config, ARRIVED)
        yield final_state(config)


def at(point: str) -> str:
    name, _, times = point.partition("@")
    return f"{name}=kill@{times}"


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_taking_files_in(point: str, config: Settings, calm: dict[str, Any]) -> None:
    drop(config.path("to_ingest"))
    assert run(take, at(point)) == KILLED
    check_invariant(config, ARRIVED, settled=False)
    assert run(take) == 0
    check_invariant(config, ARRIVED)
    assert final_state(config) == calm
    take()
    assert final_state(config) == calm, "running everything again changed something"


def test_killed_again_and_again(config: Settings, calm: dict[str, Any]) -> None:
    drop(config.path("to_ingest"))
    for point in POINTS:
        if run(take, at(point)) == KILLED:
            check_invariant(config, ARRIVED, settled=False)
    take()
    check_invariant(config, ARRIVED)
    assert final_state(config) == calm


@pytest.fixture
def stored(database: Settings) -> tuple[Settings, str]:
    """A document in the store."""
    (database.path("to_ingest") / "broken.png").write_bytes(picture(5))
    take()
    return database, sha256_of(picture(5))


def set_aside(config: Settings, document_id: str) -> Callable[[], None]:
    return lambda: reject_document(
        config, open_storage(config), document_id, stage="render", category="corrupt", message="No page."
    )


@pytest.mark.parametrize("place", ["quarantine.copied", "quarantine.recorded", "quarantine.before_delete"])
def test_killed_while_a_document_is_set_aside(place: str, stored: tuple[Settings, str]) -> None:
    config, document_id = stored
    assert run(set_aside(config, document_id), f"{place}=kill") == KILLED
    check_invariant(config, [document_id], settled=False)
    if place == "quarantine.copied":  # nothing is recorded: the worker whose lease it was does it again
        assert run(set_aside(config, document_id)) == 0
        check_invariant(config, [document_id])
    (config.path("to_ingest") / "broken.png").write_bytes(picture(5))
    take()
    assert rows("SELECT state FROM original_documents") == [("stored",)]
    check_invariant(config, [document_id, document_id])


@pytest.mark.parametrize(
    "place",
    ["storage.drafted", "storage.renamed", "ingest.before_commit", "ingest.committed", "quarantine.before_discard"],
)
def test_killed_while_a_file_is_released(place: str, stored: tuple[Settings, str]) -> None:
    config, document_id = stored
    set_aside(config, document_id)()
    assert run(release, f"{place}=kill") == KILLED
    check_invariant(config, [document_id], settled=False)
    release()  # where the COMMIT was made there is nothing left to release, but a file to remove
    (config.path("to_ingest") / "again.png").write_bytes(picture(5))
    take()
    check_invariant(config, [document_id, document_id])
    assert rows("SELECT count(*) FROM sightings WHERE source = 'cli'") == [(1,)]


def test_every_place_is_declared_and_reached() -> None:
    called = set()
    for source in (*(ROOT / "dsdc").rglob("*.py"), *(ROOT / "services").rglob("*.py")):
        called |= set(re.findall(r'\breach\("([^"]+)"\)', source.read_text()))
    assert called == set(failpoints.NAMES)
