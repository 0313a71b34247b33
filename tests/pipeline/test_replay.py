"""Replays whose truth is known: a reader that misreads as it is told, real stages, models, PostgreSQL and MLflow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from dsdc.db.repositories.labels import Labels
from dsdc.db.session import transaction
from dsdc.errors import Conflict, CorruptFile, NoChampion, NotFound
from dsdc.ml import registry
from dsdc.pipeline import answer, erasure, purpose, replay_reports, training
from dsdc.pipeline.assembly import STAGES, Assembly, bind, register
from dsdc.pipeline.fsck import fsck
from dsdc.pipeline.ingest import ingest_inbox
from dsdc.pipeline.replay import Replayed, Scope, replay_model, replay_processors, run, with_changes, write_report
from dsdc.pipeline.replay.result import Counts
from dsdc.pipeline.worker import run_stage
from dsdc.processors.contract import PageSource, PageText, TextReader, Vectors
from dsdc.processors.describe import WordLayout, WordNgrams
from dsdc.processors.registry import ProcessorSet
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings, settings
from dsdc.storage import open_storage
from tests.fake_processors import NothingInside, SameCleaner, SmallEmbedder
from tests.projects import forget_settings

CLASSES = {"memo": 40, "letter": 120, "invoice": 200}
NAMES = tuple(CLASSES)
GOOD, BAD = 3, 6  # page segmentations


def shade_of(image: Path) -> tuple[str, int]:
    """The class of a picture, and a number that tells it from others."""
    with Image.open(image) as picture:
        pixels = np.asarray(picture.convert("L"))
    slug = min(CLASSES, key=lambda name: abs(CLASSES[name] - float(pixels.mean())))
    return slug, int(pixels[0, 0])


class ShadeReader(TextReader):
    """Reads a picture's class off its shade. In the mode BAD it takes every third for the next class, and those whose
    number is 7 it cannot read at all."""

    name: ClassVar[str] = "shades"
    version: ClassVar[str] = "1"

    @staticmethod
    def meanwhile() -> None:
        """What others do while a page is read."""

    def __init__(self, mode: int) -> None:
        self._mode = mode

    @property
    def params(self) -> Mapping[str, Any]:
        return {"mode": self._mode}

    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        for page in pages:
            slug, number = shade_of(page.image)
            self.meanwhile()
            if self._mode == BAD and number == 7:
                yield CorruptFile("Nothing can be read here.")
                continue
            if self._mode == BAD and number % 3 == 0:
                slug = NAMES[(NAMES.index(slug) + 1) % len(NAMES)]
            yield PageText(f"this is one {slug} of many", "ocr", 0.9)


class WordEmbedder(SmallEmbedder):
    """A text's vector is its class; an image's is noise, so that only the text tells."""

    name: ClassVar[str] = "words"
    width = 16  # type: ignore[assignment]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        return np.stack([_unit(np.random.default_rng(list(image.tobytes())).normal(size=16)) for image in images])

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.stack([_unit(self._of(text)) for text in texts])

    @staticmethod
    def _of(words: str) -> np.ndarray:
        found = next(slug for slug in NAMES if slug in words)
        return np.eye(16)[NAMES.index(found)] + 0.01


def _unit(vector: np.ndarray) -> Vectors:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def assemble(config: Settings, storage: object = None) -> Assembly:
    processors = ProcessorSet(
        NothingInside(),
        PageRenderer(config.render),
        ShadeReader(config.ocr.page_segmentation),
        SameCleaner(),
        WordEmbedder(),
        describers=(WordLayout(), WordNgrams()),
    )
    return bind(config, processors, register(processors), open_storage(config))


@pytest.fixture
def platform(database: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("DSDC_MLFLOW_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name, value in (("EPOCHS", "15"), ("MEMBERS", "1"), ("FOLDS", "3"), ("METHOD", "head")):
        monkeypatch.setenv(f"DSDC_TRAIN_{name}", value)
    monkeypatch.chdir(tmp_path)  # a store without a server keeps its artefacts beside the process
    for module in (training, run, answer, purpose):
        monkeypatch.setattr(module, "assemble", assemble)
    forget_settings()
    return settings()


def read_as(mode: int, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DSDC_OCR_PAGE_SEGMENTATION", str(mode))
    forget_settings()
    return settings()


def bring(config: Settings, numbers: range) -> None:
    """Labelled pictures through all stages."""
    for slug, shade in CLASSES.items():
        folder = config.path("to_ingest") / slug
        folder.mkdir(exist_ok=True)
        for number in numbers:
            random = np.random.default_rng(shade * 1000 + number)
            pixels = np.clip(random.normal(shade, 9, size=(40, 30)), 0, 255).astype(np.uint8)
            pixels[0, 0] = number
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            (folder / f"{slug}-{number}.png").write_bytes(data.getvalue())
    ingest_inbox()
    ready = assemble(config)
    for stage in STAGES:
        run_stage(stage, assembly=ready)


def say(name: str, label: str) -> None:
    """A person's word on the document that arrived under this name."""
    with transaction() as session:
        query = text("SELECT id FROM original_documents WHERE original_name = :name")
        document = session.execute(query, {"name": name}).scalar_one()
        Labels(session).add(document, label, taxonomy="rvl-cdip", source="human", author="ann")


