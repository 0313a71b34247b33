"""Does the store hold what the database says, and the database what the store holds?

The invariant: every input byte is in exactly one of inbox, store with a row, quarantine with its reason; every row's
file exists and has the hash that the row says.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dsdc.db.repositories.documents import Documents, RejectedDocuments
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, DocumentError
from dsdc.log import get_logger
from dsdc.pipeline.quarantine import reject_file
from dsdc.settings import Settings
from dsdc.storage import Area, FolderStorage, Storage

log = get_logger(__name__)

Kind = Literal["missing", "changed", "orphan", "leftover"]
Progress = Callable[[int, int], None]
#: Bytes are stored before their row is committed: what is younger than this may still get one.
YOUNG_S = 3600.0


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be; `where` is a key of the store or a name in quarantine."""

    kind: Kind
    where: str
    detail: str
    repaired: bool = False


@dataclass
class FsckReport:
    """What was looked at, and what was found."""

    documents: int = 0
    images: int = 0
    rejected: int = 0
    orphans_looked_for: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return all(finding.repaired for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "documents": self.documents,
            "images": self.images,
            "rejected": self.rejected,
            "files": self.orphans_looked_for,
            "found": dict(Counter(finding.kind for finding in self.findings)),
            "findings": [asdict(finding) for finding in self.findings],
        }


def fsck(
    config: Settings, storage: Storage, *, repair: bool = False, hashes: bool = True, progress: Progress | None = None
) -> FsckReport:
    """Compare every row with its bytes, and every file with its row.

    Args:
        repair: move documents' bytes that no row knows into quarantine, and remove page images that no row knows and
            bytes that a quarantined document left behind. What is missing or changed is only reported.
        hashes: read every file and compare its hash; without it, only whether it is there.
    """
    check = _Check(config, storage, repair=repair, hashes=hashes)
    report = check.report
    with transaction() as session:
        stored = Documents(session).keys_by_state()
        images = ProcessedImages(session).keys()
    total = len(stored) + len(images)
    for number, (key, state) in enumerate(stored.items(), start=1):
        check.document(key, state)
        if progress is not None:
            progress(number, total - number)
    for number, key in enumerate(images, start=1 + len(stored)):
        check.image(key)
        if progress is not None:
            progress(number, total - number)
    check.quarantine()
    check.orphans("raw", set(stored))
    check.orphans("processed", images)
    log.info("fsck.finished", **{key: value for key, value in report.as_dict().items() if key != "findings"})
    return report


class _Check:
    def __init__(self, config: Settings, storage: Storage, *, repair: bool, hashes: bool) -> None:
        self._config = config
        self._storage = storage
        self._repair = repair
        self._hashes = hashes
        self.report = FsckReport()

    def _found(self, kind: Kind, where: str, detail: str, *, repaired: bool = False) -> None:
        self.report.findings.append(Finding(kind, where, detail, repaired))

    def document(self, key: str, state: str) -> None:
        self.report.documents += 1
        if state == "stored":
            self._bytes(key)
        elif self._storage.exists(key):
            if self._repair:
                self._storage.delete(key)
            detail = f"The document is {state}, but its bytes are still in the store."
            self._found("leftover", key, detail, repaired=self._repair)

    def image(self, key: str) -> None:
        self.report.images += 1
        self._bytes(key)

    def _bytes(self, key: str) -> None:
        if not self._hashes:
            if not self._storage.exists(key):
                self._found("missing", key, "A row names these bytes, and they are not there.")
            return
        try:
            found = hashlib.sha256(self._storage.read(key)).hexdigest()
        except BytesMissing:
            self._found("missing", key, "A row names these bytes, and they are not there.")
            return
        if found != key.rsplit("/", 1)[-1]:
            self._found("changed", key, f"The bytes now have SHA-256 {found}.")

    def quarantine(self) -> None:
        """Rejected files against their rows, both ways."""
        folder = self._config.path("rejected")
        with transaction() as session:
            known = {row.file_path: row.sha256 for row in RejectedDocuments(session).all(released=True)}
            waiting = {row.file_path for row in RejectedDocuments(session).all()}
        for name in sorted(waiting):
            self.report.rejected += 1
            self._rejected(folder / name, known[name])
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = path.name.removesuffix(".reason.json")
            if not path.name.startswith(".") and name not in known:
                self._found("orphan", f"rejected/{path.name}", "No row tells of this file.")

    def _rejected(self, path: Path, sha256: str) -> None:
        if not path.is_file():
            self._found("missing", f"rejected/{path.name}", "A row names this file, and it is not there.")
        elif self._hashes and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            self._found("changed", f"rejected/{path.name}", "The file no longer has the hash of its row.")

    def orphans(self, area: Area, known: set[str]) -> None:
        """Files that no row names. Young ones may belong to a transaction that is under way."""
        for key in self._old_keys(area):
            self.report.orphans_looked_for += 1
            if key in known:
                continue
            repaired = self._repair and self._put_away(area, key)
            self._found("orphan", key, "No row names these bytes.", repaired=repaired)

    def _old_keys(self, area: Area) -> Iterator[str]:
        for key in list(self._storage.keys(area)):
            if not isinstance(self._storage, FolderStorage):
                yield key
                continue
            with self._storage.local(key) as path:
                if time.time() - path.stat().st_mtime >= YOUNG_S:
                    yield key

    def _put_away(self, area: Area, key: str) -> bool:
        """A document is never thrown away: it goes into quarantine. A page image can be made again."""
        if area == "raw":
            reason = _Orphan("These bytes were in the store without a row.", hint="Put the file into the inbox.")
            with self._storage.local(key) as path, path.open("rb") as source:
                reject_file(self._config, source, key.rsplit("/", 1)[-1], reason, stage="fsck")
        self._storage.delete(key)
        return True


class _Orphan(DocumentError):
    category = "orphan"
