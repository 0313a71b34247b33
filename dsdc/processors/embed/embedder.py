"""Page images and texts to vectors, with any open_clip model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from PIL import Image

from dsdc.log import get_logger
from dsdc.processors.contract import Embedder, Vectors
from dsdc.processors.embed.gather import Gather
from dsdc.processors.embed.lite import build as lite
from dsdc.processors.embed.preprocess import REDUCING_GAP
from dsdc.processors.embed.weights import WeightsStore
from dsdc.processors.embed.windows import Window
from dsdc.settings import Clip

if TYPE_CHECKING:
    from dsdc.processors.embed.preprocess import Pixels
    from dsdc.processors.embed.runtime import Encoder

log = get_logger(__name__)
Item = TypeVar("Item")
#: Threads that prepare pages while the model runs; more would only take the cores away from it.
PREPARERS = min(4, os.cpu_count() or 1)
#: Images of 224 x 224 at once on a CPU, and fewer of larger ones: beyond these pixels the activations leave the caches,
#: and a page of 512 x 384 takes 0.11 s among 8 and 0.07 s among 2.
CPU_IMAGES = 8
CPU_PIXELS = CPU_IMAGES * 224 * 224


class OpenClipEmbedder(Embedder):
    """open_clip behind the contract. Making one is cheap; the model is loaded at the first use, or by `load()`.

    Safe to share between threads.
    """

    name: ClassVar[str] = "open_clip"
    version: ClassVar[str] = "1"

    def __init__(self, clip: Clip, models_dir: Path) -> None:
        self._clip = clip
        self._store = WeightsStore(clip, models_dir)
        self._encoder: Encoder | None = None
        self._loading = Lock()
        self._gathered: tuple[Gather[Pixels], Gather[Window]] | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """Image size, mean, std and context length follow from model and weights, and so are not repeated here."""
        return {
            "model": self._store.model_label,
            "pretrained": self._store.label,
            "weights_sha256": self.weights_sha256,
            "image": {"fit": "whole page, aspect ratio kept, white around it", "reducing_gap": REDUCING_GAP},
            "text": {"windows": self._clip.max_text_windows, "pooling": "mean by tokens of unit vectors"},
            "open_clip": version("open-clip-torch"),
        }

    @property
    def width(self) -> int:
        return self.load().width

    @property
    def weights_sha256(self) -> str:
        """Without loading the model. Raises WeightsError where the weights are missing or not the pinned ones."""
        return self._encoder.sha256 if self._encoder else self._store.known().sha256

    @property
    def aligned(self) -> bool:
        """The embedded model's towers are of two makers; one adapted from it (`dsdc clip adapt`) has another name."""
        return self._clip.model != lite.NAME

    def load(self) -> Encoder:
        """The model in memory, loaded once.

        Raises:
            WeightsError: when the weights are missing, damaged or not the pinned ones.
        """
        with self._loading:
            if self._encoder is None:
                from dsdc.processors.embed import runtime

                weights = self._store.verified()
                self._encoder = runtime.load(self._clip.model, self._clip.pretrained, weights, self._clip.device)
                log.info(
                    "embed.loaded",
                    model=self._clip.model,
                    pretrained=self._store.label,
                    sha256=weights.sha256,
                    width=self._encoder.width,
                    device=str(self._encoder.device),
                )
            return self._encoder

    @property
    def on_gpu(self) -> bool:
        return self.load().device.type == "cuda"

    def gather(self, wait_s: float) -> None:
        """From now on, encode together what threads ask for within `wait_s`.

        The vectors are the same but for the order of sums: within 1e-5 in fp32.
        """
        encoder = self.load()
        self._gathered = (
            Gather(encoder.images, most=self._images_at_once(encoder), wait_s=wait_s),
            Gather(encoder.texts, most=self._clip.batch, wait_s=wait_s),
        )

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        encoder = self.load()
        encode = self._gathered[0] if self._gathered else encoder.images
        rows = [encode(pages) for pages in self._prepared(encoder, images)]
        return np.concatenate(rows) if rows else np.empty((0, encoder.width), np.float32)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Raises ValueError on a text of nothing but space: it has no embedding."""
        if any(not text.strip() for text in texts):
            raise ValueError("An empty text has no embedding; leave it out.")
        encoder = self.load()
        found = encoder.windows(texts, self._clip.max_text_windows) if texts else []
        windows = [window for part in found for window in part]
        rows = self._encoded(encoder, windows)
        pooled = np.empty((len(texts), encoder.width), np.float32)
        at = 0
        for index, part in enumerate(found):
            pooled[index] = _pool(rows[at : at + len(part)], [window.weight for window in part])
            at += len(part)
        return pooled

    def _prepared(self, encoder: Encoder, images: Sequence[Image.Image]) -> Iterator[list[Pixels]]:
        """Batches of pixels, the next one prepared in threads while the model works on this one."""
        batches = _batches(images, self._images_at_once(encoder))
        with ThreadPoolExecutor(PREPARERS, thread_name_prefix="embed") as pool:
            coming = [pool.submit(encoder.fit, image) for image in batches[0]] if batches else []
            for number in range(len(batches)):
                ready = [future.result() for future in coming]
                after = batches[number + 1] if number + 1 < len(batches) else []
                coming = [pool.submit(encoder.fit, image) for image in after]
                yield ready

    def _images_at_once(self, encoder: Encoder) -> int:
        if encoder.device.type == "cuda":
            return self._clip.batch
        return min(self._clip.batch, max(1, CPU_PIXELS // (encoder.fit.height * encoder.fit.width)))

    def _encoded(self, encoder: Encoder, windows: Sequence[Window]) -> Vectors:
        """`[n, width]` in the order given; computed in the order of length, so that a batch holds little padding."""
        encode = self._gathered[1] if self._gathered else encoder.texts
        rows = np.empty((len(windows), encoder.width), np.float32)
        by_length = sorted(range(len(windows)), key=lambda index: len(windows[index].ids))
        for part in _batches(by_length, self._clip.batch):
            rows[part] = encode([windows[index] for index in part])
        return rows


def _pool(rows: Vectors, weights: Sequence[int]) -> Vectors:
    """Mean of the windows by their number of tokens, of length 1."""
    mean = np.average(rows, axis=0, weights=weights)
    unit: Vectors = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[at : at + size]) for at in range(0, len(items), size)]
