"""Any open_clip model: a tiny one with random weights stands for those that a hub would have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsdc.errors import ModelError, WeightsError
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.embed.library import import_open_clip
from dsdc.settings import Clip

TINY = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "squash"}
LONG = " ".join(f"paragraph {n} of the contract" for n in range(40))
PAGE = Image.effect_noise((300, 400), 80)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `tiny.safetensors`; open_clip knows its architecture as `tiny-page-clip`."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny")
    open_clip = import_open_clip()
    (folder / "tiny-page-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-page-clip.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-page-clip")
    save_file(model.state_dict(), folder / "tiny.safetensors")
    yield folder
    open_clip.factory._MODEL_CONFIG_PATHS.pop()
    open_clip.factory._MODEL_CONFIGS.pop("tiny-page-clip")


def clip(tiny: Path, **changes: Any) -> Clip:
    given = {"model": "tiny-page-clip", "pretrained": str(tiny / "tiny.safetensors"), "device": "cpu"}
    return Clip(**(given | changes))


def test_sizes_come_from_the_model_and_vectors_are_open_clips(tiny: Path, tmp_path: Path) -> None:
    import torch

    embedder = OpenClipEmbedder(clip(tiny), tmp_path)
    encoder = embedder.load()
    assert (embedder.width, encoder.context, encoder.fit.height, encoder.fit.width) == (48, 20, 64, 64)
    open_clip = import_open_clip()
    model, _, _ = open_clip.create_model_and_transforms("tiny-page-clip", str(tiny / "tiny.safetensors"))
    tokens = open_clip.get_tokenizer("tiny-page-clip")(["a scanned page of a letter"])
    with torch.inference_mode():
        expected = model.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(embedder.texts(["a scanned page of a letter"]), expected, atol=1e-5)


def test_images_are_those_of_open_clips_longest_transform(tiny: Path, tmp_path: Path) -> None:
    import torch

    open_clip = import_open_clip()
    model = open_clip.create_model("tiny-page-clip", str(tiny / "tiny.safetensors"), force_preprocess_cfg=PREPROCESS)
    given = open_clip.get_model_preprocess_cfg(model) | {"resize_mode": "longest", "fill_color": 255}
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**given), is_train=False)
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(PAGE)[None], normalize=True).numpy()
    folder = local_dir(tiny, tmp_path)  # the way by which mean and std of one's own are said
    actual = OpenClipEmbedder(Clip(model=f"local-dir:{folder}", device="cpu"), tmp_path).images([PAGE])
    assert (actual * expected).sum() > 0.998


def test_long_texts_are_pooled_over_windows(tiny: Path, tmp_path: Path) -> None:
    embedder = OpenClipEmbedder(clip(tiny), tmp_path)
    encoder = embedder.load()
    windows = encoder.windows([LONG], 16)[0]
    assert len(windows) > 5
    rows = encoder.texts(windows)
    mean = (rows * [[window.weight] for window in windows]).sum(axis=0)
    np.testing.assert_allclose(embedder.texts([LONG])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_batches_do_not_matter(tiny: Path, tmp_path: Path) -> None:
    pages = [Image.effect_noise((300, 200 + 50 * n), 80) for n in range(7)]
    large, small = (OpenClipEmbedder(clip(tiny, batch=n), tmp_path) for n in (32, 2))
    np.testing.assert_allclose(large.images(pages), small.images(pages), atol=1e-5)


def test_a_local_dir_works_and_moving_it_changes_no_record(tiny: Path, tmp_path: Path) -> None:
    folder = local_dir(tiny, tmp_path)
    first = OpenClipEmbedder(Clip(model=f"local-dir:{folder}", device="cpu"), tmp_path / "models")
    vectors, made_by = first.texts(["a memo"]), first.params_hash
    folder = folder.rename(tmp_path / "elsewhere").rename(tmp_path / "deeper")
    (tmp_path / "new").mkdir()
    moved = folder.rename(tmp_path / "new" / "page-clip")
    again = OpenClipEmbedder(Clip(model=f"local-dir:{moved}", device="cpu"), tmp_path / "models")
    np.testing.assert_array_equal(again.texts(["a memo"]), vectors)
    assert again.params_hash == made_by


def test_weights_of_another_model_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="fits another model"):
        OpenClipEmbedder(clip(tiny, model="ViT-B-32"), tmp_path).load()


def test_garbage_is_refused(tiny: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not a model" * 100)
    with pytest.raises(WeightsError, match="damaged"):
        OpenClipEmbedder(clip(tiny, pretrained=str(garbage)), tmp_path).load()


def test_cuda_that_is_not_there_is_said(tiny: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelError, match=r"clip\.device"):
        OpenClipEmbedder(clip(tiny, device="cuda"), tmp_path).load()


def local_dir(tiny: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "page-clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": PREPROCESS}))
    (folder / "open_clip_model.safetensors").write_bytes((tiny / "tiny.safetensors").read_bytes())
    return folder
