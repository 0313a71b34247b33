"""dsdc-lite as it is shipped: the same bytes each time, no network, and the two encoders that it says it is."""

from __future__ import annotations

import copy
import io
import random
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsdc.errors import WeightsError
from dsdc.processors.embed import hashing
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.embed.lite import build as lite
from dsdc.processors.embed.lite import recipe, towers
from dsdc.processors.embed.lite.hadamard import orthonormal
from dsdc.processors.embed.weights import WeightsStore
from dsdc.samples.generate import render_pages
from dsdc.samples.model import LABELS
from dsdc.settings import Clip

LONG = " ".join(f"Item {n}: {n * 37} units of paper at {n}.50 each, delivered to the warehouse." for n in range(20))
TEXTS = ["Dear Mr. Smith, thank you for your letter.", LONG, "Total due 1,234.50", "$", LONG[:400]]


def page(seed: int) -> Image.Image:
    image = Image.new("L", (850, 1100), 255)
    draw, drawn = ImageDraw.Draw(image), np.random.default_rng(seed)
    for x, y, width in drawn.integers((40, 40, 50), (500, 1050, 300), size=(40, 3)):
        draw.rectangle((x, y, x + width, y + 8), fill=int(drawn.integers(0, 120)))
    return image


@pytest.fixture(scope="module")
def embedder(models_dir: Path) -> OpenClipEmbedder:
    return OpenClipEmbedder(Clip(device="cpu"), models_dir)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_rows_are_unit_vectors_of_the_models_width(embedder: OpenClipEmbedder) -> None:
    for rows, count in ((embedder.images([page(1), page(2), page(3)]), 3), (embedder.texts(TEXTS), len(TEXTS))):
        assert rows.shape == (count, embedder.width)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert embedder.images([]).shape == embedder.texts([]).shape == (0, embedder.width)


def test_the_same_input_gives_the_same_vector_whatever_else_is_in_the_batch(
    embedder: OpenClipEmbedder, models_dir: Path
) -> None:
    single = OpenClipEmbedder(Clip(device="cpu", batch=1), models_dir)
    pages = [page(n) for n in range(3)]
    images, texts = embedder.images(pages), embedder.texts(TEXTS)
    np.testing.assert_array_equal(images, embedder.images(pages))
    np.testing.assert_array_equal(texts, embedder.texts(TEXTS))
    np.testing.assert_allclose(images, single.images(pages), atol=1e-5)
    np.testing.assert_allclose(texts, single.texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(texts, embedder.texts(TEXTS[::-1])[::-1], atol=1e-5)


def test_all_of_a_long_text_counts_up_to_the_limit_of_windows(embedder: OpenClipEmbedder, models_dir: Path) -> None:
    end = LONG + " This page is a curriculum vitae." * 20
    assert cosines(embedder.texts([LONG]), embedder.texts([end]))[0] < 0.99
    one = OpenClipEmbedder(Clip(device="cpu", max_text_windows=1), models_dir)
    np.testing.assert_allclose(*one.texts([LONG, end]), atol=1e-5)


def test_an_empty_text_is_the_callers_mistake(embedder: OpenClipEmbedder) -> None:
    with pytest.raises(ValueError, match="leave it out"):
        embedder.texts(["something", " \n"])


def test_the_text_tower_is_minilm(embedder: OpenClipEmbedder) -> None:
    """Against sentence-transformers, which reads the same weights by its own code."""
    from sentence_transformers import SentenceTransformer

    short = [text for text in TEXTS if text != LONG and len(text) < 300]
    reference = SentenceTransformer(str(towers.TEXT.file().parent), device="cpu").encode(short)
    joint = orthonormal(lite.WIDTH, reference.shape[1])
    np.testing.assert_array_equal(joint.T @ joint, np.eye(reference.shape[1]))
    assert (cosines(reference @ joint.T, embedder.texts(short)) > 0.9999).all()


def test_open_clips_own_transform_gives_the_same_vectors(embedder: OpenClipEmbedder, models_dir: Path) -> None:
    """A plain encode with open_clip's transform, with no code of the embedder but the stub."""
    import open_clip
    import torch

    source = f"local-dir:{models_dir / 'clip' / lite.NAME}"
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(embedder.load().model)), is_train=False
    )
    assert "longest=1.000" in str(transform), source
    pages = [page(n) for n in range(2)]
    with torch.inference_mode():
        expected = embedder.load().model.encode_image(torch.stack([transform(p) for p in pages])).numpy()
    assert (cosines(expected, embedder.images(pages)) > 0.995).all()


