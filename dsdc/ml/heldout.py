"""What a model's cross-fitting said about each document that it learnt from: kept beside the head, without pickles.

Every row is the answer of a head that had seen neither the document nor a duplicate of it. So two models can be
compared on documents that both have learnt from since, and labels that a model finds unlikely can be listed.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dsdc.errors import WeightsError
from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import DocumentSet, Ints
from dsdc.ml.fit import Fitted

FILE = "held_out.npz"


@dataclass(frozen=True)
class HeldOut:
    """Calibrated `[n, classes]` probabilities of n documents, in the order of `document_ids`.

    `labels` are positions in `classes`, as they were when the model was trained; `folds` say who was held out together.
    """

    document_ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: Ints
    folds: Ints
    probabilities: Doubles

    @classmethod
    def of(cls, data: DocumentSet, fitted: Fitted) -> Self:
        """Of a fit on `data`."""
        folds = np.empty(len(data), dtype=np.int64)
        for number, fold in enumerate(fitted.folds):
            folds[fold.test] = number
        return cls(data.document_ids, data.classes, data.labels, folds, fitted.estimate.scored.probabilities)

    def save(self, folder: Path) -> None:
        """Write it into `folder`; equal content gives equal bytes."""
        np.savez_compressed(
            folder / FILE,
            document_ids=np.array(self.document_ids),
            classes=np.array(self.classes),
            labels=self.labels,
            folds=self.folds,
            probabilities=self.probabilities.astype(np.float32),
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it from a head's folder.

        Raises:
            WeightsError: it is missing or damaged.
        """
        path = folder / FILE
        try:
            with np.load(path, allow_pickle=False) as found:
                return cls(
                    tuple(map(str, found["document_ids"])),
                    tuple(map(str, found["classes"])),
                    found["labels"],
                    found["folds"],
                    found["probabilities"].astype(np.float64),
                )
        except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as problem:
            raise WeightsError(f"{path} cannot be read: {problem}", hint="Train and promote a new model.") from problem
