"""The image side of a training: which weights learn, and what is kept of each page so that an epoch costs little."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsdc.errors import ModelError
from dsdc.ml.adapt.output_layer import OutputLayer
from dsdc.ml.features import Ints
from dsdc.processors.embed.preprocess import Pixels, stack
from dsdc.processors.embed.runtime import Encoder

#: Pages at once where no gradients are wanted: enough for a GPU, and little memory.
CHUNK = 64


class ImageSide(ABC):
    """Pages are added once, in order; then they are encoded again and again by their row numbers."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.output = OutputLayer(encoder.model.visual)

    @abstractmethod
    def add(self, pages: Sequence[Pixels]) -> None: ...

    @abstractmethod
    def encode(self, rows: Ints, noise: torch.Generator | None = None) -> Tensor:
        """`[len(rows), width]`, each row of length 1, with gradients; `noise` is given where it is to learn."""

    @abstractmethod
    def blocks(self) -> list[nn.Parameter]:
        """What learns besides the output layer."""

    def vectors(self, rows: Ints) -> Tensor:
        """The same in chunks, without gradients and without noise."""
        with torch.no_grad():
            parts = [self.encode(rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK)]
        return torch.cat(parts)


class FeatureSide(ImageSide):
    """The output layer alone learns: the tower runs once a page, and its features are kept."""

    def __init__(self, encoder: Encoder, dropout: float) -> None:
        super().__init__(encoder)
        self._dropout = dropout
        self._parts: list[Tensor] = []
        self._features: Tensor | None = None

    def add(self, pages: Sequence[Pixels]) -> None:
        pixels = self.encoder.as_input(stack(pages))
        if not self._parts:
            self.output.check(pixels)
        self._parts.append(self.output.features(pixels).float())
        self._features = None

    def encode(self, rows: Ints, noise: torch.Generator | None = None) -> Tensor:
        if self._features is None:
            self._features = torch.cat(self._parts)
        features = self._features[torch.from_numpy(rows).to(self._features.device)]
        if noise is not None and self._dropout:
            kept = torch.rand(features.shape, generator=noise, device=features.device) >= self._dropout
            features = features * kept / (1 - self._dropout)
        return functional.normalize(self.output(features), dim=-1)

    def blocks(self) -> list[nn.Parameter]:
        return []


class PixelSide(ImageSide):
    """Last blocks of the tower learn too: pages are kept as pixels in a file, and the tower runs in every step.

    Statistics of batch normalisation stay as they are. Raises ModelError for towers that open_clip locks as a whole.
    """

    def __init__(self, encoder: Encoder, blocks: int, file: Path, pages: int) -> None:
        super().__init__(encoder)
        shape = (pages, 3, encoder.fit.height, encoder.fit.width)
        self._pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        self._added = 0
        visual = encoder.model.visual.requires_grad_(True)
        try:
            # open_clip counts the matrix `proj` as a group of its own, and other output layers as none.
            visual.lock(unlocked_groups=blocks + self.output.is_matrix)
        except (AssertionError, AttributeError, RuntimeError) as error:
            raise ModelError(
                "open_clip cannot unlock single blocks of this image tower.", hint="Adapt it with --blocks 0."
            ) from error

    def add(self, pages: Sequence[Pixels]) -> None:
        self._pixels[self._added : self._added + len(pages)] = stack(pages)
        self._added += len(pages)

    def encode(self, rows: Ints, noise: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        visual, device = self.encoder.model.visual, self.encoder.device
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
            mapped = visual(self.encoder.as_input(self._pixels[rows]))
        return functional.normalize(mapped.float(), dim=-1)

    def blocks(self) -> list[nn.Parameter]:
        own = {id(parameter) for parameter in self.output.parameters()}
        return [p for p in self.encoder.model.visual.parameters() if p.requires_grad and id(p) not in own]
