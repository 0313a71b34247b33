"""Training of the head: everything resident on one device, the same head from the same seed."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from threadpoolctl import threadpool_limits

from dsdc.errors import NotEnoughLabels
from dsdc.log import get_logger
from dsdc.ml.calibrate import EVIDENCE, usable
from dsdc.ml.classifier import DocumentHead, untrained
from dsdc.ml.features import Block, DocumentSet, Floats, Ints
from dsdc.ml.neighbours import NeighbourHead
from dsdc.ml.regression import regress
from dsdc.settings import Train

log = get_logger(__name__)

#: Sums come out differently with another number of threads, so the data alone decide it, whatever OMP_NUM_THREADS says.
#: Below this many numbers one thread is as fast, and does not wait for cores that other processes hold.
_THREADS = 4
_MANY_NUMBERS = 20_000_000
#: Steps at least, where documents are few: 16 documents are one step an epoch.
_LEAST_STEPS = 300
#: Rows scored at once.
_SCORED_AT_ONCE = 4096


AnyHead: TypeAlias = DocumentHead | NeighbourHead


@dataclass(frozen=True)
class Epoch:
    """One point of the training curve: mean loss of the networks over documents, in nats, smoothing and weights in."""

    epoch: int
    train_loss: float
    learning_rate: float


@dataclass(frozen=True)
class TrainingRun:
    """A trained head (on the CPU, in eval mode) and how it came about."""

    head: AnyHead
    classes: tuple[str, ...]
    config: Train
    epochs: tuple[Epoch, ...]
    device: str
    seconds: float

    @property
    def head_sha256(self) -> str:
        """Of the head's safetensors bytes, in hexadecimal: the head's identity."""
        return hashlib.sha256(head_bytes(self.head)).hexdigest()


Progress = Callable[[int, int], None]  # (done, still to do), in any unit


def train(data: DocumentSet, config: Train, progress: Progress | None = None) -> TrainingRun:
    """Train a head on all of `data`, for a fixed number of steps.

    Two calls with equal arguments on one machine give the same bytes.

    Args:
        progress: called after each epoch of each network.

    Raises:
        NotEnoughLabels: when there are fewer than two classes.
    """
    found = len(np.unique(data.labels))
    if found < 2:
        raise NotEnoughLabels(
            f"{len(data)} documents of {found} classes to train on.", hint="Label documents of at least two classes."
        )
    device = best_device()
    started = time.perf_counter()
    with reproducible(config.seed, device, _threads(data)):
        trainer = _Trainer(data, config, device)
        trainer.fit_judges()
        history = list(trainer.fit_members(progress))
    run = TrainingRun(
        head=trainer.head.to_device(torch.device("cpu")).eval(),
        classes=data.classes,
        config=config,
        epochs=tuple(history),
        device=str(device),
        seconds=time.perf_counter() - started,
    )
    log.info("train.done", documents=len(data), seconds=round(run.seconds, 2), device=run.device)
    return run


@torch.inference_mode()
def scores(head: AnyHead, blocks: Mapping[str, Block]) -> Floats:
    """`[n, components, classes]` log-probabilities of these documents."""
    n = len(next(iter(blocks.values())).present)
    parts = []
    for start in range(0, max(n, 1), _SCORED_AT_ONCE):
        rows = np.arange(start, min(n, start + _SCORED_AT_ONCE))
        parts.append(head(head.read({name: block[rows] for name, block in blocks.items()})).cpu().numpy())
    return np.concatenate(parts)


def head_bytes(head: AnyHead) -> bytes:
    """The head's weights and buffers as safetensors; equal heads give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()})


def best_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def class_weights(labels: Ints, classes: int) -> npt.NDArray[np.float32]:
    """`[classes]` loss weights with a mean of 1 over documents: the inverse square root of each class's share.

    The root is between no weighting, which forgets rare classes, and the full inverse, which bends probabilities away
    from how often classes occur. Classes without documents get 0.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


class _Trainer:
    """State of one training: the head, its documents as it reads them, and the loss's weights."""

    def __init__(self, data: DocumentSet, config: Train, device: torch.device) -> None:
        self.config = config
        self.head = untrained(data.blocks(), len(data.classes), config)
        self.head.to_device(device)
        self.data = data
        self.loss_weights = class_weights(data.labels, len(data.classes))
        self.batch = self.head.read(data.blocks())
        self.labels = torch.from_numpy(data.labels).to(device)
        self.weights = torch.from_numpy(self.loss_weights).to(device)

    def fit_judges(self) -> None:
        """Each on the documents that have its evidence."""
        for kind in EVIDENCE:
            rows = usable(self.batch.kinds, kind)
            if len(rows) and self.head.architecture.judged(kind):
                parts = self.head.parts(self.batch, kind, rows)
                labels = self.data.labels[rows]
                self.head.judge(kind).learn(*regress(parts, labels, self.loss_weights, self.config.judge_c))

    def fit_members(self, progress: Progress | None) -> Iterator[Epoch]:
        """The networks, one after the other; the loss and rate of each epoch, counted through."""
        n = len(self.labels)
        batch = min(self.config.batch, n)
        epochs = max(self.config.epochs, math.ceil(_LEAST_STEPS / math.ceil(n / batch)))
        for number, member in enumerate(self.head.members):
            torch.manual_seed(self.config.seed + number)
            optimiser = torch.optim.AdamW(
                member.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
            )
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, self.config.learning_rate, total_steps=epochs * math.ceil(n / batch)
            )
            for epoch in range(epochs):
                done = number * epochs + epoch
                rate = float(schedule.get_last_lr()[0])
                yield Epoch(done, self._pass(member, optimiser, schedule, batch), rate)
                if progress is not None:
                    progress(done + 1, epochs * len(self.head.members) - done - 1)

    def _pass(
        self,
        member: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        batch: int,
    ) -> float:
        """One epoch; mean loss over documents. The loss is read once, for a read waits for the GPU."""
        member.train()
        total = torch.zeros((), device=self.labels.device)
        for rows in torch.randperm(len(self.labels), device=self.labels.device).split(batch):
            optimiser.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(
                member(self.batch[rows]),
                self.labels[rows],
                weight=self.weights,
                label_smoothing=self.config.label_smoothing,
            )
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach() * len(rows)
        return float(total) / len(self.labels)


def _threads(data: DocumentSet) -> int:
    numbers = len(data) * sum(block.width for block in data.blocks().values() if not block.sparse)
    return min(_THREADS, os.cpu_count() or 1) if numbers >= _MANY_NUMBERS else 1


@contextmanager
def reproducible(seed: int, device: torch.device, threads: int) -> Iterator[None]:
    """Seeded, with deterministic algorithms and a fixed number of threads; all put back as it was afterwards."""
    # cuBLAS reads this when it is first used, and is not deterministic without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads_before, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with fork, threadpool_limits(threads):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was)
            torch.set_num_threads(threads_before)
