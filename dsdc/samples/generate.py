"""Documents of every class, as pixels for training and as files for the demo and the tests."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image

from dsdc.errors import NotFound
from dsdc.samples import files, marks, scan
from dsdc.samples.layout import LAYOUTS
from dsdc.samples.model import LABELS, Kind, Progress, Sample
from dsdc.samples.page import Page
from dsdc.samples.raster import raster
from dsdc.samples.text import Tongue

GROUND_TRUTH = "ground_truth.jsonl"
LABEL_FILE = "labels.csv"

#: How often each kind comes: twenty documents hold exactly this hand of cards, in a shuffled order.
_DECK: tuple[Kind, ...] = cast(
    "tuple[Kind, ...]", ("scan",) * 7 + ("tiff-g4",) * 4 + ("pdf-scan",) * 3 + ("pdf-text",) * 4 + ("photo",) * 2
)
#: What has no text layer to speak of does not become a born-digital PDF.
_NEVER_TYPED = frozenset({"handwritten", "file_folder"})
#: Image files hold the first page alone.
_ONE_PAGE = frozenset({"scan", "photo"})
#: A jacket has no holes, nor has a page cut from a newspaper.
_UNPUNCHED = frozenset({"file_folder", "news_article"})
#: E-mail is a clean print, a folder a dirty old thing: added to the wear of the paper.
_WEAR = {"email": -0.3, "file_folder": 0.3, "news_article": 0.15, "presentation": -0.1}


@dataclass(frozen=True)
class _Order:
    """One document to make; everything random about it follows from `seed`, `label` and `number`."""

    target: str
    label: str
    number: int
    kind: Kind
    seed: int


def render_pages(label: str, rng: random.Random) -> list[tuple[Image.Image, str]]:
    """The scanned pages of one new document with the text on each, in memory.

    Images are in mode L, around 100 dpi as often as 150, upright or as the sheet was put on the glass.

    Raises:
        NotFound: when no layout draws this class.
    """
    pages, tongue = _compose(label, rng, tidy=False)
    dpi = rng.choice((100, 120, 150))
    machine = scan.Machine.draw(rng, dpi, _wear(label, tongue), punched=label not in _UNPUNCHED)
    copier = rng.choice((scan.reread, scan.reread, scan.grey))
    return [(copier(_sheet(page, dpi, rng), machine, rng), page.transcript()) for page in pages]


def generate(
    target: Path,
    *,
    count: int,
    seed: int,
    slugs: Sequence[str] | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> list[Sample]:
    """Write `count` documents, spread evenly over the classes, to `target/<class>/`.

    Beside them: `labels.csv` (`file,label`) and `ground_truth.jsonl` (one `Sample` a line). The same arguments give the
    same bytes, whatever `workers` is; a larger `count` only adds files.

    Args:
        target: a folder; created when missing.
        count: how many documents.
        seed: of everything random.
        slugs: the classes to draw; all of RVL-CDIP's when None.
        progress: called with (done, total) after each document.
        workers: processes that draw at once.

    Raises:
        NotFound: when no layout draws one of the classes.
    """
    labels = tuple(LABELS if slugs is None else slugs)
    for label in labels:
        _known(label)
    orders = _orders(target, labels, count, seed)
    for label in labels:
        (target / label).mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            for sample in pool.map(_make, orders, chunksize=4):
                _note(samples, sample, count, progress)
    else:
        for order in orders:
            _note(samples, _make(order), count, progress)
    _write_tables(target, samples)
    return samples


def _note(samples: list[Sample], sample: Sample, total: int, progress: Progress | None) -> None:
    samples.append(sample)
    if progress:
        progress(len(samples), total)


def _known(label: str) -> None:
    if label not in LAYOUTS:
        raise NotFound(f"No sample layout draws the class {label!r}.", hint=f"Use some of: {', '.join(LABELS)}.")


def _orders(target: Path, labels: Sequence[str], count: int, seed: int) -> list[_Order]:
    rng = random.Random(f"{seed}:kinds")
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += rng.sample(_DECK, len(_DECK))
    orders = []
    for number in range(count):
        label, kind = labels[number % len(labels)], kinds[number]
        if kind == "pdf-text" and label in _NEVER_TYPED:
            kind = "pdf-scan"
        orders.append(_Order(str(target), label, number // len(labels), kind, seed))
    return orders


def _compose(label: str, rng: random.Random, *, tidy: bool, bundle: bool = False) -> tuple[list[Page], Tongue]:
    """The pages of one document; a `bundle` may hold several of its class, stapled and scanned together."""
    _known(label)
    tongue = Tongue(rng)
    pages = LAYOUTS[label](tongue)
    for _ in range(rng.choices((0, 1, 2, 4), weights=(11, 4, 2, 1))[0] if bundle else 0):
        pages += LAYOUTS[label](tongue)
    marks.dress(pages, tongue, tidy=tidy)
    return pages, tongue


def _wear(label: str, tongue: Tongue) -> float:
    """How worn the paper is, 0 to 1: older paper has been through more hands and copiers."""
    aged = (1990 - tongue.year) / 120
    return min(1.0, max(0.0, tongue.rng.betavariate(1.1, 2.6) + aged + _WEAR.get(label, 0.0)))


def _sheet(page: Page, dpi: int, rng: random.Random) -> Image.Image:
    image = raster(page, dpi, rng)
    return image if page.upright else image.transpose(Image.Transpose.ROTATE_270)


def _make(order: _Order) -> Sample:
    rng = random.Random(f"{order.seed}:{order.label}:{order.number}")
    typed = order.kind == "pdf-text"
    pages, tongue = _compose(order.label, rng, tidy=typed, bundle=order.kind not in _ONE_PAGE)
    wear = _wear(order.label, tongue)
    stem = f"{order.label}-{order.seed}-{order.number:04d}"
    folder = Path(order.target) / order.label
    if typed:
        path = folder / f"{stem}.pdf"
        files.write_born_digital(pages, path, tongue.subject())
    elif order.kind == "photo":
        pages = pages[:1]
        path = folder / f"{stem}.jpg"
        files.write_image(scan.photograph(_sheet(pages[0], 150, rng), rng), 72, path, rng.randint(45, 70))
    elif order.kind == "scan":
        pages = pages[:1]
        path = _write_scan(pages[0], folder / stem, wear, rng, order.label)
    else:
        path = _write_scans(order, pages, folder / stem, wear, rng)
    texts = tuple(page.transcript(printed_only=typed) for page in pages)
    name = path.relative_to(order.target).as_posix()
    return Sample(name, order.label, order.kind, files.MEDIA_TYPES[path.suffix[1:]], texts)


def _write_scan(page: Page, stem: Path, wear: float, rng: random.Random, label: str) -> Path:
    """One page from a flat-bed: greyscale as JPEG, or what a bilevel scan became when it was made smaller."""
    dpi = rng.choices((100, 120, 150, 200), weights=(3, 3, 4, 1))[0]
    machine = scan.Machine.draw(rng, dpi, wear, punched=label not in _UNPUNCHED)
    image = _sheet(page, dpi, rng)
    how = rng.random()
    if how < 0.25:
        path = stem.with_suffix(".png")
        files.write_image(scan.bilevel(image, machine, rng), dpi, path, 0)
        return path
    path = stem.with_suffix(".jpg")
    copier = scan.grey if how < 0.65 else scan.reread
    files.write_image(copier(image, machine, rng), dpi, path, rng.randint(35, 65))
    return path


def _write_scans(order: _Order, pages: Sequence[Page], stem: Path, wear: float, rng: random.Random) -> Path:
    """All pages through one machine, into a TIFF or a PDF without text."""
    grey = order.kind == "pdf-scan" and rng.random() < 0.5
    dpi = rng.choice((100, 120, 150)) if grey else rng.choice((150, 200, 200))
    machine = scan.Machine.draw(rng, dpi, wear, punched=order.label not in _UNPUNCHED)
    copier = scan.grey if grey else scan.bilevel
    images = [copier(_sheet(page, dpi, rng), machine, rng) for page in pages]
    if order.kind == "tiff-g4":
        path = stem.with_suffix(".tif")
        files.write_tiff(images, dpi, path)
    else:
        path = stem.with_suffix(".pdf")
        files.write_scanned_pdf(images, dpi, path)
    return path


def _write_tables(target: Path, samples: Sequence[Sample]) -> None:
    with (target / LABEL_FILE).open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file", "label"))
        writer.writerows((sample.file, sample.label) for sample in samples)
    with (target / GROUND_TRUTH).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(sample.record(), ensure_ascii=False) + "\n" for sample in samples)