def test_the_image_tower_reads_efficientnet_lite0_at_several_depths(embedder: OpenClipEmbedder) -> None:
    """Against the maps that timm's own network gives, pooled cell by cell in NumPy."""
    import timm
    import torch
    from safetensors.numpy import load_file

    from dsdc.processors.embed.lite.pyramid import TAPS, WIDTH

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict(towers.image_tower())
    encoder = embedder.load()
    pixels = torch.from_numpy(encoder.fit(page(1)).copy()).float()[None, None].expand(1, 3, -1, -1) / 127.5 - 1
    with torch.inference_mode():
        top, maps = network.forward_intermediates(pixels, extra_blocks=True)
    numbers = load_file(lite.PROJECTION)
    parts = []
    for name, tap in TAPS.items():
        grid = (top if tap.stage == 7 else maps[tap.stage + 1])[0].double().numpy()
        rows = [
            half for row in np.array_split(grid, tap.grid[0], axis=1) for half in np.array_split(row, tap.grid[1], 2)
        ]
        cells = [cell.std((1, 2)) if tap.statistic == "deviation" else cell.mean((1, 2)) for cell in rows]
        read = numbers[f"{name}.directions"].astype(float) @ np.stack(cells, axis=1)
        parts.append(read.ravel() - numbers[f"{name}.offset"].astype(float))
    expected = np.concatenate(parts)
    assert expected.shape == (WIDTH,) == (lite.WIDTH,)
    np.testing.assert_allclose(embedder.images([page(1)])[0], expected / np.linalg.norm(expected), atol=1e-4)


def test_where_things_stand_on_a_page_tells_pages_apart(embedder: OpenClipEmbedder) -> None:
    """The same lines, on the upper half and on the lower one; a coarse JPEG of the page changes little."""
    top, bottom = (Image.new("L", (850, 1100), 255) for _ in range(2))
    lines = page(4).crop((0, 0, 850, 500))
    top.paste(lines, (0, 40))
    bottom.paste(lines, (0, 560))
    top.save(file := io.BytesIO(), "JPEG", quality=40)
    above, coarse, below = embedder.images([top, Image.open(file), bottom])
    assert above @ coarse > 0.98
    assert above @ below < 0.9


def test_pages_of_different_kinds_point_in_different_directions(embedder: OpenClipEmbedder) -> None:
    """The mean of pages is taken off, and every tap counts: none is lost beside the others."""
    from dsdc.processors.embed.lite.pyramid import TAPS

    rows = embedder.images([render_pages(label, random.Random(f"{label} test"))[0][0] for label in LABELS])
    cosines_between = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert abs(cosines_between.mean()) < 0.3
    ends = np.cumsum([tap.width for tap in TAPS.values()])
    shares = [float((part**2).sum()) / len(rows) for part in np.split(rows, ends[:-1], axis=1)]
    assert min(shares) > 0.3 / len(TAPS), dict(zip(TAPS, shares, strict=True))


def test_a_grey_page_is_the_same_in_colour(embedder: OpenClipEmbedder) -> None:
    grey, coloured = embedder.images([page(1)]), embedder.images([page(1).convert("RGB")])
    np.testing.assert_allclose(grey, coloured, atol=1e-5)


def test_last_blocks_can_be_trained_alone_even_on_a_blank_page(embedder: OpenClipEmbedder) -> None:
    import torch

    visual = copy.deepcopy(embedder.load().model.visual).requires_grad_(True)
    visual.lock(unlocked_groups=1)
    learning = {name for name, parameter in visual.named_parameters() if parameter.requires_grad}
    assert "head.proj.weight" in learning
    assert "trunk.conv_head.weight" in learning
    assert not any(name.startswith(("trunk.conv_stem", "trunk.blocks.0", "trunk.blocks.5")) for name in learning)
    visual(torch.ones(1, 3, 512, 384)).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in visual.parameters() if p.requires_grad)


def test_half_precision_as_on_a_gpu_changes_little(embedder: OpenClipEmbedder) -> None:
    import torch

    visual = embedder.load().model.visual
    batch = torch.from_numpy(embedder.load().fit(page(2)).copy()).float()[None, None].expand(1, 3, -1, -1) / 127.5 - 1
    with torch.inference_mode():
        exact = visual(batch).numpy()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = visual(batch).float().numpy()
    assert (cosines(exact, rough) > 0.995).all()


