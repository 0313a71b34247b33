"""Several versions of a processor side by side, and a recorded one made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dsdc.errors import SettingsError
from dsdc.processors.clean import MarkCleaner, TextCleaner
from dsdc.processors.contract import Processor
from dsdc.processors.embed.weights import WeightsStore
from dsdc.processors.recorded import Recorded, runnable
from dsdc.processors.registry import configured
from dsdc.settings import Clip, Settings, settings
from tests.projects import ROOT, forget_settings


@pytest.fixture(autouse=True, scope="module")
def _weights() -> None:
    """dsdc-lite in the checkout's models folder, built once, in seconds."""
    WeightsStore(Clip(), ROOT / "models").fetch()


def recorded(processor: Processor) -> Recorded:
    return Recorded(processor.stage, processor.name, processor.version, processor.params_hash, dict(processor.params))


def with_settings(project: Path, text: str) -> Settings:
    (project / "config.local.yaml").write_text(text)
    forget_settings()
    return settings()


def test_a_version_is_chosen_by_the_settings_and_the_default_stays(project: Path) -> None:
    assert type(configured(settings()).cleaner) is TextCleaner
    assert type(configured(with_settings(project, "processors: {clean: 2}\n")).cleaner) is MarkCleaner
    assert configured(with_settings(project, 'processors: {clean: "1"}\n')).cleaner.version == "1"


def test_a_version_whose_code_is_not_here_is_refused_and_the_others_are_named(project: Path) -> None:
    with pytest.raises(SettingsError, match=r"no version '7' of text-cleaner \(processors.clean\)") as refused:
        configured(with_settings(project, "processors: {clean: 7}\n"))
    assert "1, 2" in (refused.value.hint or "")


CHANGES = """
render: {dpi: 120, max_side: 2000}
ocr: {engine: tesseract, page_segmentation: 6, deskew: false, min_layer_chars: 40}
clip: {max_text_windows: 3}
processors: {clean: 2}
"""


def test_every_recorded_processor_is_made_again_whatever_the_settings_are_now(project: Path) -> None:
    made = configured(with_settings(project, CHANGES))
    rows = [made.unpacker, made.renderer, made.reader, made.cleaner, made.embedder, *made.describers]
    records = [recorded(processor) for processor in rows]
    now = with_settings(project, "")
    for record, before in zip(records, rows, strict=True):
        found = runnable(record, now)
        assert found.processor is not None, found.reason
        assert type(found.processor) is type(before)
        assert found.processor.params_hash == record.params_hash
    assert configured(now).reader.params_hash != made.reader.params_hash, "or nothing has been shown"


def test_the_reader_of_the_other_engine_is_made_again(project: Path) -> None:
    record = recorded(configured(with_settings(project, "ocr: {engine: rapidocr}\n")).reader)
    found = runnable(record, with_settings(project, "ocr: {engine: tesseract}\n"))
    assert found.processor is not None, found.reason
    assert found.processor.params["engine"] == "rapidocr"


def test_what_cannot_be_made_again_says_why(project: Path) -> None:
    made = configured(settings())
    cleaner = recorded(made.cleaner)
    assert "not in this installation" in runnable(replace(cleaner, version="0"), settings()).reason
    assert "not in this installation" in runnable(replace(cleaner, name="other"), settings()).reason
    assert "not in this installation" in runnable(replace(cleaner, stage="fold"), settings()).reason

    older = replace(cleaner, params={**cleaner.params, "unicode": "9.0"}, params_hash="0" * 64)
    assert runnable(older, settings()).reason.endswith("would differ here in unicode.")

    reader = recorded(made.reader)
    foreign = replace(reader, params={**reader.params, "engine": "abbyy"})
    assert "abbyy" in runnable(foreign, settings()).reason
    renderer = recorded(made.renderer)
    assert "dpi" in runnable(replace(renderer, params={**renderer.params, "dpi": 9000}), settings()).reason
    embedder = recorded(made.embedder)
    gone = replace(embedder, params={**embedder.params, "weights_sha256": "1" * 64})
    assert "SHA-256" in runnable(gone, settings()).reason


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("| Qi +e Se.", "Qi +e Se."),
        ("ORO _ CHALLENG", "ORO CHALLENG"),
        ("4 Kent -——-— 35", "4 Kent 35"),
        ("DATE__March 26, _1982_", "DATE March 26, 1982"),
        ("Winston - Salem — 5 + 3 = 8", "Winston - Salem — 5 + 3 = 8"),
        ("pay $ 5 & 10 %", "pay $ 5 & 10 %"),
        ("snake_case stays", "snake_case stays"),
        ("first |\n| second\n\n~ third", "first\nsecond\n\nthird"),
    ],
)
def test_version_2_of_the_cleaner_drops_marks_and_no_words(text: str, clean: str) -> None:
    cleaner = MarkCleaner()
    assert cleaner.clean(text).text == clean
    assert cleaner.clean(clean).text == clean
