from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dsdc.errors import WeightsError
from dsdc.processors.embed import hashing
from dsdc.processors.embed.weights import WeightsStore
from dsdc.settings import Clip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"first weights")
    return file


def store(tmp_path: Path, checkpoint: Path, sha256: str = "") -> WeightsStore:
    return WeightsStore(Clip(model="ViT-B-32", pretrained=str(checkpoint), sha256=sha256), tmp_path / "models")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_first_use_pins_and_a_change_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    mine = store(tmp_path, checkpoint)
    assert mine.verified().sha256 == digest(checkpoint)
    assert hashing.read_json(mine.pin_file)["sha256"] == digest(checkpoint)
    checkpoint.write_bytes(b"quite other weights")  # of another length: the time of the file may be the same
    for use in (mine.verified, mine.known, mine.fetch):
        with pytest.raises(WeightsError, match="corrupt or was exchanged") as refused:
            use()
        assert str(mine.pin_file) in (refused.value.hint or "")


def test_reading_records_alone_pins_nothing(tmp_path: Path, checkpoint: Path) -> None:
    mine = store(tmp_path, checkpoint)
    mine.known()
    assert not mine.pin_file.exists()


def test_the_settings_pin_wins(tmp_path: Path, checkpoint: Path) -> None:
    assert store(tmp_path, checkpoint, digest(checkpoint)).verified().file == checkpoint
    with pytest.raises(WeightsError, match=r"clip\.sha256"):
        store(tmp_path, checkpoint, "0" * 64).verified()


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin"])
def test_pickles_are_refused_unread(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x80\x04")
    with pytest.raises(WeightsError, match="never loaded"):
        store(tmp_path, file).verified()


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="dsdc clip fetch"):
        WeightsStore(Clip(), tmp_path).verified()
    with pytest.raises(WeightsError, match="dsdc clip fetch"):
        WeightsStore(Clip(model="ViT-B-32", pretrained="openai"), tmp_path).known()
    with pytest.raises(WeightsError, match=r"clip\.pretrained is empty"):
        WeightsStore(Clip(model="ViT-B-32"), tmp_path).known()
    with pytest.raises(WeightsError, match="Correct the path"):
        store(tmp_path, tmp_path / "gone.safetensors").known()
    with pytest.raises(WeightsError, match="local-dir:"):
        WeightsStore(Clip(model="hf-hub:org/model"), tmp_path).known()


def test_an_unknown_model_or_tag_is_refused_with_the_choice(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="knows no model"):
        WeightsStore(Clip(model="ViT-Z-9", pretrained="openai"), tmp_path).fetch()
    with pytest.raises(WeightsError, match="laion2b_s34b_b79k"):
        WeightsStore(Clip(model="ViT-B-32", pretrained="nobody"), tmp_path).fetch()


def test_a_relative_checkpoint_is_sought_in_the_project(tmp_path: Path, checkpoint: Path) -> None:
    mine = WeightsStore(Clip(model="ViT-B-32", pretrained="./mine.safetensors"), tmp_path / "models")
    assert mine.known().file.samefile(checkpoint)
    assert mine.label == "mine.safetensors"


def test_the_hash_cache_follows_the_file(tmp_path: Path, checkpoint: Path) -> None:
    cache = tmp_path / "hashes.json"
    assert hashing.cached_sha256(checkpoint, cache) == digest(checkpoint)
    # What the cache says is believed, which is its purpose …
    key = next(iter(hashing.read_json(cache)))
    hashing.write_json(cache, {key: "cached"})
    assert hashing.cached_sha256(checkpoint, cache) == "cached"
    # … until the file's time or size is another.
    os.utime(checkpoint, ns=(1, 1))
    assert hashing.cached_sha256(checkpoint, cache) == digest(checkpoint)
    cache.write_text("no json")
    assert hashing.cached_sha256(checkpoint, cache) == digest(checkpoint)
