"""The head: what is known of a document, by modality, to log-probabilities of its classes.

Two components judge side by side, and `calibrate` learns how much each is worth: networks (one component, the mean of
a few that differ in their seed alone), and linear judges (`judge`), one for each kind of evidence. Both see every
modality at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from sklearn.decomposition import TruncatedSVD
from torch import Tensor, nn

from dsdc.ml import judge as judges
from dsdc.ml.calibrate import EVIDENCE, Evidence, belongs, evidence
from dsdc.ml.features import Block, Floats, Ints
from dsdc.ml.judge import Judge, Waves
from dsdc.ml.regression import Part
from dsdc.settings import Train

#: Standard deviations under this are of a constant column, which says nothing.
_LEAST_STD = 1e-6
#: Mean length of a standardised row. Raw columns of unit deviation have a length of sqrt(width), at which Adam's equal
#: steps in every weight overshoot: validation loss 7.3 instead of 2.1 after the first epochs on 160 real pages.
_LENGTH = 3.0
#: Chance that one number of the input is dropped in training; that of a whole modality is a setting.
_INPUT_DROPOUT = 0.2
NETWORK, JUDGE = "network", "judge"


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build an empty head.

    `widths` by modality in order of reading, as they come in. `kept` is, for each sparse modality, how many of its
    columns are read, and `topics` into how many numbers the networks get them; `frequencies` is how many the judges
    read each dense modality with.
    """

    widths: Mapping[str, int]
    kept: Mapping[str, int]
    topics: Mapping[str, int]
    frequencies: int
    classes: int
    members: int
    hidden: int
    dropout: float
    modality_dropout: float

    @property
    def components(self) -> tuple[str, ...]:
        """Who judges, in the order of the scores."""
        return NETWORK, JUDGE

    def inputs(self) -> int:
        """Numbers that a network reads, a mask for each modality among them."""
        return sum(self.topics.get(name, width) for name, width in self.widths.items()) + len(self.widths)

    def judged(self, kind: Evidence) -> dict[str, int]:
        """Widths of the modalities that the judge of this evidence reads."""
        return {name: width for name, width in self.widths.items() if belongs(name, kind)}


@dataclass(frozen=True)
class Batch:
    """Documents as a head's networks read them: `[n, width]` values by modality, `[n]` presence (0.0 or 1.0).

    `features` `[n, ...]` by modality are what the judges read, and `kinds` `[n]` what each document is judged by (its
    position in `EVIDENCE`).
    """

    values: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    features: Mapping[str, Part]
    kinds: Ints

    def __getitem__(self, rows: Tensor | slice) -> Batch:
        """Some documents, for the networks alone."""
        return Batch(
            {name: values[rows] for name, values in self.values.items()},
            {name: values[rows] for name, values in self.present.items()},
            {},
            self.kinds[:0],
        )

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))


