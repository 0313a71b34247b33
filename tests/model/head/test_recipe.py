"""A saved head comes back the same, and one changed byte is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save

from dsdc.errors import WeightsError
from dsdc.ml.calibrate import evidence, probabilities
from dsdc.ml.fit import Fitted
from dsdc.ml.recipe import HEAD_FILE, RECIPE_FILE, Recipe, code_commit, load
from dsdc.ml.recipe import save as save_head
from dsdc.ml.train import scores
from tests.model.head.synthetic import CLASSES, clusters


@pytest.fixture
def folder(tmp_path: Path, fitted: Fitted, described: Recipe) -> Path:
    save_head(tmp_path / "head", fitted.run.head, described)
    return tmp_path / "head"


def test_a_loaded_head_answers_as_the_trained_one(folder: Path, fitted: Fitted) -> None:
    head, data = load(folder, head_sha256=fitted.run.head_sha256), clusters(50, seed=3)
    blocks = data.blocks()
    found = head.predict_proba(blocks)
    expected = probabilities(scores(fitted.run.head, blocks), fitted.thresholds.weights, evidence(blocks))
    assert np.array_equal(found, expected)
    assert found.shape == (50, len(CLASSES))
    assert head.classes == CLASSES
    assert head.prediction_sets(found, blocks).any(axis=1).all()
    assert {head.decide(float(row.max())) for row in found} == {"accept", "review"}


def test_one_document_alone_gets_the_answer_that_it_gets_among_others(folder: Path) -> None:
    head, data = load(folder), clusters(40, seed=4)
    together = head.predict_proba(data.blocks())
    for row in range(0, 40, 7):
        alone = head.predict_proba(data.take(np.array([row])).blocks())
        assert alone[0] == pytest.approx(together[row], abs=1e-6)


def test_the_recipe_says_everything_and_survives_the_round_trip(folder: Path, described: Recipe) -> None:
    assert load(folder).recipe == described
    written = json.loads((folder / RECIPE_FILE).read_text())
    assert written["classes"][0] == {"slug": "letter", "name": "Letter"}
    assert written["shape"]["widths"] == {"image": 48, "text": 32}
    assert written["head_sha256"] == hashlib.sha256((folder / HEAD_FILE).read_bytes()).hexdigest()
    assert {"torch", "python"} <= set(written["origin"]["libraries"])
    assert written["recipe_sha256"] == described.sha256


def test_any_changed_byte_of_the_head_is_refused(folder: Path) -> None:
    path = folder / HEAD_FILE
    good = path.read_bytes()
    for place in (0, 9, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(WeightsError, match="SHA-256"):
            load(folder)
    path.write_bytes(good[:-10])
    with pytest.raises(WeightsError, match="SHA-256"):
        load(folder)


def test_a_changed_number_of_the_recipe_is_refused(folder: Path) -> None:
    path = folder / RECIPE_FILE
    written = json.loads(path.read_text())
    written["review"]["threshold"] /= 2
    path.write_text(json.dumps(written))
    with pytest.raises(WeightsError, match="hash that it names"):
        load(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"recipe_sha256": "x", "format": 3}'])
def test_what_is_no_recipe_is_refused(folder: Path, content: str) -> None:
    (folder / RECIPE_FILE).write_text(content)
    with pytest.raises(WeightsError, match="damaged"):
        load(folder)


def test_a_model_of_an_earlier_format_is_refused_and_it_is_said_what_to_do(folder: Path) -> None:
    written = json.loads((folder / RECIPE_FILE).read_text())
    (folder / RECIPE_FILE).write_text(json.dumps(written | {"format": 2}))
    with pytest.raises(WeightsError, match=r"of format 2.*dsdc train"):
        load(folder)


def test_a_missing_file_and_another_head_than_recorded_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="record names"):
        load(folder, head_sha256="0" * 64)
    (folder / HEAD_FILE).unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load(folder)


def test_tensors_of_another_shape_are_refused_though_their_hash_is_right(folder: Path, described: Recipe) -> None:
    tensors = load_file(folder / HEAD_FILE)
    tensors["members.0.out.bias"] = tensors["members.0.out.bias"][:-1].clone()
    weights = save(tensors)
    other = described.model_copy(update={"head_sha256": hashlib.sha256(weights).hexdigest()})
    (folder / HEAD_FILE).write_bytes(weights)
    (folder / RECIPE_FILE).write_bytes(other.to_json())
    with pytest.raises(WeightsError, match="not the head of its recipe"):
        load(folder)


def test_a_pickle_is_not_opened(folder: Path, described: Recipe) -> None:
    weights = b"cos\nsystem\n(S'touch opened'\ntR."
    other = described.model_copy(update={"head_sha256": hashlib.sha256(weights).hexdigest()})
    (folder / HEAD_FILE).write_bytes(weights)
    (folder / RECIPE_FILE).write_bytes(other.to_json())
    with pytest.raises(WeightsError, match="not the head of its recipe"):
        load(folder)
    assert not Path("opened").exists()


def test_saving_under_another_heads_recipe_is_refused(tmp_path: Path, fitted: Fitted, described: Recipe) -> None:
    with pytest.raises(WeightsError, match="another head"):
        save_head(tmp_path, fitted.run.head, described.model_copy(update={"head_sha256": "0" * 64}))
    assert not list(tmp_path.iterdir())


def test_vectors_of_another_width_are_refused(folder: Path) -> None:
    data = clusters(5, widths=(48, 31))
    with pytest.raises(ValueError, match="'text': 32"):
        load(folder).predict_proba(data.blocks())


def test_the_commit_of_a_folder_outside_git_is_unknown(tmp_path: Path) -> None:
    assert code_commit(tmp_path) == "unknown"
