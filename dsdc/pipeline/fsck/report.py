"""What was looked at, and what was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dsdc.pipeline.inbox import CLOCK_DOUBT_S

#: missing     a row names bytes that are not there
#: changed     they have another hash
#: orphan      bytes that no row names
#: recent      the same, but so young that a row may be on its way: told, and no fault
#: foreign     a file of which the store knows nothing by its very name; left alone
#: leftover    bytes that have left by what their row says
#: draft       a copy that was broken off
#: reason      a file of quarantine without one
#: unseen      a document without a sighting
#: hole        a page is missing between others
#: underived   work that is done by what the queue says, without its row
#: unfinished  a document that cannot be rendered, still in the store
#: remains     something of a document that was forgotten
Kind = Literal[
    "missing",
    "changed",
    "orphan",
    "recent",
    "foreign",
    "leftover",
    "draft",
    "reason",
    "unseen",
    "hole",
    "underived",
    "unfinished",
    "remains",
]

#: Bytes are stored before their row is committed: what is younger than this may still get one. By the host's clock,
#: which may have jumped.
YOUNG_S = CLOCK_DOUBT_S + 3600.0


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be; `where` is a key of the store, a name in quarantine or a row."""

    kind: Kind
    where: str
    detail: str
    repaired: bool = False


@dataclass
class FsckReport:
    """`documents`, `images` and `rejected` are rows that were compared with bytes; `files` bytes compared with rows."""

    documents: int = 0
    images: int = 0
    rejected: int = 0
    files: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing was found, or all of it was repaired or may yet get its row."""
        return all(finding.repaired or finding.kind == "recent" for finding in self.findings)

    def found(self, kind: Kind, where: str, detail: str, *, repaired: bool = False) -> None:
        self.findings.append(Finding(kind, where, detail, repaired))

    def as_dict(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "documents": self.documents,
            "images": self.images,
            "rejected": self.rejected,
            "files": self.files,
            "found": dict(Counter(finding.kind for finding in self.findings)),
            "findings": [asdict(finding) for finding in self.findings],
        }
