"""Where Tesseract's language data lies on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dsdc.errors import MissingSystemPackage

_USUAL = ("/usr/share/tesseract-ocr/*/tessdata", "/usr/share/tessdata", "/usr/local/share/tessdata")


def find_tessdata(languages: str) -> Path:
    """The folder that holds `<language>.traineddata` for each of `languages` (codes joined by +).

    `TESSDATA_PREFIX`, where it is set, is the only place looked at.

    Raises:
        MissingSystemPackage: naming what to install.
    """
    folders = list(_folders())
    wanted = languages.split("+")
    for folder in folders:
        if all(_file(folder, language).is_file() for language in wanted):
            return folder
    missing = [code for code in wanted if not any(_file(folder, code).is_file() for folder in folders)] or wanted
    packages = " ".join(f"tesseract-ocr-{code.replace('_', '-').lower()}" for code in missing)
    raise MissingSystemPackage(
        f"Tesseract has no data for {', '.join(missing)} in {', '.join(map(str, folders)) or 'any known folder'}.",
        hint=f"Run: apt-get install tesseract-ocr {packages}",
    )


def language_hashes(folder: Path, languages: str) -> dict[str, str]:
    """SHA-256 of each language's file: `fast` and `best` models bear the same name and read differently."""
    return {code: hashlib.sha256(_file(folder, code).read_bytes()).hexdigest() for code in languages.split("+")}


def _file(folder: Path, language: str) -> Path:
    return folder / f"{language}.traineddata"


def _folders() -> Iterator[Path]:
    prefix = os.environ.get("TESSDATA_PREFIX")
    if prefix:
        yield from (Path(prefix), Path(prefix) / "tessdata")
        return
    for pattern in _USUAL:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)  # newest version first
    yield from _told_by_tesseract()


def _told_by_tesseract() -> Iterator[Path]:
    """`List of available languages in "/opt/x/tessdata/" (2):` is the program's own word for it."""
    try:
        done = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return
    first_line = (done.stdout or done.stderr).partition("\n")[0]
    if first_line.count('"') == 2:
        yield Path(first_line.split('"')[1])
