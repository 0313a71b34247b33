"""How the fixed numbers of `dsdc-lite`'s image tower (`projection.safetensors`) are made.

    dsdc samples PAGES --count 1200 --seed 20260101
    python -m dsdc.processors.embed.lite.recipe PAGES

writes the file and logs the SHA-256 that `build.SHA256` must then hold. Nothing is learnt from labels, and no real
document is used: the generated pages only say in which directions the features of pages differ, and how much.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from dsdc.log import get_logger
from dsdc.processors.embed.lite import build, towers
from dsdc.processors.embed.preprocess import PageFit, stack
from dsdc.processors.embed.torchvision_stub import make_importable

if TYPE_CHECKING:
    from torch import Tensor

    from dsdc.processors.embed.lite.pyramid import PagePyramid, Tap

log = get_logger(__name__)
Floats = npt.NDArray[np.float64]
SUFFIXES = frozenset({".jpg", ".png", ".tif"})
BATCH = 8
#: Each direction is divided by this power of its variance: between as they are (0) and all alike (0.5).
WHITENING = 0.25


def directions(pooled: Floats, kept: int) -> Floats:
    """`[n, channels, cells]` -> `[kept, channels]`: principal directions over pages and cells, partly whitened."""
    centred = pooled - pooled.mean(axis=0)
    rows = centred.transpose(0, 2, 1).reshape(-1, centred.shape[1])
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    strongest = vectors[:, ::-1][:, :kept] / np.maximum(values[::-1][:kept], 1e-9) ** WHITENING
    # An eigenvector's sign is arbitrary: here its largest number is positive, whatever library finds it.
    largest = np.take_along_axis(strongest, np.abs(strongest).argmax(axis=0)[None], axis=0)
    return np.asarray((strongest * np.sign(largest)).T)


def numbers(tap: Tap, pooled: Floats) -> dict[str, npt.NDArray[np.float16]]:
    """`directions` and `offset` of a tap; scaled so that every tap gives vectors of mean square length 1."""
    found = directions(pooled, tap.kept)
    read = (found @ pooled).reshape(len(pooled), tap.width)
    scale = 1 / np.sqrt(read.var(axis=0).sum())
    return {"directions": (found * scale).astype(np.float16), "offset": (read.mean(axis=0) * scale).astype(np.float16)}


def measure(files: Sequence[Path]) -> dict[str, Floats]:
    """For each tap `[n, channels, cells]` of the first page of each file."""
    import torch

    from dsdc.processors.embed.lite.pyramid import TAPS, PagePyramid

    tower = PagePyramid().eval()
    tower.load_state_dict(towers.image_tower(), strict=False)
    found: dict[str, list[Tensor]] = {name: [] for name in TAPS}
    with torch.inference_mode():
        for pages in _batches(files):
            _add(found, tower, pages)
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def _add(found: dict[str, list[Tensor]], tower: PagePyramid, pages: Tensor) -> None:
    from dsdc.processors.embed.lite.pyramid import TAPS

    maps = tower.maps(pages)
    for name, tap in TAPS.items():
        found[name].append(tap.pooled(maps[tap.stage]))


def _batches(files: Sequence[Path]) -> Iterator[Tensor]:
    """`[n, 3, height, width]` as the model gets it, of the size that it is configured for."""
    import torch

    fit = PageFit(*build.OPEN_CLIP["model_cfg"]["vision_cfg"]["image_size"])
    for at in range(0, len(files), BATCH):
        pixels = torch.from_numpy(stack([fit(Image.open(file).convert("L")) for file in files[at : at + BATCH]]))
        batch = (pixels.float() / 127.5 - 1).expand(-1, 3, -1, -1)
        yield batch.contiguous(memory_format=torch.channels_last)


def write_projection(pages: Path, file: Path) -> None:
    """Measure the images under `pages` and write each tap's numbers as float16 (last bits differ by machine)."""
    from safetensors.numpy import save_file

    make_importable()
    from dsdc.processors.embed.lite.pyramid import TAPS

    pooled = measure(sorted(path for path in pages.rglob("*") if path.suffix in SUFFIXES))
    tensors = {
        f"{name}.{what}": np.ascontiguousarray(value)
        for name, tap in TAPS.items()
        for what, value in numbers(tap, pooled[name]).items()
    }
    save_file(tensors, file)
    file.chmod(0o644)


def main() -> None:
    """Write the projection and log the checkpoint's hash."""
    parser = argparse.ArgumentParser(description="Make projection.safetensors of dsdc-lite.")
    parser.add_argument("pages", type=Path, help="a folder that `dsdc samples` has written")
    write_projection(parser.parse_args().pages, build.PROJECTION)
    with tempfile.TemporaryDirectory() as scratch:
        log.info(
            "embed.lite_recipe", projection=str(build.PROJECTION), sha256=build.write(Path(scratch), build.PROJECTION)
        )


if __name__ == "__main__":
    main()
