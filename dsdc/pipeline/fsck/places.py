"""What every part of the check works with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsdc.errors import BytesMissing
from dsdc.pipeline.fsck.report import FsckReport, Kind
from dsdc.settings import Settings
from dsdc.storage import Storage

Progress = Callable[[int, int], None]
MISSING = "A row names these bytes, and they are not there."


@dataclass(frozen=True)
class Places:
    """Store, quarantine and report; `hashes` says whether bytes are read, `repair` whether anything is done."""

    config: Settings
    storage: Storage
    report: FsckReport
    repair: bool
    hashes: bool

    @property
    def quarantine(self) -> Path:
        return self.config.path("rejected")

    def fault(self, key: str, sha256: str) -> tuple[Kind, str] | None:
        """What is wrong with bytes of the store."""
        if not self.hashes:
            return None if self.storage.exists(key) else ("missing", MISSING)
        try:
            with self.storage.local(key) as path:
                return _compare(path, sha256)
        except (BytesMissing, FileNotFoundError):
            return "missing", MISSING

    def rejected_fault(self, name: str, sha256: str) -> tuple[Kind, str] | None:
        """What is wrong with a file of quarantine."""
        path = self.quarantine / name
        if not path.is_file():
            return "missing", "A row names this file, and it is not there."
        return _compare(path, sha256) if self.hashes else None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(path: Path, sha256: str) -> tuple[Kind, str] | None:
    found = sha256_of(path)
    return None if found == sha256 else ("changed", f"The bytes now have SHA-256 {found}.")
