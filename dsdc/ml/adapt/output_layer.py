"""The last linear layer of an image tower, of whatever architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dsdc.errors import ModelError


class OutputLayer:
    """Finds the layer that maps an image tower's features into the joint space, and can take it out for a while.

    open_clip's own vision transformers hold it as a matrix `proj`; other towers as their last `nn.Linear`.

    Raises:
        ModelError: when the tower has neither.
    """

    def __init__(self, visual: Any) -> None:
        self._visual = visual
        self.is_matrix = isinstance(getattr(visual, "proj", None), nn.Parameter)
        linear = [name for name, module in visual.named_modules() if isinstance(module, nn.Linear)]
        if not self.is_matrix and not linear:
            raise _unfit()
        path: str = "proj" if self.is_matrix else linear[-1]
        self._owner, _, self._name = path.rpartition(".")
        self._layer = getattr(visual.get_submodule(self._owner), self._name)

    def parameters(self) -> list[nn.Parameter]:
        return [self._layer] if self.is_matrix else list(self._layer.parameters())

    def __call__(self, features: Tensor) -> Tensor:
        """`[n, features]` -> `[n, width]`, not of length 1."""
        mapped: Tensor = features @ self._layer if self.is_matrix else self._layer(features)
        return mapped

    def features(self, pixels: Tensor) -> Tensor:
        """What the tower gives this layer, `[n, features]`, without gradients.

        Raises:
            ModelError: when the layer is not the tower's last step.
        """
        with torch.no_grad(), self._removed():
            features: Tensor = self._visual(pixels)
        return features

    def check(self, pixels: Tensor) -> None:
        """Raise ModelError unless tower = this layer after its features, on these pixels."""
        with torch.no_grad():
            whole = self._visual(pixels)
            try:
                parts = self(self.features(pixels))
            except (RuntimeError, AttributeError, TypeError) as error:  # shapes do not meet without the layer
                raise _unfit() from error
        if not isinstance(whole, Tensor) or not torch.allclose(whole, parts, rtol=1e-2, atol=1e-2 * float(whole.std())):
            raise _unfit()

    @contextmanager
    def _removed(self) -> Iterator[None]:
        owner = self._visual.get_submodule(self._owner)
        setattr(owner, self._name, None if self.is_matrix else nn.Identity())
        try:
            yield
        finally:
            setattr(owner, self._name, self._layer)


def _unfit() -> ModelError:
    return ModelError(
        "The image tower of this model does not end in a linear layer, so that cannot be trained alone.",
        hint="Train whole blocks with --blocks 1 or more.",
    )
