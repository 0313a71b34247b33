"""Real documents with ground truth: FUNSD's forms, SROIE's receipts, and PDF forms that carry their own text.

None of them is part of the project. `DSDC_CORPUS` names a folder with `funsd/{images,annotations}`, `sroie/{img,box}`
and `pdf-forms`; without it, `shared/corpus` beside the project is looked for.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.text_errors import Box, Passage, in_rows
from dsdc.errors import NotFound
from dsdc.settings import project_root


@dataclass(frozen=True)
class Transcribed:
    """A page image and what is written on it, row by row, with boxes in its pixels."""

    image: Path
    passages: tuple[Passage, ...]


def folder() -> Path:
    """Raises NotFound where there are no real documents."""
    found = Path(os.environ.get("DSDC_CORPUS") or project_root().parent / "shared" / "corpus")
    if not (found / "funsd" / "annotations").is_dir():
        raise NotFound(
            f"There are no real documents at {found}.", hint="Set DSDC_CORPUS to a folder with funsd, sroie, pdf-forms."
        )
    return found


def forms(limit: int) -> list[Transcribed]:
    """The first FUNSD forms by name, a passage a word (Jaume, Ekenel and Thiran, 2019)."""
    root = folder() / "funsd"
    return [_form(path, root / "images") for path in sorted((root / "annotations").glob("*.json"))[:limit]]


def _form(annotation: Path, images: Path) -> Transcribed:
    parts = json.loads(annotation.read_text(encoding="utf-8"))["form"]
    words = [(word["text"].strip(), word["box"]) for part in parts for word in part["words"]]
    passages = in_rows([Passage(text, _box(box)) for text, box in words if text])
    return Transcribed(images / f"{annotation.stem}.png", tuple(passages))


def receipts(limit: int) -> list[Transcribed]:
    """The first SROIE receipts by name, a passage a line, all in capitals (ICDAR 2019)."""
    root = folder() / "sroie"
    return [_receipt(path, root / "img") for path in sorted((root / "box").glob("*.csv"))[:limit]]


def _receipt(transcript: Path, images: Path) -> Transcribed:
    passages = []
    for line in transcript.read_text(encoding="utf-8", errors="replace").splitlines():
        *corners, text = line.split(",", 8)
        if text.strip():
            numbers = [int(corner) for corner in corners]
            xs, ys = numbers[::2], numbers[1::2]
            passages.append(Passage(text.strip(), Box(min(xs), min(ys), max(xs), max(ys))))
    return Transcribed(images / f"{transcript.stem}.jpg", tuple(in_rows(passages)))


def pdf_forms() -> list[Path]:
    return sorted((folder() / "pdf-forms").glob("*.pdf"))


def _box(corners: list[int]) -> Box:
    left, top, right, bottom = corners
    return Box(left, top, right, bottom)
