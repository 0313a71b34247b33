"""The training loop of the head: everything resident on one device, the same head from the same seed."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from dsdc.errors import NotEnoughLabels
from dsdc.log import get_logger
from dsdc.ml.classifier import Architecture, Batch, DocumentHead
from dsdc.ml.features import DocumentSet, Floats, Ints
from dsdc.ml.split import Split
from dsdc.settings import Train

log = get_logger(__name__)

#: Sums come out differently with another number of threads, so the data alone decide it, whatever OMP_NUM_THREADS says.
#: Below this many numbers one thread is as fast, and does not wait for cores that other processes hold.
_THREADS = 4
_MANY_NUMBERS = 20_000_000
#: Steps an epoch at least, where the data allow: 100 documents are not one step of 256.
_STEPS_AN_EPOCH = 4
_LEAST_BATCH = 16
#: Rows scored at once.
_SCORED_AT_ONCE = 16_384


@dataclass(frozen=True)
class Epoch:
    """One point of the training curves; losses in nats: in training with smoothing and weights, else without."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class TrainingRun:
    """A trained head (on the CPU, in eval mode, at its best epoch) and how it came about."""

    head: DocumentHead
    classes: tuple[str, ...]
    split: Split
    config: Train
    epochs: tuple[Epoch, ...]
    best_epoch: int
    device: str
    seconds: float

    @property
    def head_sha256(self) -> str:
        """Of the head's safetensors bytes, in hexadecimal: the head's identity."""
        return hashlib.sha256(head_bytes(self.head)).hexdigest()


Progress = Callable[[Epoch], None]


def train(data: DocumentSet, split: Split, config: Train, progress: Progress | None = None) -> TrainingRun:
    """Train a head on `split.train`, stopping by the loss on `split.valid`; `split.test` is not looked at.

    Two calls with equal arguments on one machine give the same bytes.

    Args:
        progress: called after each epoch.

    Raises:
        NotEnoughLabels: when fewer than two classes are in the training part, or the validation part is empty.
    """
    _check(data, split)
    device = best_device()
    started = time.perf_counter()
    with _reproducible(config.seed, device, _threads(data)):
        trainer = _Trainer(data, split, config, device)
        for epoch in trainer.epochs():
            if progress is not None:
                progress(epoch)
    run = TrainingRun(
        head=trainer.best_head(),
        classes=data.classes,
        split=split,
        config=config,
        epochs=tuple(trainer.history),
        best_epoch=trainer.best_epoch,
        device=str(device),
        seconds=time.perf_counter() - started,
    )
    log.info(
        "train.done", epochs=len(run.epochs), best=run.best_epoch, seconds=round(run.seconds, 2), device=run.device
    )
    return run


def logits(head: DocumentHead, data: DocumentSet, rows: Ints | None = None) -> Floats:
    """`[n, classes]` raw scores of these rows (of all, without `rows`)."""
    blocks = data.blocks() if rows is None else {name: block[rows] for name, block in data.blocks().items()}
    batch = Batch.of(blocks, next(head.parameters()).device)
    return _score(head, batch).cpu().numpy()


def head_bytes(head: DocumentHead) -> bytes:
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
    """State of one training: data, head, optimiser, curves and the best weights so far."""

    def __init__(self, data: DocumentSet, split: Split, config: Train, device: torch.device) -> None:
        self.config = config
        everything = Batch.of(data.blocks(), device)
        labels = torch.from_numpy(data.labels).to(device)
        rows = {name: torch.from_numpy(part).to(device) for name, part in split.parts().items()}
        self.train, self.train_labels = everything[rows["train"]], labels[rows["train"]]
        self.valid, self.valid_labels = everything[rows["valid"]], labels[rows["valid"]]
        self.head = DocumentHead(_architecture(data, config)).to(device)
        self.head.standardise_by(self.train)
        weights = class_weights(data.labels[split.train], len(data.classes))
        self.loss = torch.nn.CrossEntropyLoss(
            weight=torch.from_numpy(weights).to(device), label_smoothing=config.label_smoothing
        )
        self.batch = max(_LEAST_BATCH, min(config.batch, math.ceil(len(self.train) / _STEPS_AN_EPOCH)))
        self.optimiser = torch.optim.AdamW(
            self.head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        steps = config.epochs * math.ceil(len(self.train) / self.batch)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=steps)
        self.history: list[Epoch] = []
        self.best_epoch = -1
        self.best_loss = math.inf
        self.best_state: dict[str, Tensor] = {}

    def epochs(self) -> Iterator[Epoch]:
        """Train until the validation loss has not improved for `patience` epochs."""
        for number in range(self.config.epochs):
            train_loss = self._pass()
            point = self._measure(number, train_loss)
            self.history.append(point)
            if point.valid_loss < self.best_loss:
                self.best_epoch, self.best_loss = number, point.valid_loss
                self.best_state = {name: tensor.clone() for name, tensor in self.head.state_dict().items()}
            yield point
            if number - self.best_epoch >= self.config.patience:
                return

    def best_head(self) -> DocumentHead:
        self.head.load_state_dict(self.best_state)
        return self.head.cpu().eval()

    def _pass(self) -> float:
        """One epoch; mean loss over documents. The loss is read once, for a read waits for the GPU."""
        self.head.train()
        order = torch.randperm(len(self.train), device=self.train_labels.device)
        total = torch.zeros((), device=order.device)
        for rows in order.split(self.batch):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.loss(self.head(self.train[rows]), self.train_labels[rows])
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            total += loss.detach() * len(rows)
        return float(total) / len(self.train)

    def _measure(self, number: int, train_loss: float) -> Epoch:
        scores = _score(self.head, self.valid)
        return Epoch(
            epoch=number,
            train_loss=train_loss,
            valid_loss=float(torch.nn.functional.cross_entropy(scores, self.valid_labels)),
            valid_accuracy=float((scores.argmax(dim=1) == self.valid_labels).float().mean()),
            learning_rate=float(self.schedule.get_last_lr()[0]),
        )


def _architecture(data: DocumentSet, config: Train) -> Architecture:
    return Architecture(
        widths={name: block.width for name, block in data.blocks().items() if block.width},
        classes=len(data.classes),
        hidden=config.hidden,
        dropout=config.dropout,
        modality_dropout=config.modality_dropout,
    )


def _threads(data: DocumentSet) -> int:
    numbers = len(data) * sum(block.width for block in data.blocks().values())
    return min(_THREADS, os.cpu_count() or 1) if numbers >= _MANY_NUMBERS else 1


def _check(data: DocumentSet, split: Split) -> None:
    found = len(np.unique(data.labels[split.train]))
    if found < 2 or not len(split.valid):
        raise NotEnoughLabels(
            f"{len(split.train)} documents of {found} classes to train on and {len(split.valid)} to validate with.",
            hint="Label documents of at least two classes, four or more in each.",
        )


@torch.inference_mode()
def _score(head: DocumentHead, batch: Batch) -> Tensor:
    head.eval()
    return torch.cat([head(batch[start : start + _SCORED_AT_ONCE]) for start in _starts(len(batch))])


def _starts(n: int) -> range:
    return range(0, max(n, 1), _SCORED_AT_ONCE)


@contextmanager
def _reproducible(seed: int, device: torch.device, threads: int) -> Iterator[None]:
    """Seeded, with deterministic algorithms and a fixed number of threads; all put back as it was afterwards."""
    # cuBLAS reads this when it is first used, and is not deterministic without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads_before, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was)
            torch.set_num_threads(threads_before)
