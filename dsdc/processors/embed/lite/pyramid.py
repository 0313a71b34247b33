"""The image tower of `dsdc-lite`: EfficientNet-Lite0, read at several depths and by the place on the page.

One average over a page, as EfficientNet ends in, forgets where things stand, and its last layers know photographs
better than print. So statistics of four feature maps are taken, two of them in cells of a grid, and of each the
directions kept in which generated pages differ most (`recipe.py`).

Importing this module makes the tower known to timm as `dsdc_page_pyramid`, and so to open_clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn

from dsdc.errors import WeightsError

#: The number of the feature map after the last convolution; those below are numbered as timm's stages, from 0.
HEAD = 7
#: Under the root of the deviation, whose slope has no bound at 0.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Tap:
    """What is taken of one feature map: `kept` directions among its channels, in each cell of a grid over the page.

    A deviation is that over the whole page, and `grid` (rows, columns) then is one cell.
    """

    stage: int
    channels: int
    kept: int
    statistic: Literal["mean", "deviation"] = "mean"
    grid: tuple[int, int] = (1, 1)

    @property
    def width(self) -> int:
        """How many numbers it gives for a page."""
        return self.kept * self.grid[0] * self.grid[1]

    def pooled(self, maps: Tensor) -> Tensor:
        """`[n, channels, height, width]` -> `[n, channels, cells]`, cells row by row."""
        if self.statistic == "mean":
            return nn.functional.adaptive_avg_pool2d(maps, self.grid).flatten(2)
        return maps.var((2, 3), correction=0).clamp(min=_LEAST_VARIANCE).sqrt().unsqueeze(2)


TAPS: dict[str, Tap] = {
    "line_grid": Tap(stage=4, channels=112, kept=24, grid=(4, 3)),
    "region_grid": Tap(stage=6, channels=320, kept=40, grid=(4, 3)),
    "stroke_deviation": Tap(stage=2, channels=40, kept=40, statistic="deviation"),
    "line_mean": Tap(stage=4, channels=112, kept=40),
    "line_deviation": Tap(stage=4, channels=112, kept=40, statistic="deviation"),
    "region_deviation": Tap(stage=6, channels=320, kept=36, statistic="deviation"),
    "page_mean": Tap(stage=HEAD, channels=1280, kept=100),
}
WIDTH = sum(tap.width for tap in TAPS.values())


class Reading(nn.Module):
    """A tap with its numbers: `directions` `[kept, channels]`, and `offset` `[width]`, the mean of generated pages."""

    directions: Tensor
    offset: Tensor

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self.tap = tap
        self.register_buffer("directions", torch.zeros(tap.kept, tap.channels))
        self.register_buffer("offset", torch.zeros(tap.width))

    def forward(self, maps: Tensor) -> Tensor:
        """`[n, channels, height, width]` -> `[n, width]`, in float32: the means are large beside the differences."""
        with torch.autocast(maps.device.type, enabled=False):
            return (self.directions @ self.tap.pooled(maps.float())).flatten(1) - self.offset


class PagePyramid(nn.Module):
    """Pages `[n, 3, height, width]` -> `[n, WIDTH]`; the layers have the names that they have in timm's network."""

    def __init__(self) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        self.conv_head, self.bn2 = network.conv_head, network.bn2
        self.taps = nn.ModuleDict({name: Reading(tap) for name, tap in TAPS.items()})
        #: Asked for by open_clip: how wide the features are, and what is known of weights to download (nothing).
        self.num_features = WIDTH
        self.default_cfg: dict[str, Any] = {}

    def maps(self, pages: Tensor) -> dict[int, Tensor]:
        """Feature map by number, those that a tap reads."""
        wanted = {tap.stage for tap in TAPS.values()}
        found, flow = {}, self.bn1(self.conv_stem(pages))
        for number, stage in enumerate(self.blocks):
            flow = stage(flow)
            if number in wanted:
                found[number] = flow
        found[HEAD] = self.bn2(self.conv_head(flow))
        return found

    def forward(self, pages: Tensor) -> Tensor:
        maps = self.maps(pages)
        return torch.cat([self.taps[name](maps[tap.stage]) for name, tap in TAPS.items()], dim=1)

    def reset_classifier(self, num_classes: int) -> None:
        """Asked for by open_clip, which puts its own layer behind; there is no classifier to take off."""
        if num_classes:
            raise ValueError("The page pyramid has no classifier.")

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's order of layers, by which open_clip unlocks the last ones alone."""
        blocks = r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"
        return {"stem": "^(?:conv_stem|bn1)", "blocks": [(blocks, None), (r"^(?:conv_head|bn2)", (99999,))]}


@register_model
def dsdc_page_pyramid(pretrained: bool = False, **_: Any) -> PagePyramid:
    """For `timm.create_model`. Raises WeightsError where weights are asked for: they are in the open_clip model."""
    if pretrained:
        raise WeightsError("The page pyramid has no weights to download.", hint="Run `dsdc clip fetch`.")
    return PagePyramid()
