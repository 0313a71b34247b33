"""Micro-batching: every caller gets its own vectors, together or alone, and its own errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsdc.processors.contract import Vectors
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.embed.gather import Gather
from dsdc.settings import Clip


class Model:
    """A number's vector is itself, twice; it takes its time, and cannot bear 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, items: Sequence[int]) -> Vectors:
        self.batches.append(len(items))
        time.sleep(0.02)
        if 13 in items:
            raise ValueError("thirteen")
        return np.array([[item, item] for item in items], dtype=np.float32)


def test_calls_of_many_threads_share_batches_and_get_their_own_rows() -> None:
    model = Model()
    gather = Gather(model, most=8, wait_s=1.0)
    start = threading.Barrier(6)

    def ask(number: int) -> Vectors:
        start.wait()
        return gather([10 * number + i for i in range(2)])

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert [list(a[:, 0]) for a in answers] == [[10 * n, 10 * n + 1] for n in range(6)]
    assert sum(model.batches) == 12
    assert len(model.batches) <= 3


def test_one_bad_item_fails_its_own_caller_alone() -> None:
    gather = Gather(Model(), most=4, wait_s=1.0)
    with ThreadPoolExecutor(4) as pool:
        asked = {number: pool.submit(gather, [number]) for number in (12, 13, 14, 15)}
        assert [float(asked[n].result()[0, 0]) for n in (12, 14, 15)] == [12, 14, 15]
        with pytest.raises(ValueError, match="thirteen"):
            asked[13].result()
    assert gather([1]).shape == (1, 2)


def test_alone_it_waits_no_longer_than_told() -> None:
    gather = Gather(Model(), most=8, wait_s=0.05)
    begun = time.perf_counter()
    gather([1])
    assert time.perf_counter() - begun < 1


def test_a_real_model_gives_each_the_vectors_that_it_gives_alone(models_dir: Path) -> None:
    alone, together = OpenClipEmbedder(Clip(), models_dir), OpenClipEmbedder(Clip(), models_dir)
    together.gather(0.2)
    random = np.random.default_rng(5)
    pages = [Image.fromarray(random.integers(0, 255, (200 + 40 * n, 160), dtype=np.uint8)) for n in range(3)]
    texts = ["an invoice of May", "dear sir, " * 90, "1 2 3"]
    with ThreadPoolExecutor(3) as pool:
        seen = np.concatenate(list(pool.map(lambda image: together.images([image]), pages)))
        read = np.concatenate(list(pool.map(lambda text: together.texts([text]), texts)))
    assert np.abs(seen - np.concatenate([alone.images([page]) for page in pages])).max() < 1e-5
    assert np.abs(read - np.concatenate([alone.texts([text]) for text in texts])).max() < 1e-5
