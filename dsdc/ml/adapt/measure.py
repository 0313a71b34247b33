"""How well images and texts of the same page find each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

#: CLIP's own bound of exp(logit_scale).
MAX_SCALE = 100.0
#: Standard errors, one-sided.
ONE_IN_TWENTY = 1.645
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measures:
    """On n held-out pages: contrastive loss in nats, and for each page the rank of its own among all n, from 1."""

    loss: float
    text_ranks: Ranks  # of the page's text, asked with its image
    image_ranks: Ranks  # of the page's image, asked with its text

    @property
    def reciprocal_rank(self) -> float:
        """Mean over pages and both directions."""
        return float(self._reciprocal().mean())

    def as_dict(self) -> dict[str, float]:
        """With the shares found among the first 1 and the first 10."""
        return {
            "pages": len(self.text_ranks),
            "loss": round(self.loss, 4),
            "image_to_text_1": _recall(self.text_ranks, 1),
            "image_to_text_10": _recall(self.text_ranks, 10),
            "text_to_image_1": _recall(self.image_ranks, 1),
            "text_to_image_10": _recall(self.image_ranks, 10),
            "reciprocal_rank": round(self.reciprocal_rank, 4),
        }

    def gain_over(self, before: Measures) -> tuple[float, float]:
        """Gain in reciprocal rank over other measures of the same pages in the same order, and its standard error."""
        gain = self._reciprocal() - before._reciprocal()
        return float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))

    def better_than(self, before: Measures) -> bool:
        """Whether the gain is more than chance would give in one of twenty models that gained nothing."""
        gain, error = self.gain_over(before)
        return gain > 0 and gain > ONE_IN_TWENTY * error

    def _reciprocal(self) -> npt.NDArray[np.float64]:
        """`[n]`, mean of both directions, which are not independent of each other."""
        return (1 / self.text_ranks + 1 / self.image_ranks) / 2


def contrastive_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy over a batch of pairs (Radford et al. 2021, figure 3).

    Args:
        images: `[n, width]`, each row of length 1; row i belongs to row i of `texts`.
        log_scale: logarithm of the inverse temperature, `[]` or `[1]`.
    """
    logits = log_scale.exp().clamp(max=MAX_SCALE) * images @ texts.T
    same = torch.arange(len(images), device=images.device)
    return (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same)) / 2


def measure(images: Tensor, texts: Tensor, log_scale: Tensor) -> Measures:
    """Of unit vectors `[n, width]` of n pairs."""
    with torch.no_grad():
        cosines = images @ texts.T
        return Measures(
            loss=float(contrastive_loss(images, texts, log_scale)),
            text_ranks=ranks(cosines),
            image_ranks=ranks(cosines.T),
        )


def ranks(cosines: Tensor) -> Ranks:
    """Of each row's own column, from 1 for the largest; ties count against it.

    A model that gives every page the same vector therefore finds nothing, and not everything.
    """
    found: Ranks = (cosines >= cosines.diagonal()[:, None]).sum(dim=1).cpu().numpy()
    return found


def _recall(found: Ranks, first: int) -> float:
    return round(float((found <= first).mean()), 4)