class Scale(nn.Module):
    """A dense modality, standardised with the training documents' statistics, silent where it is missing.

    Columns are divided by the square root of their deviation, half-way between trusting the embedding's own scale
    and giving each column the same: on real pages the full way lets noisy columns in, and none hides small ones.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def fit(self, values: Tensor, present: Tensor) -> None:
        """Take mean and scale from the rows that are present; with fewer than two the defaults stay."""
        rows = values[present > 0]
        if len(rows) < 2:
            return
        deviation = rows.std(dim=0, correction=0)
        scale = torch.where(deviation > _LEAST_STD, deviation.clamp_min(_LEAST_STD).rsqrt(), 0.0)
        length = (deviation * scale).norm().clamp_min(_LEAST_STD)
        self.mean.copy_(rows.mean(dim=0))
        self.scale.copy_(scale * (_LENGTH / length))

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """`[n, width]` to the same."""
        return (values - self.mean) * self.scale * present[:, None]


class Counts(nn.Module):
    """A sparse modality: tf-idf of its telling columns for the linear judges, and their topics (LSA) for the networks.

    Weights are `(1 + log n) * idf`, rows have length 1 (Salton, Buckley 1988). Columns that occur in one training
    document only are left out; of the rest, those in most documents are kept.
    """

    columns: Tensor
    idf: Tensor
    topics: Tensor

    def __init__(self, kept: int, topics: int) -> None:
        super().__init__()
        self.register_buffer("columns", torch.zeros(kept, dtype=torch.int64))
        self.register_buffer("idf", torch.ones(kept))
        self.register_buffer("topics", torch.zeros(kept, topics))
        self.scale = Scale(topics)

    @classmethod
    def fitted(cls, counts: csr_array, *, most: int, topics: int, seed: int) -> Counts:
        """From training documents' `[n, width]` counts."""
        found_in = counts.count_nonzero(axis=0)
        order = np.argsort(-found_in, kind="stable")[:most]
        columns = np.sort(order[found_in[order] >= min(2, max(1, counts.shape[0] // 2))])
        idf = np.log((1 + counts.shape[0]) / (1 + found_in[columns])) + 1
        chosen = max(0, min(topics, len(columns) - 1, counts.shape[0] - 1))
        made = cls(len(columns), chosen)
        made.columns.copy_(torch.from_numpy(columns))
        made.idf.copy_(torch.from_numpy(idf))
        if chosen:
            axes = TruncatedSVD(chosen, random_state=seed).fit(made.weigh(counts)).components_.T
            made.topics.copy_(torch.from_numpy(np.ascontiguousarray(axes)))
        return made

    def weigh(self, counts: csr_array) -> csr_array:
        """`[n, width]` counts to `[n, kept]` tf-idf."""
        weighted = csr_array(counts[:, self.columns.numpy()], dtype=np.float32)
        weighted.eliminate_zeros()
        weighted.data = 1 + np.log(weighted.data)
        weighted = csr_array(weighted @ diags_array(self.idf.numpy()))
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
        return csr_array(diags_array((1 / np.maximum(lengths, _LEAST_STD)).astype(np.float32)) @ weighted)

    def reduce(self, weighted: csr_array) -> Floats:
        """`[n, kept]` tf-idf to `[n, topics]`."""
        return np.asarray(weighted @ self.topics.numpy(), dtype=np.float32)


class Member(nn.Module):
    """One network: all modalities, and which of them are missing, through one hidden layer.

    In training, `modality_dropout` is the chance of each modality to be lost, so that a document of which only some
    are there is nothing new; one always stays.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.modality_dropout = architecture.modality_dropout
        self.hidden = nn.Linear(architecture.inputs(), architecture.hidden)
        self.drop = nn.Dropout(architecture.dropout)
        self.out = nn.Linear(architecture.hidden, architecture.classes)

    def forward(self, batch: Batch) -> Tensor:
        """`[n, classes]` logits."""
        present = torch.stack(list(batch.present.values()), dim=1)
        kept = self._lose_some(present) if self.training else present
        parts = [values * kept[:, i, None] for i, values in enumerate(batch.values.values())]
        if self.training:
            parts = [nn.functional.dropout(part, _INPUT_DROPOUT) for part in parts]
        hidden = nn.functional.gelu(self.hidden(torch.cat([*parts, kept], dim=1)))
        return cast("Tensor", self.out(self.drop(hidden)))

    def _lose_some(self, present: Tensor) -> Tensor:
        """`[n, modalities]` presence after modality dropout; the sum over the rest is made up for by their scale."""
        staying = (torch.rand_like(present) >= self.modality_dropout).to(present.dtype) * present
        last = nn.functional.one_hot(torch.rand_like(present).mul(present).argmax(dim=1), present.shape[1])
        staying = torch.where(staying.sum(dim=1, keepdim=True) > 0, staying, last * present)
        return staying / (1 - self.modality_dropout)


class DocumentHead(nn.Module):
    """Classifier of documents of which any modality may be missing; learns from ten pages a class."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        kept, topics = architecture.kept, architecture.topics
        dense = {name: width for name, width in architecture.widths.items() if name not in kept}
        self.scales = nn.ModuleDict({name: Scale(width) for name, width in dense.items()})
        self.counts = nn.ModuleDict({name: Counts(n, topics[name]) for name, n in kept.items()})
        self.waves = nn.ModuleDict({name: Waves(width, architecture.frequencies) for name, width in dense.items()})
        self.judges = nn.ModuleDict({kind: _judge(architecture, kind) for kind in EVIDENCE})
        self.members = nn.ModuleList(Member(architecture) for _ in range(architecture.members))

    def judge(self, kind: Evidence) -> Judge:
        """The judge of documents with this evidence."""
        return cast("Judge", self.judges[kind])

    def to_device(self, device: torch.device) -> Self:
        """Everything but what the judges read and do: their products are small, and exact on the CPU."""
        self.scales.to(device)
        self.members.to(device)
        for reader in self.counts.values():
            cast("Counts", reader).scale.to(device)
        return self

    @torch.no_grad()
    def read(self, blocks: Mapping[str, Block]) -> Batch:
        """Documents as the components see them; the networks' part on the head's device."""
        device = self._device()
        values, present, features = {}, {}, {}
        for name in self.architecture.widths:
            block = blocks[name]
            present[name] = torch.from_numpy(block.present).to(device, torch.float32)
            if name in self.architecture.kept:
                counts = cast("Counts", self.counts[name])
                rows = counts.weigh(cast("csr_array", block.values))
                values[name] = counts.scale(torch.from_numpy(counts.reduce(rows)).to(device), present[name])
                features[name] = judges.weighed(name, rows)
            else:
                dense = torch.from_numpy(np.asarray(block.values)).to(device, torch.float32)
                values[name] = self.scales[name](dense, present[name])
                waves = self.waves[name](values[name].cpu() / _LENGTH).numpy() * block.present[:, None]
                features[name] = judges.weighed(name, waves)
        return Batch(values, present, features, evidence(blocks))

    def forward(self, batch: Batch) -> Tensor:
        """`[n, components, classes]` log-probabilities."""
        networks = torch.stack([torch.log_softmax(member(batch), dim=1) for member in self.members])
        together = networks.logsumexp(dim=0) - math.log(len(self.members))
        return torch.stack([together, self._judged(batch).to(together.device)], dim=1)

    def parts(self, batch: Batch, kind: Evidence, rows: Ints) -> list[Part]:
        """What the judge of this evidence reads of the documents at these rows."""
        return [batch.features[name][rows] for name in self.architecture.judged(kind)]

    def _judged(self, batch: Batch) -> Tensor:
        """`[n, classes]` log-probabilities, of each document from the judge of what there is of it."""
        found = torch.zeros(len(batch), self.architecture.classes)
        for number, kind in enumerate(EVIDENCE):
            rows = np.flatnonzero(batch.kinds == number)
            if len(rows):
                found[rows] = torch.from_numpy(self.judge(kind).score(self.parts(batch, kind, rows)))
        return found

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _judge(architecture: Architecture, kind: Evidence) -> Judge:
    width = judges.width_of(architecture.judged(kind), architecture.kept, architecture.frequencies)
    return Judge(width, architecture.classes)


def untrained(blocks: Mapping[str, Block], classes: int, config: Train) -> DocumentHead:
    """A head for these training documents: readers fitted (scales, idf, topics) and frequencies drawn; judges and
    networks have still to learn."""
    counts = {
        name: Counts.fitted(
            cast("csr_array", block.values)[block.present],
            most=config.ngrams,
            topics=config.topics,
            seed=config.seed,
        )
        for name, block in blocks.items()
        if block.sparse
    }
    widths = {name: block.width for name, block in blocks.items() if block.width}
    documents = len(next(iter(blocks.values())).present)
    architecture = Architecture(
        widths=widths,
        kept={name: len(reader.columns) for name, reader in counts.items()},
        topics={name: reader.topics.shape[1] for name, reader in counts.items()},
        frequencies=judges.frequencies_for(documents, len(widths.keys() - counts.keys())),
        classes=classes,
        members=config.members,
        hidden=config.hidden,
        dropout=config.dropout,
        modality_dropout=config.modality_dropout,
    )
    head = DocumentHead(architecture)
    head.counts.update(counts)
    generator = torch.Generator().manual_seed(config.seed)
    for waves in head.waves.values():
        cast("Waves", waves).draw(generator)
    for name in architecture.widths:
        block, present = blocks[name], torch.from_numpy(blocks[name].present).float()
        if name in counts:
            topics = counts[name].reduce(counts[name].weigh(cast("csr_array", block.values)))
            counts[name].scale.fit(torch.from_numpy(topics), present)
        else:
            cast("Scale", head.scales[name]).fit(torch.from_numpy(np.asarray(block.values)).float(), present)
    return head