def scalar(query: str) -> Any:
    with transaction() as session:
        return session.execute(text(query)).scalar()


def replay(config: Settings, *values: str, scope: Scope | None = None, retrain: bool = False) -> Replayed:
    change = with_changes(config, [], values)
    return replay_processors(config, change, scope or Scope(), _quiet, retrain=retrain, author="test")


def _quiet(step: str, done: int, still: int) -> None:
    assert done >= 0 <= still


def test_a_worse_reader_is_found_out(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoChampion):
        replay(platform, f"ocr.page_segmentation={BAD}")
    bring(platform, range(20, 44))
    training.train_model(author="test")
    bring(platform, range(13))  # the model has not learnt from these; 0, 3, 6, 9 and 12 would be misread, 7 not read
    say("memo-3.png", "memo")
    say("memo-6.png", "letter")  # where the misreading would be right
    say("memo-9.png", "invoice")
    say("memo-10.png", "memo")  # which does not flip
    with pytest.raises(Conflict, match="as it is now"):
        replay(platform, f"ocr.page_segmentation={GOOD}")

    labels, stored = scalar("SELECT count(*) FROM labels"), scalar("SELECT count(*) FROM original_documents")
    found = replay(platform, f"ocr.page_segmentation={BAD}")
    misread = {f"{slug}-{n}.png" for slug in CLASSES for n in (*range(13), *range(20, 44)) if n % 3 == 0}
    flips = {flip.name: flip for flip in found.counts.sorted() if flip.before.label != flip.after.label}
    assert set(flips) == misread
    assert found.counts.flipped == len(misread)
    assert set(found.counts.pairs) == {("memo", "letter"), ("letter", "invoice"), ("invoice", "memo")}
    assert {name: flip.right for name, flip in flips.items() if flip.confirmed} == {
        "memo-3.png": "before",
        "memo-6.png": "after",
        "memo-9.png": "neither",
    }
    assert found.as_dict()["flips"]["confirmed_by_people"] == {"before_right": 1, "after_right": 1, "neither": 1}
    assert [flip.confirmed for flip in found.counts.sorted()[:4]] == [True, True, True, False]

    unread = scalar("SELECT count(*) FROM original_documents WHERE original_name LIKE '%-7.png' AND state = 'stored'")
    assert (len(found.failed), unread) == (3, 3), "what another version cannot read is not set aside"
    assert set(found.failed.values()) == {"text: Nothing can be read here."}
    assert scalar("SELECT count(*) FROM rejected_documents") == 0
    assert found.counts.compared == stored - 3
    assert scalar("SELECT count(*) FROM labels") == labels
    assert scalar("SELECT count(*) FROM predictions") == 0

    gate, live = found.verdict.gate, found.verdict.live
    assert gate.comparison is not None
    assert live is not None
    assert gate.documents == 36, "three times twelve that were read and that the model has not learnt from"
    assert not gate.promote
    # 15 of 36 are misread; by people's word one of these was wrong before and becomes right, one stays wrong.
    assert gate.comparison.accuracy.champion == pytest.approx(34 / 36)
    assert gate.comparison.accuracy.challenger == pytest.approx(22 / 36)
    assert gate.comparison.accuracy.high < 0
    assert live.documents == found.counts.compared

    some = replay(platform, f"ocr.page_segmentation={BAD}", scope=Scope(sample=20, seed=4))
    same = replay(platform, f"ocr.page_segmentation={BAD}", scope=Scope(sample=20, seed=4))
    assert some.documents == 20
    assert [f.document_id for f in some.counts.flips] == [f.document_id for f in same.counts.flips]
    with transaction("owner") as session:  # as a reprocess leaves it that was stopped
        session.execute(
            text(
                "UPDATE stage_attempts SET state = 'pending', finished = NULL WHERE id = (SELECT max(a.id) FROM"
                " stage_attempts a WHERE a.stage = 'text' AND a.state = 'done')"
            )
        )
    again = replay(platform, f"ocr.page_segmentation={BAD}")
    assert (again.counts.compared, again.missing) == (stored - 3, 0)
    over = False

    def tell(step: str, done: int, still: int) -> None:
        nonlocal over
        over = still == 0

    change = with_changes(platform, [], [f"ocr.page_segmentation={BAD}"])
    with monkeypatch.context() as patched:
        patched.setattr(run._Clock, "over", property(lambda _: over))
        late = replay_processors(platform, change, Scope(), tell, author="test")
    assert late.documents == stored - 3 > run.AT_ONCE, "what was made in time is asked about, however late it is"
    hurried = replay(platform, "ocr.page_segmentation=4", scope=Scope(minutes=0.0))
    assert hurried.stopped_early
    assert hurried.documents == run.AT_ONCE, "the first part is finished"
    assert hurried.made["text"] == run.AT_ONCE


