"""One real training for the tests that need a trained head."""

from __future__ import annotations

import pytest

from dsdc.ml.fit import Fitted, fit
from dsdc.ml.recipe import Origin, ProcessorIdentity, Recipe, library_versions, recipe_of
from dsdc.ml.split import make_split
from tests.model.head.synthetic import NAMES, QUICK, clusters


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    data = clusters(480)
    split = make_split(data.labels, data.groups, valid_share=0.2, test_share=0.2, seed=0)
    return fit(data, split, QUICK, coverage=0.9)


@pytest.fixture(scope="session")
def described(fitted: Fitted) -> Recipe:
    clip = ProcessorIdentity(
        stage="embed", name="clip-test", version="1", params_hash="0" * 64, weights_sha256="1" * 64
    )
    origin = Origin(
        snapshot="2" * 64, clip=clip, processors=(clip,), code_commit="unknown", libraries=library_versions()
    )
    return recipe_of(fitted, classes=NAMES, review_threshold=0.5, origin=origin)
