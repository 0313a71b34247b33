"""Builds `dsdc-lite`: config, tokenizer and one safetensors checkpoint, the same bytes every time."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsdc.errors import WeightsError
from dsdc.log import get_logger
from dsdc.processors.embed import hashing
from dsdc.processors.embed.lite import towers
from dsdc.processors.embed.lite.hadamard import orthonormal

if TYPE_CHECKING:
    from torch import Tensor

log = get_logger(__name__)
NAME = "dsdc-lite"
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
#: Of the checkpoint; `python -m dsdc.processors.embed.lite.recipe` prints the new one when the recipe changes.
SHA256 = "db44f81b25e4763d9c1a0224355f7c285b63826c58b3d6e25b75b7031a04e038"
PROJECTION = Path(__file__).with_name("projection.safetensors")
#: Of the joint space, as the image tower gives it; a power of 4 (`hadamard`).
WIDTH = 1024

#: MiniLM-L6's architecture; transformers reads it from `config.json` beside the weights.
BERT: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "pad_token_id": 0,
}
TOKENIZER: dict[str, Any] = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    "model_max_length": 512,
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
OPEN_CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": "dsdc_page_pyramid",  # registered by `pyramid.py`
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            # Height x width: the shape of a page, and enough pixels to tell a table from running text.
            "image_size": [512, 384],
        },
        "text_cfg": {
            # "." is the model's own folder, for the weights as for the tokenizer.
            "hf_model_name": ".",
            "hf_tokenizer_name": ".",
            "hf_model_pretrained": False,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
            "context_length": 128,  # MiniLM was trained on 128 tokens; longer windows are foreign to it
            "vocab_size": 30522,
            "width": 384,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": 255,
    },
}
_DOCUMENTS = {"config.json": BERT, "tokenizer_config.json": TOKENIZER, CONFIG: OPEN_CLIP}
_FILES = (*_DOCUMENTS, "tokenizer.json", WEIGHTS)


def complete(folder: Path) -> bool:
    """Whether every file is there and the small ones say what this version writes (the weights go by hash)."""
    if not all((folder / name).is_file() for name in _FILES):
        return False
    same = all((folder / name).read_text() == _dump(content) for name, content in _DOCUMENTS.items())
    return same and hashing.sha256(folder / "tokenizer.json") == towers.TOKENIZER.sha256


def build(folder: Path) -> Path:
    """Write the model into `folder`, replacing what is there at once. Returns the weights file.

    Raises:
        WeightsError: when a package is missing, or the bytes do not come out as pinned.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=folder.parent) as scratch:
        draft = Path(scratch) / NAME
        draft.mkdir()
        actual = write(draft, PROJECTION)
        if actual != SHA256:
            raise WeightsError(
                f"{NAME} came out with SHA-256 {actual}, expected {SHA256}.",
                hint="Install the package versions of the constraints file and run `dsdc clip fetch` again.",
            )
        if folder.exists():
            folder.replace(Path(scratch) / "old")
        draft.replace(folder)
    folder.chmod(0o755)
    log.info("embed.lite_built", folder=str(folder), sha256=actual)
    return folder / WEIGHTS


def write(folder: Path, projection: Path) -> str:
    """Write all files of the model, with the numbers of `projection`. Returns the checkpoint's SHA-256."""
    from safetensors.torch import save_file

    for name, content in _DOCUMENTS.items():
        (folder / name).write_text(_dump(content))
    shutil.copyfile(towers.TOKENIZER.file(), folder / "tokenizer.json")
    # One metadata key: with several, their order in the header is not fixed, and so not the hash.
    save_file(state_dict(projection), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes 0600, and services may run as another user
    return hashing.sha256(folder / WEIGHTS)


def state_dict(projection: Path) -> dict[str, Tensor]:
    """The whole model in open_clip's names, float32."""
    import torch
    from safetensors.torch import load_file

    state = {f"visual.trunk.{name}": value for name, value in towers.image_tower().items()}
    state |= {f"visual.trunk.taps.{name}": value.float() for name, value in load_file(projection).items()}
    state |= {f"text.transformer.{name}": value for name, value in towers.text_tower().items()}
    # exp(3) = 20: cosines of this model are spread about this much less than CLIP's, whose scale is 100.
    state |= {
        # The image tower's features are the joint space; there is a layer all the same, for training on pairs.
        "visual.head.proj.weight": torch.eye(WIDTH),
        "text.proj.weight": torch.from_numpy(orthonormal(WIDTH, BERT["hidden_size"])),
        "logit_scale": torch.tensor(3.0),
    }
    return {name: value.contiguous() for name, value in sorted(state.items())}


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
