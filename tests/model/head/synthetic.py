"""Documents of made-up classes: noisy clusters in two modalities, some without one of them."""

from __future__ import annotations

import numpy as np

from dsdc.ml.features import DocumentSet
from dsdc.settings import Train
from dsdc.taxonomy import LabelClass

CLASSES = ("letter", "memo", "invoice", "resume", "budget", "form", "email", "questionnaire")
NAMES = tuple(LabelClass(slug, slug.capitalize(), ()) for slug in (*CLASSES, "unused"))
#: Small enough for tests of seconds; everything else as shipped.
QUICK = Train(epochs=20, hidden=64, members=2, folds=3)


def clusters(
    n: int, *, seed: int = 0, widths: tuple[int, int] = (48, 32), noise: float = 2.2, missing: float = 0.2
) -> DocumentSet:
    """`n` documents of eight classes in turn; `missing` of them have no image, as many no text.

    The centres are the same whatever `n` and `seed` are.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    fate = random.random(n)
    has_image, has_text = fate >= missing, fate < 1 - missing
    return DocumentSet(
        document_ids=tuple(f"document-{row}" for row in range(n)),
        labels=labels,
        classes=CLASSES,
        image=_modality(labels, widths[0], noise, has_image, random),
        text=_modality(labels, widths[1], noise, has_text, random),
        has_image=has_image,
        has_text=has_text,
        groups=np.arange(n),
    )


def _modality(
    labels: np.ndarray, width: int, noise: float, present: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    centres = np.random.default_rng(width).normal(size=(len(CLASSES), width))
    rows = centres[labels] + noise * random.normal(size=(len(labels), width)) + 1.0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows * present[:, None]).astype(np.float32)
