"""How the output layers of `dsdc-lite` (`projection.safetensors`) are made.

`python -m dsdc.processors.embed.lite.recipe` writes the file and logs the SHA-256 that `build.SHA256` must then
hold. Both towers keep what they know: their features go into the joint space through orthonormal rows, which keep
lengths and angles, so that a head trained on the vectors loses next to nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsdc.log import get_logger
from dsdc.processors.embed.lite import build

log = get_logger(__name__)
SEED = 20260101
JOINT, IMAGE, TEXT = 512, 1280, 384


def orthonormal(rows: int, columns: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """`[rows, columns]` random; its rows or its columns, whichever are fewer, are orthonormal."""
    tall = generator.normal(size=(max(rows, columns), min(rows, columns)))
    basis, _ = np.linalg.qr(tall)
    return basis if rows >= columns else basis.T


def write_projection(file: Path) -> None:
    """Write the three tensors as float16 (rounded by at most half a per mille, half the bytes)."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(SEED)
    tensors = {
        "image.weight": orthonormal(JOINT, IMAGE, generator),
        "image.bias": np.zeros(JOINT),
        "text.weight": orthonormal(JOINT, TEXT, generator),
    }
    save_file({name: np.ascontiguousarray(value, dtype=np.float16) for name, value in tensors.items()}, file)


def main() -> None:
    """Write the projection and log the checkpoint's hash."""
    write_projection(build.PROJECTION)
    with tempfile.TemporaryDirectory() as scratch:
        log.info(
            "embed.lite_recipe", projection=str(build.PROJECTION), sha256=build.write(Path(scratch), build.PROJECTION)
        )


if __name__ == "__main__":
    main()
