"""What a run of ingest tells."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class IngestReport:
    """Files of one run, by what became of them; `waiting` counts those that labels files name and that did not come."""

    taken: int = 0
    new: int = 0
    duplicates: int = 0
    rejected: int = 0
    labelled: int = 0
    unquiet: int = 0
    skipped: int = 0
    waiting: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    unknown_labels: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return {
            "taken": self.taken,
            "new": self.new,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "labelled": self.labelled,
            "unquiet": self.unquiet,
            "skipped": self.skipped,
            "waiting": self.waiting,
            "reasons": dict(self.reasons),
            "unknown_labels": list(self.unknown_labels),
            "notices": list(self.notices),
        }
