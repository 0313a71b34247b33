"""Any image tower: its output layer is found, trained and written; what is not to learn stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dsdc.errors import ModelError, SettingsError
from dsdc.ml.adapt.export import RECORD, export
from dsdc.ml.adapt.images import FeatureSide, ImageSide, PixelSide
from dsdc.ml.adapt.loop import Adapted, adapt
from dsdc.ml.adapt.params import AdaptParams
from dsdc.ml.adapt.parts import Parts
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.embed.weights import Weights, WeightsStore
from dsdc.settings import Clip
from tests.model.adapt.pages import Page, page

PAGES = [page(number) for number in range(240)]
PARTS = Parts(np.arange(0, 160), np.arange(160, 200), np.arange(200, 240))
QUICK = AdaptParams(epochs=30, batch=32, learning_rate=0.02, weight_decay=0.01, dropout=0.05, patience=6, seed=3)


def clip(folder: Path) -> Clip:
    return Clip(model=f"local-dir:{folder}", device="cpu")


def train(
    folder: Path, scratch: Path, params: AdaptParams = QUICK, pages: list[Page] = PAGES, parts: Parts = PARTS
) -> tuple[OpenClipEmbedder, Adapted]:
    embedder = OpenClipEmbedder(clip(folder), scratch / "models")
    encoder = embedder.load()
    side: ImageSide = FeatureSide(encoder, params.dropout)
    if params.blocks:
        side = PixelSide(encoder, params.blocks, scratch / f"{folder.name}.npy", len(pages))
    for at in range(0, len(pages), 16):
        side.add([encoder.fit(page.image) for page in pages[at : at + 16]])
    texts = torch.from_numpy(embedder.texts([page.text for page in pages]))
    return embedder, adapt(side, texts, encoder.model.logit_scale, parts, params)


def changed(before: Path, after: Path) -> set[str]:
    old, new = load_file(next(before.glob("*.safetensors"))), load_file(after)
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def exported(embedder: OpenClipEmbedder, folder: Path, scratch: Path) -> Weights:
    return export(embedder.load(), WeightsStore(clip(folder), scratch / "models"), {"seed": 3})


@pytest.mark.parametrize(
    ("tower", "layer"),
    [("transformer", {"visual.proj"}), ("timm", {"visual.head.proj.weight"})],
)
def test_the_output_layer_learns_and_nothing_else(
    towers: dict[str, Path], tmp_path: Path, tower: str, layer: set[str]
) -> None:
    embedder, found = train(towers[tower], tmp_path)
    assert found.best > 0
    assert found.after.better_than(found.before)
    assert found.after.reciprocal_rank > found.before.reciprocal_rank + 0.1
    assert found.after.loss < found.before.loss
    written = exported(embedder, towers[tower], tmp_path)
    assert changed(towers[tower], written.file) == layer | {"logit_scale"}


@pytest.mark.parametrize("tower", ["transformer", "timm"])
def test_the_last_block_learns_too_if_it_is_told_to(towers: dict[str, Path], tmp_path: Path, tower: str) -> None:
    embedder, found = train(towers[tower], tmp_path, QUICK.overridden({"blocks": 1, "epochs": 6}))
    assert found.after.better_than(found.before)
    names = changed(towers[tower], exported(embedder, towers[tower], tmp_path).file)
    last = {"transformer": "visual.transformer.resblocks.1.", "timm": "visual.trunk.conv_head."}[tower]
    assert any(name.startswith(last) for name in names)
    frozen = {"transformer": "visual.transformer.resblocks.0.", "timm": "visual.trunk.conv_stem."}[tower]
    assert not any(name.startswith((frozen, "transformer.", "text.", "token_embedding")) for name in names)
    assert not any("running_" in name for name in names), "statistics of batches are not those of single pages"


def test_towers_without_such_parts_are_refused_with_the_way_out(towers: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--blocks 1"):
        train(towers["resnet"], tmp_path)
    with pytest.raises(ModelError, match="--blocks 0"):
        train(towers["resnet"], tmp_path, QUICK.overridden({"blocks": 1}))


def test_one_seed_gives_one_model_and_another_seed_another(towers: dict[str, Path], tmp_path: Path) -> None:
    hashes = []
    for seed in (3, 3, 4):
        embedder, _ = train(towers["transformer"], tmp_path, QUICK.overridden({"seed": seed, "epochs": 3}))
        hashes.append(exported(embedder, towers["transformer"], tmp_path).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_it_stops_when_nothing_is_gained_and_keeps_the_best_epoch(towers: dict[str, Path], tmp_path: Path) -> None:
    _, found = train(towers["transformer"], tmp_path, QUICK.overridden({"epochs": 200, "patience": 2, "dropout": 0}))
    losses = [epoch.valid_loss for epoch in found.epochs]
    assert len(losses) < 201
    assert found.best == int(np.argmin(losses)) == len(losses) - 3


def test_what_cannot_be_learnt_is_no_gain(towers: dict[str, Path], tmp_path: Path) -> None:
    """Each page got the text of another one. A lower loss is no proof: a higher temperature alone brings it."""
    order = np.random.default_rng(0).permutation(len(PAGES))
    shuffled = [Page(PAGES[other].text, page.image) for page, other in zip(PAGES, order, strict=True)]
    _, found = train(towers["transformer"], tmp_path, QUICK, shuffled)
    assert found.after.loss < found.before.loss
    assert not found.after.better_than(found.before)


def test_where_no_epoch_is_better_the_model_stays_as_it_was(towers: dict[str, Path], tmp_path: Path) -> None:
    good = exported(train(towers["transformer"], tmp_path)[0], towers["transformer"], tmp_path)
    assert good.folder is not None
    wild = QUICK.overridden({"learning_rate": 1.0, "epochs": 2, "weight_decay": 0})
    embedder, found = train(good.folder, tmp_path, wild)
    assert found.best == 0
    assert found.after.as_dict() == found.before.as_dict()
    assert exported(embedder, good.folder, tmp_path) == good


def test_the_folder_is_a_model_like_any_other(towers: dict[str, Path], tmp_path: Path) -> None:
    embedder, _ = train(towers["timm"], tmp_path)
    written = exported(embedder, towers["timm"], tmp_path)
    assert written.folder == tmp_path / "models" / "clip" / f"tiny-timm-adapted-{written.sha256[:8]}"
    record = json.loads((written.folder / RECORD).read_text())
    assert record == {"name": written.folder.name, "weights_sha256": written.sha256, "seed": 3}
    loaded = OpenClipEmbedder(clip(written.folder), tmp_path / "models")
    assert loaded.weights_sha256 == written.sha256
    np.testing.assert_allclose(loaded.images([PAGES[0].image]), embedder.images([PAGES[0].image]), atol=1e-5)
    base = OpenClipEmbedder(clip(towers["timm"]), tmp_path / "models")
    np.testing.assert_array_equal(loaded.texts([PAGES[0].text]), base.texts([PAGES[0].text]))
    assert loaded.params_hash != base.params_hash
    assert [path.name for path in written.folder.parent.iterdir() if path.name.startswith(".adapt")] == []


def test_a_second_adaptation_is_named_after_the_first_model(towers: dict[str, Path], tmp_path: Path) -> None:
    begun = train(towers["timm"], tmp_path, QUICK.overridden({"epochs": 1}))[0]
    first = exported(begun, towers["timm"], tmp_path)
    assert first.folder is not None
    second = exported(train(first.folder, tmp_path)[0], first.folder, tmp_path)
    assert second.folder is not None
    assert second.folder.name == f"tiny-timm-adapted-{second.sha256[:8]}"
    assert second.sha256 != first.sha256


def test_what_is_there_is_not_written_again_but_damage_is_mended(towers: dict[str, Path], tmp_path: Path) -> None:
    embedder, _ = train(towers["timm"], tmp_path)
    written = exported(embedder, towers["timm"], tmp_path)
    inode = written.file.stat().st_ino
    assert exported(embedder, towers["timm"], tmp_path).file.stat().st_ino == inode
    written.file.write_bytes(b"half a mod")
    assert exported(embedder, towers["timm"], tmp_path) == written
    assert changed(towers["timm"], written.file)


def test_dsdc_lite_takes_its_tokenizer_along(own_models: Path, tmp_path: Path) -> None:
    base = WeightsStore(Clip(device="cpu"), own_models)
    embedder = OpenClipEmbedder(base.clip, own_models)
    encoder = embedder.load()
    side = FeatureSide(encoder, 0.0)
    side.add([encoder.fit(page.image) for page in PAGES[:4]])
    with torch.no_grad():
        encoder.model.visual.head.proj.weight.mul_(1.5).add_(0.01)
    written = export(encoder, base, {})
    assert written.folder is not None
    assert written.folder.name.startswith("dsdc-lite-adapted-")
    loaded = OpenClipEmbedder(clip(written.folder), own_models)
    np.testing.assert_allclose(loaded.images([PAGES[5].image]), embedder.images([PAGES[5].image]), atol=1e-5)


def test_a_model_known_by_name_becomes_a_folder(towers: dict[str, Path], tmp_path: Path) -> None:
    weights = next(towers["transformer"].glob("*.safetensors"))
    described = tmp_path / "named-page-clip.json"
    described.write_text(
        json.dumps(json.loads((towers["transformer"] / "open_clip_config.json").read_text())["model_cfg"])
    )
    from dsdc.processors.embed.library import import_open_clip

    open_clip = import_open_clip()
    open_clip.add_model_config(described)
    try:
        given = Clip(model="named-page-clip", pretrained=str(weights), device="cpu")
        embedder = OpenClipEmbedder(given, tmp_path / "models")
        written = export(embedder.load(), WeightsStore(given, tmp_path / "models"), {})
    finally:
        open_clip.factory._MODEL_CONFIG_PATHS.pop()
        open_clip.factory._MODEL_CONFIGS.pop("named-page-clip")
    assert written.folder is not None
    loaded = OpenClipEmbedder(clip(written.folder), tmp_path / "models")
    np.testing.assert_allclose(loaded.images([PAGES[0].image]), embedder.images([PAGES[0].image]), atol=1e-5)


def test_nonsense_is_named() -> None:
    with pytest.raises(SettingsError, match=r"batch: .*colour: "):
        AdaptParams().overridden({"batch": 1, "colour": "red"})
