"""One real training for the tests that need a trained head."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsdc.ml.fit import Fitted, fit
from dsdc.ml.heldout import HeldOut
from dsdc.ml.recipe import Origin, ProcessorIdentity, Recipe, library_versions, recipe_of, save
from tests.model.head.synthetic import NAMES, QUICK, clusters


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    return fit(clusters(480), QUICK, coverage=0.9, review_budget=0.15)


@pytest.fixture(scope="session")
def described(fitted: Fitted) -> Recipe:
    clip = ProcessorIdentity(
        stage="embed", name="clip-test", version="1", params_hash="0" * 64, weights_sha256="1" * 64
    )
    origin = Origin(
        snapshot="2" * 64, clip=clip, processors=(clip,), code_commit="unknown", libraries=library_versions()
    )
    return recipe_of(fitted, classes=NAMES, origin=origin)


@pytest.fixture(scope="session")
def head_folder(fitted: Fitted, described: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head as a training saves it."""
    folder = tmp_path_factory.mktemp("head")
    save(folder, fitted.run.head, described)
    HeldOut.of(clusters(480), fitted).save(folder)
    return folder
