from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsdc.processors.embed.library import import_open_clip
from dsdc.processors.embed.windows import windower

WORDS = " ".join(f"invoice {number} total" for number in range(300))


@pytest.fixture(params=["byte-pair", "transformers"])
def tokenizer(request: pytest.FixtureRequest, models_dir: Path) -> Any:
    open_clip = import_open_clip()
    if request.param == "byte-pair":
        return open_clip.get_tokenizer("ViT-B-32")
    return open_clip.get_tokenizer(f"local-dir:{models_dir / 'clip' / 'dsdc-lite'}")


def test_windows_hold_all_of_a_text_in_order_without_overlap(tokenizer: Any) -> None:
    (windows,) = windower(tokenizer, 40)([WORDS], 1000)
    inner = [i for window in windows for i in window.ids[1:-1]]
    (whole,) = windower(tokenizer, 100_000)([WORDS], 1000)
    assert inner == list(whole[0].ids[1:-1])
    assert sum(window.weight for window in windows) == whole[0].weight == len(inner)
    assert all(len(window.ids) <= 40 for window in windows)


def test_a_short_text_gives_what_open_clip_gives(tokenizer: Any) -> None:
    ids = windower(tokenizer, int(tokenizer.context_length))(["a scanned page of a letter"], 16)[0][0].ids
    expected = tokenizer(["a scanned page of a letter"])[0].tolist()
    assert list(ids) == expected[: len(ids)]
    assert not any(expected[len(ids) :])


def test_no_more_windows_than_the_limit_and_never_none(tokenizer: Any) -> None:
    cut = windower(tokenizer, 40)
    long, unprintable = cut([WORDS, "\u200b"], 3)
    assert len(long) == 3
    assert len(unprintable) == 1
    assert unprintable[0].weight >= 1


def test_half_surrogates_are_taken(tokenizer: Any) -> None:
    assert windower(tokenizer, 40)(["total \ud800 due"], 2)[0][0].weight >= 2


def test_an_unknown_tokenizer_gets_runs_of_words() -> None:
    inner = import_open_clip().get_tokenizer("ViT-B-32")

    class Opaque:
        context_length = 77

        def __call__(self, texts: list[str]) -> Any:
            return inner(texts)

    windows = windower(Opaque(), 77)([WORDS], 4)[0]
    assert len(windows) == 4
    assert all(len(window.ids) == 77 for window in windows)
    assert len({window.ids for window in windows}) == 4
