"""Lets `import open_clip` work where torchvision's native library does not load.

The registry build of torchvision links CUDA libraries; beside a CPU-only torch its `_C` library fails to load, and
`import torchvision` then stops at the first operator whose shape function it registers. open_clip and timm use none
of these operators: only the names have to exist.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from threading import Lock
from typing import Any

#: Operators for which torchvision registers a shape function at import, whether the library loaded or not.
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lock = Lock()
_kept: list[Any] = []  # torch drops the operators when the Library object is collected


def make_importable() -> bool:
    """Define the missing operator names, once in a process. Returns whether stubs are in place.

    Does nothing where the native library loads, where torchvision is imported already, or where there is none.
    """
    with _lock:
        if not _kept and "torchvision" not in sys.modules and not _native_library_loads():
            _define()
        return bool(_kept)


def _native_library_loads() -> bool:
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to mend
    for library in sorted(Path(spec.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(library))
        except (OSError, ImportError):
            continue
        return True
    return False


def _define() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in OPERATORS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _kept.append(library)