def forget(config: Settings, name: str) -> str:
    """Forget the document that arrived under this name; its id."""
    document = scalar(f"SELECT id FROM original_documents WHERE original_name = '{name}'")
    erasure.forget(config, open_storage(config), [document], author="ann", reason="", told={})
    return document


def test_a_report_goes_with_the_first_of_its_documents_that_is_forgotten(
    platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(platform, range(6))
    training.train_model(author="test")
    forgotten: list[str] = []

    def once() -> None:
        if not forgotten:
            forgotten.append(forget(platform, "memo-1.png"))

    monkeypatch.setattr(ShadeReader, "meanwhile", staticmethod(once))
    found = replay(platform, f"ocr.page_segmentation={BAD}")
    assert list(found.failed) == forgotten
    assert scalar(f"SELECT count(*) FROM raw_texts WHERE document_id = '{forgotten[0]}'") == 0
    place = replay_reports.folder(platform)
    with pytest.raises(Conflict, match="forgotten meanwhile"):
        write_report(platform, found, place / "late.html")
    assert list(place.iterdir()) == []

    found = replay(platform, f"ocr.page_segmentation={BAD}")
    assert write_report(platform, found, place / "all.html") is not None
    few = replace(found, counts=Counts(), texts=[])
    write_report(platform, few, place / "none.html")
    kept = {path: path.read_bytes() for path in place.glob("all.*")}
    assert len(kept) == 2
    assert all(b"memo-3.png" in data for data in kept.values())

    forget(platform, "memo-3.png")
    assert sorted(path.name for path in place.iterdir()) == ["none.html", "none.json"]
    for path, data in kept.items():  # as on a machine that knows nothing of it
        path.write_bytes(data)
    storage, renderer = open_storage(platform), PageRenderer(platform.render)
    for repaired in (False, True):
        report = fsck(platform, storage, repair=repaired, renderer=renderer)
        assert [(f.kind, f.where, f.repaired) for f in report.findings] == [("remains", "replay/all.json", repaired)]
    assert sorted(path.name for path in place.iterdir()) == ["none.html", "none.json"]


def test_a_better_reader_is_trained_on_judged_promoted_and_taken_back(
    platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = read_as(BAD, monkeypatch)
    bring(bad, range(20, 44))
    first = training.train_model(author="test")
    assert first.metrics["accuracy"] < 0.75
    assert registry.champion(bad).version == first.version

    found = replay(bad, f"ocr.page_segmentation={GOOD}", retrain=True)
    assert found.retrained == 2
    assert registry.champion(bad).version == 1, "nothing is taken into use"
    assert purpose.labelled_change() == {}, "and nothing is trained because of it"
    challenger = registry.with_alias(bad, "challenger")
    assert challenger is not None
    assert challenger.version == 2
    gate = found.verdict.gate
    assert gate.comparison is not None
    assert gate.promote
    assert gate.documents == 72, "each answered before it was learnt from"
    assert gate.comparison.accuracy.low > 0
    assert gate.comparison.accuracy.challenger > 0.95

    again = replay_model(bad, None, Scope(), _quiet)
    assert again.counts.pairs == found.counts.pairs, "from what is stored, each with its own versions"
    assert again.made == {}
    assert again.verdict.gate.as_dict() == gate.as_dict()
    with pytest.raises(Conflict, match="serves"):
        replay_model(bad, 1, Scope(), _quiet)
    with pytest.raises(NotFound, match="no version 9"):
        replay_model(bad, 9, Scope(), _quiet)

    good = read_as(GOOD, monkeypatch)
    training.promote_version(2, author="test", reason="the replay")
    assert _served(good) == 2
    bad = read_as(BAD, monkeypatch)
    training.roll_back(author="test")
    assert _served(bad) == 1


def test_of_a_sample_that_was_read_anew_a_model_learns_from_the_sample(
    platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = read_as(BAD, monkeypatch)
    bring(bad, range(20, 36))
    training.train_model(author="test")
    found = replay(bad, f"ocr.page_segmentation={GOOD}", scope=Scope(sample=30), retrain=True)
    assert (found.documents, found.counts.compared, found.verdict.gate.documents) == (30, 30, 30)
    learnt = scalar(
        "SELECT s.documents FROM model_versions m JOIN dataset_snapshots s ON s.id = m.snapshot_id"
        f" WHERE m.version = {found.retrained}"
    )
    assert learnt == 30, "of the others there are images, and no text that was read anew"
    assert found.verdict.gate.comparison is not None
    assert found.verdict.gate.comparison.accuracy.challenger > 0.9


def test_a_model_of_a_worse_reader_is_refused_though_the_champion_cannot_answer_any_more(
    platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(platform, range(20, 44))
    training.train_model(author="test")
    bad = read_as(BAD, monkeypatch)
    bring(bad, range(60, 64))  # and reads all again
    report = training.train_model(author="test")
    assert not report.gate.promote
    assert report.gate.comparison is not None
    assert report.gate.comparison.accuracy.high < 0
    assert report.gate.unfair == 12, "new ones, about which the champion cannot be asked as they are read now"
    assert "text is shades 1 with other parameters" in report.gate.reason
    assert "dsdc promote" in report.gate.reason
    assert registry.champion(bad).version == 1

    read_as(GOOD, monkeypatch)
    assert training.train_model(author="test").gate.promote, "there it can be asked again"


def _served(config: Settings) -> int:
    answerer = answer.Answerer(config, open_storage(config))
    return answerer.load().version