def test_the_recipe_finds_the_directions_in_which_pages_differ() -> None:
    from dsdc.processors.embed.lite.pyramid import Tap

    drawn = np.random.default_rng(0)
    strength = np.array([0.1, 3.0, 0.1, 1.0, 0.1])
    pooled = 7 + drawn.normal(size=(500, 5, 4)) * strength[:, None]
    tap = Tap(stage=0, channels=5, kept=2, grid=(2, 2))
    found = recipe.numbers(tap, pooled)
    assert np.abs(found["directions"]).argmax(axis=1).tolist() == [1, 3]
    assert (found["directions"].max(axis=1) > 0).all()
    read = (found["directions"].astype(float) @ pooled).reshape(500, tap.width) - found["offset"].astype(float)
    assert np.abs(read.mean(axis=0)).max() < 0.02
    assert (read**2).sum(axis=1).mean() == pytest.approx(1, rel=0.02)


def test_the_recipe_writes_what_the_model_loads(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for number, label in enumerate(LABELS[:3]):
        render_pages(label, random.Random(number))[0][0].save(tmp_path / f"{label}.png")
    recipe.write_projection(tmp_path, tmp_path / "own.safetensors")
    own, tracked = load_file(tmp_path / "own.safetensors"), load_file(lite.PROJECTION)
    assert {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in tracked.items()}
    assert all(value.dtype == np.float16 and np.isfinite(value).all() for value in (own | tracked).values())


def test_efficientnet_recognises_a_photograph() -> None:
    """The names of 290 tensors are mapped by hand; had two been confused, ImageNet's classes would not come out."""
    import timm
    import torch
    from sklearn.datasets import load_sample_images

    raw = torch.load(towers.IMAGE.file(), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    classifier = {"classifier.weight": raw["_fc.weight"], "classifier.bias": raw["_fc.bias"]}
    model.load_state_dict(towers.image_tower() | classifier)
    china = Image.fromarray(load_sample_images().images[0]).resize((336, 224)).crop((56, 0, 280, 224))
    pixels = torch.from_numpy(np.asarray(china, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.inference_mode():
        top = model(pixels).topk(3).indices[0].tolist()
    palace, monastery, bell_cote = 698, 663, 442
    assert set(top) == {palace, monastery, bell_cote}


def test_building_gives_the_pinned_bytes_and_again_builds_nothing(tmp_path: Path) -> None:
    store = WeightsStore(Clip(), tmp_path)
    first = store.fetch()
    assert first.sha256 == lite.SHA256 == hashing.sha256(first.file)
    written = first.file.stat().st_mtime_ns
    assert store.fetch() == first
    assert first.file.stat().st_mtime_ns == written
    assert first.file.stat().st_mode & 0o044 == 0o044  # services may run as another user


def test_damage_is_refused_and_fetch_mends_it(tmp_path: Path) -> None:
    store = WeightsStore(Clip(), tmp_path)
    file = store.fetch().file
    with file.open("r+b") as stream:
        stream.seek(50_000_000)
        stream.write(b"\x00\x01\x02\x03")
    with pytest.raises(WeightsError, match="dsdc clip fetch"):
        OpenClipEmbedder(Clip(), tmp_path).load()
    assert store.fetch().sha256 == lite.SHA256
    (file.parent / "config.json").unlink()
    with pytest.raises(WeightsError, match="dsdc clip fetch"):
        store.verified()
    store.fetch()
    config = file.parent / lite.CONFIG
    config.write_text(config.read_text().replace("512,", "384,"))  # as another version would have written it
    with pytest.raises(WeightsError, match="dsdc clip fetch"):
        store.verified()
    store.fetch()
    assert OpenClipEmbedder(Clip(device="cpu"), tmp_path).texts(["mended"]).shape[0] == 1


def test_no_network_is_asked(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*args: object, **_: object) -> None:
        asked.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    embedder = OpenClipEmbedder(Clip(device="cpu"), models_dir)
    embedder.images([page(1)])
    embedder.texts([LONG])
    assert asked == []


def test_records_name_what_made_a_vector_without_loading_the_model(models_dir: Path) -> None:
    fresh = OpenClipEmbedder(Clip(), models_dir)
    params = dict(fresh.params)
    assert params["weights_sha256"] == lite.SHA256
    assert params["model"] == "dsdc-lite"
    assert params["open_clip"].startswith("3.")
    assert fresh._encoder is None
    assert OpenClipEmbedder(Clip(batch=3), models_dir).params_hash == fresh.params_hash
    assert OpenClipEmbedder(Clip(max_text_windows=3), models_dir).params_hash != fresh.params_hash
