"""An open_clip model in memory: loaded from verified weights, its sizes read from itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dsdc.errors import ModelError, WeightsError
from dsdc.processors.contract import Vectors
from dsdc.processors.embed.library import import_open_clip
from dsdc.processors.embed.lite import build as lite
from dsdc.processors.embed.preprocess import PageFit, Pixels, stack
from dsdc.processors.embed.weights import Weights
from dsdc.processors.embed.windows import Window, Windower, windower

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Encoder:
    """A model ready to encode; every size comes from the model."""

    model: Any
    device: torch.device
    fit: PageFit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    windows: Windower
    context: int
    #: Text towers from transformers mask their padding, so that it can end at the longest window of the batch.
    masks_padding: bool
    width: int
    sha256: str

    def images(self, pages: Sequence[Pixels]) -> Vectors:
        """`[n, width]`, each row of length 1."""
        import torch

        with torch.inference_mode(), self._precision():
            return _unit(self.model.encode_image(self.as_input(stack(pages))))

    def as_input(self, pixels: Pixels) -> torch.Tensor:
        """`[n, 1 or 3, height, width]` bytes to what the image tower takes, on the model's device."""
        import torch

        batch = torch.from_numpy(pixels).to(self.device, non_blocking=True).float()
        mean = torch.tensor(self.mean, device=self.device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=self.device).view(1, -1, 1, 1) * 255
        # Subtracting a mean for each channel turns one grey channel into three.
        return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)

    def texts(self, windows: Sequence[Window]) -> Vectors:
        """`[n, width]`, each row of length 1; one row a window."""
        import torch

        length = max(len(window.ids) for window in windows) if self.masks_padding else self.context
        ids = np.full((len(windows), length), self.windows.pad, dtype=np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window.ids)] = window.ids
        with torch.inference_mode(), self._precision():
            return _unit(self.model.encode_text(torch.from_numpy(ids).to(self.device)))

    def _precision(self) -> Any:
        import torch

        return torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.device.type == "cuda")


def load(name: str, tag: str, weights: Weights, device: Literal["auto", "cpu", "cuda"]) -> Encoder:
    """Load verified weights into the open_clip model `name`; touches no network for models in a folder.

    Raises:
        WeightsError: when the file is damaged or fits another model.
        ModelError: when `device` is cuda and there is none.
    """
    from safetensors import SafetensorError

    open_clip = import_open_clip()
    place = pick_device(device)
    try:
        model, tokenizer = (
            _from_folder(open_clip, weights) if weights.folder else _by_name(open_clip, name, tag, weights)
        )
    # open_clip lets through what torch, safetensors and its own assertions raise about a file that does not fit.
    except (RuntimeError, ValueError, KeyError, AssertionError, OSError, SafetensorError) as error:
        raise WeightsError(
            f"{weights.file} is damaged or fits another model than {name}: {str(error)[:300]}",
            hint="Correct clip.model and clip.pretrained, or run `dsdc clip fetch`.",
        ) from error
    return _encoder(open_clip, model.eval().requires_grad_(False).to(place), tokenizer, place, weights.sha256)


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of `clip.device`. Raises ModelError where CUDA is asked for and not there."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("clip.device is cuda, but torch finds no CUDA device.", hint="Set clip.device to auto.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _from_folder(open_clip: Any, weights: Weights) -> tuple[Any, Any]:
    source = f"local-dir:{weights.folder}"
    text = json.loads((weights.file.parent / lite.CONFIG).read_text())["model_cfg"]["text_cfg"]
    overrides: dict[str, Any] = {}
    if text.get("hf_model_name") == ".":  # the text tower's architecture lies in the folder too
        overrides["text_cfg"] = text | {"hf_model_name": str(weights.folder), "hf_model_pretrained": False}
    return open_clip.create_model(source, require_pretrained=True, **overrides), open_clip.get_tokenizer(source)


def _by_name(open_clip: Any, name: str, tag: str, weights: Weights) -> tuple[Any, Any]:
    """By path, not by tag, so that nothing is looked up on the hub; the tag still says mean, std and activation."""
    config = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    model = open_clip.create_model(
        name,
        pretrained=str(weights.file),
        require_pretrained=True,
        force_quick_gelu=bool(config.get("quick_gelu")),
        force_preprocess_cfg=config,
    )
    return model, open_clip.get_tokenizer(name)


def _encoder(open_clip: Any, model: Any, tokenizer: Any, device: torch.device, sha256: str) -> Encoder:
    import torch

    if device.type == "cpu" and hasattr(model.visual, "trunk"):
        model.visual.to(memory_format=torch.channels_last)  # convolutions run about 1.5 times faster so
    settings = open_clip.get_model_preprocess_cfg(model)
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    context = int(tokenizer.context_length)
    return Encoder(
        model=model,
        device=device,
        fit=PageFit(height, width, settings["interpolation"]),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        windows=windower(tokenizer, context),
        context=context,
        masks_padding=hasattr(getattr(model, "text", None), "pooler"),
        width=_width(model, context, device),
        sha256=sha256,
    )


def _width(model: Any, context: int, device: torch.device) -> int:
    """Asked of the model itself: the towers of open_clip have no common attribute for it."""
    import torch

    with torch.inference_mode():
        return int(model.encode_text(torch.ones((1, context), dtype=torch.long, device=device)).shape[-1])


def _unit(rows: torch.Tensor) -> Vectors:
    import torch

    unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(rows.float(), dim=-1).cpu().numpy()
    return unit
