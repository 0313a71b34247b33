"""Weights that are missing, damaged or others: not ready, and said so; what serves goes on serving."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsdc.ml import registry
from dsdc.ml.recipe import HEAD_FILE, RECIPE_FILE
from dsdc.pipeline.training import train_model
from dsdc.settings import Settings
from services.supervisor.ports import free_port
from tests.faults.models import Service, service, use_shades
from tests.faults.runs import DSDC
from tests.pipeline.test_training import bring, page
from tests.projects import ROOT, forget_settings
from tests.services.platforms import seed_champion

WEIGHTS = "open_clip_model.safetensors"


def _missing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _truncated(folder: Path) -> None:
    whole = (folder / WEIGHTS).resolve()
    (folder / WEIGHTS).unlink()
    with whole.open("rb") as source:
        (folder / WEIGHTS).write_bytes(source.read(1 << 20))


def _another(_: Path) -> None:
    os.environ["DSDC_CLIP_SHA256"] = "0" * 64


CLIP_FAULTS = {"missing": _missing, "truncated": _truncated, "of another hash": _another}


@pytest.fixture
def clip(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the CLIP weights, of which every file may be replaced; there is a champion, by its row."""
    theirs = ROOT / "models" / "clip" / "dsdc-lite"
    if not (theirs / WEIGHTS).is_file():
        pytest.skip("no CLIP weights: run `dsdc clip fetch`")
    folder = database.path("models") / "clip"
    folder.unlink()
    (folder / "dsdc-lite").mkdir(parents=True)
    for file in theirs.iterdir():
        (folder / "dsdc-lite" / file.name).symlink_to(file)
    monkeypatch.setenv("DSDC_CLIP_SHA256", "")
    monkeypatch.setenv("DSDC_AUTH_URL", f"http://127.0.0.1:{free_port()}")
    forget_settings()
    seed_champion()
    return folder / "dsdc-lite"


def doctor() -> tuple[int, str]:
    """Exit status of `dsdc doctor`, and its table with the line breaks taken out."""
    wide = os.environ | {"COLUMNS": "400"}
    done = subprocess.run([DSDC, "doctor"], env=wide, capture_output=True, text=True, timeout=400, check=False)
    return done.returncode, re.sub(r"\s+", " ", done.stdout)


@pytest.mark.parametrize("fault", CLIP_FAULTS)
def test_without_good_clip_weights_the_service_is_not_ready(
    fault: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CLIP_FAULTS[fault](clip)
    forget_settings()
    with service(monkeypatch) as running:
        said = running.until(ready=False)
        assert "CLIP" in said and "`dsdc doctor`" in said
        assert running.http.get("/healthz").status_code == 200
        refused = running.http.get("/v1/model")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:dsdc:problem:weights-error")
        assert str(clip) not in refused.text, "who asks learns nothing about this machine"


@pytest.mark.parametrize("fault", ["truncated"])
def test_the_doctor_says_what_is_wrong_and_what_to_do(fault: str, clip: Path) -> None:
    CLIP_FAULTS[fault](clip)
    status, said = doctor()
    assert status == 1
    assert re.search(r"FAIL │ clip │ \S+/dsdc-lite/open_clip_model.safetensors has SHA-256 .*`dsdc clip fetch`", said)
    assert re.search(r"FAIL │ champion │ \S+ cannot be read: No such file", said), "its head was never there"


def _cut(folder: Path) -> None:
    head = folder / HEAD_FILE
    head.write_bytes(head.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    head = bytearray((folder / HEAD_FILE).read_bytes())
    head[-1] ^= 1
    (folder / HEAD_FILE).write_bytes(head)


HEAD_FAULTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: (folder / HEAD_FILE).unlink(),
    "all missing": shutil.rmtree,
    "empty": lambda folder: (folder / HEAD_FILE).write_bytes(b""),
    "truncated": _cut,
    "one bit flipped": _flip,
    "without its recipe": lambda folder: (folder / RECIPE_FILE).unlink(),
    "with a recipe that is none": lambda folder: (folder / RECIPE_FILE).write_text('{"format": 1'),
}


@dataclass
class Two:
    """Version 1 is the champion and serves; version 2 is as good."""

    config: Settings
    service: Service
    ids: dict[int, int]
    second: Path

    def promote(self, version: int) -> None:
        registry.set_alias(self.config, "champion", self.ids[version], author="test", reason="test")


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture
def two(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.chdir(tmp_path)  # an MLflow store without a server keeps its files beside the process
    config = use_shades(monkeypatch, f"sqlite:///{tmp_path}/mlflow.db")
    bring(config, 12)
    first, second = (train_model(author="test", overrides={"seed": seed}) for seed in (1, 2))
    found = {report.version: registry.by_version(config, report.version) for report in (first, second)}
    ids = {version: one.id for version, one in found.items()}
    made = Two(config, None, ids, found[2].folder)  # type: ignore[arg-type]
    made.promote(1)
    # It looks after its model when it is told to, and not by itself just when the files are put back.
    with service(monkeypatch, watch_s=3600) as made.service:
        made.service.until(ready=True)
        yield made


def test_a_bad_head_does_not_replace_the_good_one(two: Two, tmp_path: Path) -> None:
    """Every fault in turn, for a training of the models takes seconds."""
    whole = tmp_path / "whole"
    shutil.copytree(two.second, whole)
    for fault, damage in HEAD_FAULTS.items():
        damage(two.second)
        two.promote(2)
        refused = two.service.reload()
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:dsdc:problem:weights-error"), fault
        assert str(two.config.root) not in refused.text
        assert two.service.waits_for() == {}, f"{fault}: version 1 is as good as it was"
        assert two.service.version() == 1
        answer = two.service.ask(page("letter", 800 + len(fault)))
        assert answer["versions"]["model"].endswith(" 1")
        assert answer["label"] == "letter"
        two.promote(1)
        shutil.rmtree(two.second, ignore_errors=True)
        shutil.copytree(whole, two.second)
    two.promote(2)
    assert two.service.reload().status_code == 200
    assert two.service.version() == 2


def test_a_service_that_starts_with_a_bad_head_waits_until_it_is_mended(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(two.second, tmp_path / "whole")
    _flip(two.second)
    two.promote(2)
    with service(monkeypatch) as starting:
        said = starting.until(ready=False)
        assert "`dsdc doctor`" in said
        shutil.copy(tmp_path / "whole" / HEAD_FILE, two.second / HEAD_FILE)
        starting.until(ready=True)
        assert starting.version() == 2


def test_a_head_that_is_put_again_mends_the_one_that_lay_there(two: Two, tmp_path: Path) -> None:
    """Training with equal seeds gives equal bytes: the way out that the message names must lead out."""
    version = registry.by_version(two.config, 2)
    shutil.copytree(two.second, tmp_path / "whole")
    for damage in HEAD_FAULTS.values():
        damage(two.second)
        registry.put_head(two.config, tmp_path / "whole", version.head_sha256, version.recipe_sha256)
        assert {p.name: p.read_bytes() for p in two.second.iterdir()} == {
            p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
        }
        assert not list(two.second.parent.glob(".*"))
