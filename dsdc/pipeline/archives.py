"""Archives that list their files: a CSV of columns file,label, or RVL-CDIP as it is published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsdc.errors import NotFound
from dsdc.pipeline.manifests import Row, Statement, read_rows, statements

# The numbers that stand for classes in RVL-CDIP's lists, from 0 (Harley, Ufkes, Derpanis 2015).
RVL_CDIP = (
    "letter",
    "form",
    "email",
    "handwritten",
    "advertisement",
    "scientific report",
    "scientific publication",
    "specification",
    "file folder",
    "news article",
    "budget",
    "invoice",
    "presentation",
    "questionnaire",
    "resume",
    "memo",
)
_LISTS = ("train.txt", "val.txt", "test.txt")


@dataclass(frozen=True)
class Listing:
    """What a list names: `there` below the archive's folder, `missing` (as the list has it) not."""

    there: tuple[Statement, ...]
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.there) + len(self.missing)


def csv_listing(root: Path, labels: Path) -> Listing:
    """The files of a CSV with the columns file,label, relative to `root`; a label may be left out.

    Raises:
        NotFound: it cannot be read, or has no such columns.
    """
    return _listing(root, read_rows(labels))


def rvl_cdip_listing(root: Path) -> Listing | None:
    """The files of labels/{train,val,test}.txt, relative to images/; None where there are no such lists.

    Raises:
        NotFound: a list cannot be read, or there are no images.
    """
    lists = [path for name in _LISTS if (path := root / "labels" / name).is_file()]
    if not lists:
        return None
    if not (root / "images").is_dir():
        raise NotFound(
            f"{root} has RVL-CDIP's labels but no folder images.", hint="Unpack the images beside the folder labels."
        )
    return _listing(root, [row for path in lists for row in _rvl_cdip_rows(path)])


def _rvl_cdip_rows(path: Path) -> Iterator[Row]:
    """Lines like `imagesa/a/b/c/file.tif 3`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        if not file or not label.isdecimal() or int(label) >= len(RVL_CDIP):
            raise NotFound(f"{path} line {number} is no file and class number from 0 to {len(RVL_CDIP) - 1}: {line}")
        yield Row(number, f"images/{file.strip()}", RVL_CDIP[int(label)])


def _listing(root: Path, rows: Iterable[Row]) -> Listing:
    there: list[Statement] = []
    missing: list[str] = []
    for row in rows:
        found = [one for one in statements([row], root, root) if os.path.lexists(one.path)]
        there += found
        missing += [] if found else [row.file]
    return Listing(tuple(there), tuple(missing))
