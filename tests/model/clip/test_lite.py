"""dsdc-lite as it is shipped: the same bytes each time, no network, and the two encoders that it says it is."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsdc.errors import WeightsError
from dsdc.processors.embed import hashing
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.embed.lite import build as lite
from dsdc.processors.embed.lite import towers
from dsdc.processors.embed.weights import WeightsStore
from dsdc.settings import Clip

LONG = " ".join(f"Item {n}: {n * 37} units of paper at {n}.50 each, delivered to the warehouse." for n in range(20))
TEXTS = ["Dear Mr. Smith, thank you for your letter.", LONG, "Total due 1,234.50", "$", LONG[:400]]


def page(seed: int) -> Image.Image:
    image = Image.new("L", (850, 1100), 255)
    draw, random = ImageDraw.Draw(image), np.random.default_rng(seed)
    for x, y, width in random.integers((40, 40, 50), (500, 1050, 300), size=(40, 3)):
        draw.rectangle((x, y, x + width, y + 8), fill=int(random.integers(0, 120)))
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
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer

    short = [text for text in TEXTS if text != LONG and len(text) < 300]
    reference = SentenceTransformer(str(towers.TEXT.file().parent), device="cpu").encode(short)
    joint = load_file(lite.PROJECTION)["text.weight"].float().numpy()
    assert (cosines(reference @ joint.T, embedder.texts(short)) > 0.9999).all()


def test_the_image_tower_is_efficientnet_lite0_behind_open_clips_own_transform(
    embedder: OpenClipEmbedder, models_dir: Path
) -> None:
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
