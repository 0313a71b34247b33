"""Contrastive training with the text tower locked (LiT, Zhai et al. 2022): images learn to find their texts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dsdc.log import get_logger
from dsdc.ml.adapt.images import ImageSide
from dsdc.ml.adapt.measure import Measures, contrastive_loss, measure
from dsdc.ml.adapt.params import AdaptParams
from dsdc.ml.adapt.parts import Parts
from dsdc.ml.features import Ints

log = get_logger(__name__)
#: Blocks of the tower know more than a fresh output layer, and are moved less.
BLOCK_RATE = 0.1
WARM_UP = 0.15

Progress = Callable[[int, int], None]  # (epochs run, epochs at most still to come)


@dataclass(frozen=True)
class Epoch:
    """Losses in nats; number 0 is the model as it was, with no loss of training."""

    number: int
    train_loss: float | None
    valid_loss: float


@dataclass(frozen=True)
class Adapted:
    """Measures on the test pairs before and after; the weights are those of epoch `best`, 0 where none was better."""

    before: Measures
    after: Measures
    epochs: tuple[Epoch, ...]
    best: int
    seconds: float


def adapt(
    side: ImageSide,
    texts: Tensor,
    log_scale: nn.Parameter,
    parts: Parts,
    params: AdaptParams,
    progress: Progress | None = None,
) -> Adapted:
    """Train the image side in place until the loss on the validation pairs stops falling; keep its best weights.

    The same seed on the same pairs and machine gives the same weights.

    Args:
        texts: `[n, width]`, each row of length 1; row i is of the page that was added to `side` as row i.
        log_scale: the model's `logit_scale`; learns too.
    """
    started = time.monotonic()
    before = _measured(side, texts, log_scale, parts.test)
    trained = [*side.output.parameters(), *side.blocks(), log_scale]
    for parameter in trained:
        parameter.requires_grad_(True)
    steps = _Steps(side, texts, log_scale, parts, params)
    history = [Epoch(0, None, steps.valid_loss())]
    best, kept = 0, _copies(trained)
    for number in range(1, params.epochs + 1):
        history.append(Epoch(number, steps.run(), steps.valid_loss()))
        log.info("adapt.epoch", number=number, train=history[-1].train_loss, valid=history[-1].valid_loss)
        if history[-1].valid_loss < history[best].valid_loss:
            best, kept = number, _copies(trained)
        stop = number - best >= params.patience
        if progress is not None:
            progress(number, 0 if stop else params.epochs - number)
        if stop:
            break
    _restore(trained, kept)
    after = _measured(side, texts, log_scale, parts.test)
    return Adapted(before, after, tuple(history), best, time.monotonic() - started)


class _Steps:
    """Runs epochs: seeded order, warm-up, then a learning rate that falls along a cosine over all epochs."""

    def __init__(
        self, side: ImageSide, texts: Tensor, log_scale: nn.Parameter, parts: Parts, params: AdaptParams
    ) -> None:
        self._side, self._texts, self._log_scale, self._parts = side, texts, log_scale, parts
        self._random = np.random.default_rng(params.seed)
        self._noise = torch.Generator(texts.device).manual_seed(params.seed)
        self._batches = max(1, len(parts.train) // params.batch)
        groups = [
            {"params": side.output.parameters(), "lr": params.learning_rate},
            {"params": [log_scale], "lr": params.learning_rate, "weight_decay": 0.0},
            {"params": side.blocks(), "lr": params.learning_rate * BLOCK_RATE},
        ]
        self._optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=params.weight_decay)
        total = self._batches * params.epochs
        warm = max(1, round(WARM_UP * total))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / warm) * (1 + math.cos(math.pi * step / total)) / 2
        )

    def run(self) -> float:
        """One epoch; its mean loss."""
        losses = [self._step(rows) for rows in self._epoch()]
        return sum(losses) / len(losses)

    def valid_loss(self) -> float:
        with torch.no_grad():
            rows = self._parts.valid
            return float(contrastive_loss(self._side.vectors(rows), self._of(rows), self._log_scale))

    def _epoch(self) -> Iterator[Ints]:
        """Batches of one size or one more, so that every pair is used: a batch of rests would be an easy one."""
        yield from np.array_split(self._random.permutation(self._parts.train), self._batches)

    def _step(self, rows: Ints) -> float:
        loss = contrastive_loss(self._side.encode(rows, self._noise), self._of(rows), self._log_scale)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())

    def _of(self, rows: Ints) -> Tensor:
        return self._texts[torch.from_numpy(rows).to(self._texts.device)]


def _measured(side: ImageSide, texts: Tensor, log_scale: Tensor, rows: Ints) -> Measures:
    return measure(side.vectors(rows), texts[torch.from_numpy(rows).to(texts.device)], log_scale)


def _copies(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
