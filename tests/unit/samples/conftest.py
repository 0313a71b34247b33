from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dsdc.samples import Sample, generate


@dataclass(frozen=True)
class Made:
    root: Path
    samples: list[Sample]

    def path(self, sample: Sample) -> Path:
        return self.root / sample.file

    def of_kind(self, kind: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.kind == kind]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three documents of each class."""
    root = tmp_path_factory.mktemp("samples")
    return Made(root, generate(root, count=48, seed=20))
