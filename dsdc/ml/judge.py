"""The linear judges: what a linear model makes of everything that is known of a document, at once.

One reads documents of which image and text are there, one those with an image alone, one those with text alone: what
has learnt to lean on both does badly with one. N-grams are read as they are. Of dense modalities (vectors, layout) a
linear model makes little, so that they come as random Fourier features, in which it can tell what lies near to what
(Rahimi, Recht 2007: their product is about exp(-distance**2 / 2)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from dsdc.ml.features import Floats
from dsdc.ml.regression import Part

#: How much of a document's squared length each modality has in the features; the image is in no other modality.
_SPARSE_SHARE, _DENSE_SHARE = 1.5, 0.5
_SHARES = {"image": 1.0}
#: Frequencies of a dense modality, and fewer where documents are so many that their features would fill the memory.
_MOST_FREQUENCIES, _LEAST_FREQUENCIES = 1024, 64
_MOST_NUMBERS = 200_000_000


class Waves(nn.Module):
    """Random Fourier features of a modality whose rows have a mean square length of 1."""

    frequencies: Tensor

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(width, number))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Choose the frequencies: normal, and orthogonal to each other in blocks (Yu et al. 2016), which takes half as
        many."""
        width, number = self.frequencies.shape
        for start in range(0, number, width):
            block = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
            lengths = torch.randn(width, width, generator=generator).norm(dim=0)
            self.frequencies[:, start : start + width] = (block * lengths)[:, : number - start]

    @torch.no_grad()
    def forward(self, values: Tensor) -> Tensor:
        """`[n, width]` to `[n, 2 * number]`, of length 1."""
        turned = values @ self.frequencies
        return torch.cat([turned.cos(), turned.sin()], dim=1) / self.frequencies.shape[1] ** 0.5


class Judge(nn.Module):
    """Multinomial logistic regression; all classes are alike to it before it has learnt."""

    slopes: Tensor
    bias: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(classes, width))
        self.register_buffer("bias", torch.zeros(classes))

    @torch.no_grad()
    def learn(self, slopes: np.ndarray, bias: np.ndarray) -> Self:
        """Take `[classes, width]` slopes and `[classes]` bias."""
        self.slopes.copy_(torch.from_numpy(slopes))
        self.bias.copy_(torch.from_numpy(bias))
        return self

    def score(self, parts: Sequence[Part]) -> Floats:
        """Features of n documents to `[n, classes]` log-probabilities."""
        pieces = self.slopes.numpy().T
        cuts = np.cumsum([part.shape[1] for part in parts])[:-1]
        found = sum(part @ piece for part, piece in zip(parts, np.split(pieces, cuts), strict=True))
        return torch.log_softmax(torch.from_numpy(np.asarray(found)) + self.bias, dim=1).numpy()


def width_of(widths: Mapping[str, int], kept: Mapping[str, int], frequencies: int) -> int:
    """How many features a judge of these modalities reads."""
    return sum(kept.get(name, 2 * frequencies) for name in widths)


def frequencies_for(documents: int, dense: int) -> int:
    """How many frequencies each of `dense` modalities gets where there are so many documents to learn from."""
    bearable = _MOST_NUMBERS // max(1, 2 * documents * dense)
    return min(_MOST_FREQUENCIES, max(_LEAST_FREQUENCIES, bearable))


def weighed(name: str, features: Part) -> Part:
    """The features of a modality with the share that it is to have."""
    share = _SPARSE_SHARE if isinstance(features, csr_array) else _SHARES.get(name, _DENSE_SHARE)
    return features * np.float32(share**0.5)
