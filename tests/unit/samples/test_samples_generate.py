"""The files: every class, every kind, the same bytes again, and tables that agree with them."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import get_args

import pypdfium2 as pdfium
import pytest
from PIL import Image

from dsdc.errors import NotFound
from dsdc.samples import GROUND_TRUTH, LABEL_FILE, LABELS, Kind, generate, render_pages
from dsdc.settings import settings
from dsdc.taxonomy import Taxonomy


def hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def words(text: str) -> list[str]:
    return sorted(text.split())


def test_every_class_gets_its_share(made):
    assert Counter(sample.label for sample in made.samples) == dict.fromkeys(LABELS, 3)
    assert all(made.path(sample).is_file() for sample in made.samples)


def test_every_kind_occurs_with_its_media_type(made):
    types = {sample.kind: set() for sample in made.samples}
    for sample in made.samples:
        types[sample.kind].add(sample.media_type)
    assert set(types) == set(get_args(Kind))
    assert types["pdf-text"] == types["pdf-scan"] == {"application/pdf"}
    assert types["tiff-g4"] == {"image/tiff"}
    assert types["photo"] == {"image/jpeg"}
    assert types["scan"] == {"image/jpeg", "image/png"}


def test_tables_agree_with_the_files(made):
    with (made.root / LABEL_FILE).open(newline="", encoding="utf-8") as table:
        rows = [(row["file"], row["label"]) for row in csv.DictReader(table)]
    assert rows == [(sample.file, sample.label) for sample in made.samples]
    assert all(file.startswith(f"{label}/") for file, label in rows)
    lines = (made.root / GROUND_TRUTH).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["pages"] for line in lines] == [list(sample.pages) for sample in made.samples]
    loose = {path.name for path in made.root.iterdir() if path.is_file()}
    assert loose == {LABEL_FILE, GROUND_TRUTH}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    generate(tmp_path / "a", count=10, seed=3)
    generate(tmp_path / "b", count=10, seed=3, workers=2)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_more_documents_only_add_and_another_seed_differs(tmp_path):
    slugs = ("letter", "invoice", "file_folder")
    few = generate(tmp_path / "few", count=6, seed=3, slugs=slugs)
    many = generate(tmp_path / "many", count=12, seed=3, slugs=slugs)
    other = generate(tmp_path / "other", count=6, seed=4, slugs=slugs)
    assert many[:6] == few
    before, after = hashes(tmp_path / "few"), hashes(tmp_path / "many")
    assert all(after[sample.file] == before[sample.file] for sample in few)
    assert not {sample.pages for sample in few} & {sample.pages for sample in other}


def test_progress_counts_up(tmp_path):
    seen: list[tuple[int, int]] = []
    generate(tmp_path, count=3, seed=1, slugs=["email"], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_unknown_class_names_the_known_ones(tmp_path):
    with pytest.raises(NotFound, match=r"'novel'.*letter, form"):
        generate(tmp_path, count=1, seed=1, slugs=["novel"])


def test_labels_are_those_of_the_taxonomy():
    assert Taxonomy.from_settings(settings().taxonomy).slugs == LABELS


def test_tiffs_are_group_4_and_some_have_several_pages(made):
    counts = []
    for sample in made.of_kind("tiff-g4"):
        with Image.open(made.path(sample)) as image:
            assert (image.info["compression"], image.mode) == ("group4", "1")
            assert image.n_frames == len(sample.pages)
            counts.append(image.n_frames)
    assert max(counts) > 1


def test_born_digital_text_layer_is_the_ground_truth(made):
    samples = made.of_kind("pdf-text")
    assert max(len(sample.pages) for sample in samples) > 1
    for sample in samples:
        with pdfium.PdfDocument(made.path(sample)) as document:
            layers = [page.get_textpage().get_text_range() for page in document]
        assert [words(layer) for layer in layers] == [words(page) for page in sample.pages], sample.file


def test_scanned_pdfs_have_no_text_layer(made):
    for sample in made.of_kind("pdf-scan"):
        with pdfium.PdfDocument(made.path(sample)) as document:
            assert len(document) == len(sample.pages)
            assert not any(page.get_textpage().count_chars() for page in document)


def test_pages_have_the_size_of_paper(made):
    for sample in made.samples:
        if sample.kind == "scan":
            with Image.open(made.path(sample)) as image:
                long, short = max(image.size), min(image.size)
            assert 650 <= long <= 2900, sample.file
            assert 1.1 < long / short < 1.7, sample.file


def test_files_are_small(made):
    sizes = sorted(made.path(sample).stat().st_size for sample in made.samples)
    assert sizes[len(sizes) // 2] < 150_000


@pytest.mark.parametrize("label", LABELS)
def test_pages_in_memory_for_every_class(label):
    pages = render_pages(label, random.Random(11))
    again = render_pages(label, random.Random(11))
    assert pages
    for (image, text), (same_image, same_text) in zip(pages, again, strict=True):
        assert image.mode in ("1", "L")
        assert image.tobytes() == same_image.tobytes()
        assert text == same_text
        assert image.convert("L").getextrema()[0] < 128  # something is drawn
    different = render_pages(label, random.Random(12))
    assert different[0][0].tobytes() != pages[0][0].tobytes()
