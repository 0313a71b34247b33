"""Two scans of one sheet have near hashes, two sheets do not: on drawn pages and, where they are, on real ones."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsdc.ml.split import duplicate_groups
from dsdc.processors.render.dhash import difference_hash
from dsdc.samples.generate import render_pages
from dsdc.samples.model import LABELS


def ramp(*, darker: bool) -> Image.Image:
    columns = np.linspace(250, 10, 90) if darker else np.linspace(10, 250, 90)
    return Image.fromarray(np.tile(columns, (80, 1)).astype(np.uint8))


def test_each_bit_says_whether_it_gets_darker_rightwards() -> None:
    assert difference_hash(ramp(darker=True)) == -1, "all 64 bits, signed"
    assert difference_hash(ramp(darker=False)) == 0
    both = Image.new("L", (90, 80))
    both.paste(ramp(darker=False), (0, 0))
    both.paste(ramp(darker=True).crop((0, 0, 90, 10)), (0, 10))
    assert difference_hash(both) == 0xFF << 48, "the second row's eight bits"


def test_the_mode_of_a_page_changes_nothing() -> None:
    grey = Image.fromarray(np.random.default_rng(1).choice([0, 255], size=(800, 600)).astype(np.uint8))
    assert difference_hash(grey) == difference_hash(grey.convert("RGB")) == difference_hash(grey.convert("1"))


def test_noise_on_blank_paper_sets_no_bit() -> None:
    paper = np.random.default_rng(1).normal(245, 6, size=(1000, 800))
    assert difference_hash(Image.fromarray(paper.astype(np.uint8))) == 0


def scanned_again(page: Image.Image, seed: int) -> Image.Image:
    """Laid on the glass a little askew and aside, at another brightness, with the noise of another lamp, as a JPEG."""
    random_ = np.random.default_rng(seed)
    askew = page.rotate(random_.uniform(-0.5, 0.5), Image.Resampling.BILINEAR, fillcolor=250)
    aside = askew.transform(
        askew.size, Image.Transform.AFFINE, (1, 0, random_.uniform(-8, 8), 0, 1, random_.uniform(-8, 8)), fillcolor=250
    )
    grey = np.asarray(aside) * random_.uniform(0.93, 1) + random_.normal(0, 8, size=(page.height, page.width))
    data = io.BytesIO()
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=60)
    return Image.open(data)


def distances(pages: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Differing bits between each page and itself scanned again, and between any two pages."""
    first = np.array([difference_hash(page) for page in pages]).view(np.uint64)
    again = np.array([difference_hash(scanned_again(page, row)) for row, page in enumerate(pages)]).view(np.uint64)
    apart = np.bitwise_count(first[:, None] ^ first[None, :])[np.triu_indices(len(pages), 1)]
    return np.bitwise_count(first ^ again), apart


def assert_told_apart(pages: Sequence[Image.Image]) -> None:
    same, apart = distances(pages)
    assert np.median(same) <= 3
    assert np.quantile(same, 0.9) <= 7
    assert np.median(apart) >= 12
    groups = duplicate_groups(perceptual=[difference_hash(page) for page in pages])
    assert len(np.unique(groups)) >= 0.97 * len(pages), "but for one form filled in twice, each page is its own"


def test_drawn_pages() -> None:
    assert_told_apart([render_pages(label, random.Random(seed))[0][0] for label in LABELS for seed in range(3)])


@pytest.mark.corpus
def test_real_pages(corpus: Path) -> None:
    with (corpus / "labels.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    images = [name for name in names if name.lower().endswith((".jpg", ".png", ".tif"))]
    assert_told_apart([Image.open(corpus / name).convert("L") for name in images[:: max(1, len(images) // 120)]])


def test_scans_of_one_sheet_are_one_group() -> None:
    sheets = [render_pages(label, random.Random(5))[0][0] for label in ("invoice", "form", "news_article")]
    copied = [page.resize((page.width * 3 // 4, page.height * 3 // 4)) for page in sheets]
    groups = duplicate_groups(perceptual=[difference_hash(page) for page in (*sheets, *copied)])
    assert groups.tolist() == [0, 1, 2, 0, 1, 2]
