from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsdc.processors.embed.library import import_open_clip
from dsdc.processors.embed.weights import WeightsStore
from dsdc.settings import Clip
from tests.projects import ROOT

NAME = "tiny-adapted-clip"
#: Of the three kinds of image towers: open_clip's transformer, timm's networks, and open_clip's ResNet.
TOWERS: dict[str, dict[str, Any]] = {
    "transformer": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "timm": {"image_size": [96, 72], "timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear"},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
}
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear"}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take ten times as long as one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(tower: str) -> dict[str, Any]:
    return {"embed_dim": 48, "vision_cfg": dict(TOWERS[tower]), "text_cfg": dict(TEXT)}


def make_model(tower: str, folder: Path) -> Path:
    """A folder with a model of random weights: what was never trained together has everything to learn."""
    import torch
    from safetensors.torch import save_file

    open_clip = import_open_clip()
    described = folder.parent / f"{folder.name}.json"
    described.write_text(json.dumps(config(tower)))
    open_clip.add_model_config(described)
    try:
        torch.manual_seed(0)
        model = open_clip.create_model(folder.name)
    finally:
        open_clip.factory._MODEL_CONFIG_PATHS.pop()
        open_clip.factory._MODEL_CONFIGS.pop(folder.name)
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config(tower), "preprocess_cfg": PREPROCESS})
    )
    return folder


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("towers")
    return {tower: make_model(tower, folder / f"tiny-{tower}") for tower in TOWERS}


@pytest.fixture
def own_models(project: Path) -> Path:
    """The project's models folder, apart from the checkout's, in which the tests must leave nothing."""
    WeightsStore(Clip(), ROOT / "models").fetch()
    clip = project / "models" / "clip"
    clip.unlink()
    shutil.copytree(ROOT / "models" / "clip" / "dsdc-lite", clip / "dsdc-lite")
    return project / "models"
