"""An adapted model as a folder of its own, which `clip.model: local-dir:…` loads like any other."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dsdc.errors import ModelError
from dsdc.log import get_logger
from dsdc.processors.contract import Vectors
from dsdc.processors.embed import hashing, runtime
from dsdc.processors.embed.library import import_open_clip
from dsdc.processors.embed.lite.build import CONFIG, WEIGHTS
from dsdc.processors.embed.runtime import Encoder
from dsdc.processors.embed.weights import LOCAL_DIR, SUFFIX, Weights, WeightsStore
from dsdc.storage import sync_folder

log = get_logger(__name__)
RECORD = "adaptation.json"
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
_SUFFIX = re.compile(r"-adapted-[0-9a-f]{8}$")


def export(encoder: Encoder, base: WeightsStore, record: Mapping[str, Any]) -> Weights:
    """Write the model in memory as `<models>/clip/<name>-adapted-<hash>`, at once or not at all.

    Equal weights are one folder: where it is there already, nothing is written.

    Args:
        base: the model that `encoder` was loaded from; its folder or open_clip's own list describes the architecture.
        record: what is written as `adaptation.json`, together with name and hash.

    Raises:
        ModelError: when the written model, loaded again, would not do what the one in memory does.
    """
    base.home.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=".adapted-", dir=base.home) as scratch:
        draft = Path(scratch) / "model"
        draft.mkdir()
        _describe(encoder, base, draft)
        sha256 = _save(encoder, draft / WEIGHTS)
        _check(encoder, Weights(draft / WEIGHTS, sha256, draft))
        target = base.home / f"{_stem(base)}-adapted-{sha256[:8]}"
        _dump(draft / RECORD, {"name": target.name, "weights_sha256": sha256, **record})
        if not _holds(target, sha256):
            _publish(draft, target, Path(scratch) / "damaged")
    log.info("adapt.exported", folder=str(target), sha256=sha256)
    return Weights(target / WEIGHTS, sha256, target)


def _stem(base: WeightsStore) -> str:
    """The base model's name as a folder's, without what an earlier adaptation appended."""
    name = base.folder.name if base.folder else f"{base.clip.model}-{base.label}"
    return _SUFFIX.sub("", re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-."))


def _describe(encoder: Encoder, base: WeightsStore, draft: Path) -> None:
    """Config and tokenizer: those of the base's folder, or what open_clip knows of a model that it lists by name."""
    if base.folder is not None:
        for file in base.folder.iterdir():
            if file.is_file() and file.suffix != SUFFIX and file.name != RECORD:
                shutil.copyfile(file, draft / file.name)
        return
    open_clip = import_open_clip()
    config = open_clip.get_model_config(base.clip.model)
    tag = open_clip.get_pretrained_cfg(base.clip.model, base.clip.pretrained) if base.clip.pretrained else {}
    if tag.get("quick_gelu"):
        config["quick_gelu"] = True
    preprocess = open_clip.get_model_preprocess_cfg(encoder.model)
    known = {key: preprocess[key] for key in _PREPROCESS if key in preprocess}
    _dump(draft / CONFIG, {"model_cfg": config, "preprocess_cfg": known})


def _save(encoder: Encoder, file: Path) -> str:
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in sorted(encoder.model.state_dict().items())}
    # One metadata key: with several, their order in the header is not fixed, and so not the hash.
    save_file(state, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors writes 0600, and services may run as another user
    return hashing.sha256(file)


def _check(encoder: Encoder, weights: Weights) -> None:
    """Load what was written and compare: a tokenizer or an activation that got lost would spoil every vector."""
    device: Literal["cuda", "cpu"] = "cuda" if encoder.device.type == "cuda" else "cpu"
    written = runtime.load(f"{LOCAL_DIR}{weights.folder}", "", weights, device)
    for what, here, there in zip(("text", "image"), _probe(encoder), _probe(written), strict=True):
        if here.shape != there.shape or float((here * there).sum()) < 0.999:
            raise ModelError(
                f"The adapted model, written to a folder and loaded again, encodes a {what} differently.",
                hint="Put the base model into a folder with config and tokenizer, and set clip.model to local-dir:….",
            )


def _probe(encoder: Encoder) -> tuple[Vectors, Vectors]:
    """Vectors of a text and of an image, `[1, width]` each."""
    window = encoder.windows(["Invoice No. 4711 of 3 May, total 1,250.00"], 1)[0]
    shades = np.add.outer(np.arange(encoder.fit.height), np.arange(encoder.fit.width)) % 256
    return encoder.texts(window), encoder.images([shades.astype(np.uint8)])


def _holds(folder: Path, sha256: str) -> bool:
    return (folder / WEIGHTS).is_file() and hashing.sha256(folder / WEIGHTS) == sha256


def _publish(draft: Path, target: Path, aside: Path) -> None:
    """Rename into place; what lies there under this name has other weights than its name says."""
    draft.chmod(0o755)
    sync_folder(draft)
    if target.exists():
        target.replace(aside)
    draft.replace(target)
    sync_folder(target.parent)


def _dump(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")
