"""The head of the first days: a document is what the references most similar to it are.

References are labelled documents, and prompts, which say what the classes are called and need no label. So one model
goes from zero-shot, with prompts alone, to nearest neighbours. Each modality of each kind of reference is compared by
itself, and all comparisons count alike; one that is missing says nothing.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from dsdc.ml.classifier import Counts, Scale
from dsdc.ml.features import Block, Bools, Floats, Ints

#: The one component, for `calibrate`.
NEIGHBOURS = "neighbours"
#: Before the name of a modality: the comparison of it with prompts.
PROMPTS = "prompts-"
#: What each comparison adds to the answer's log-probabilities. They are about the same document, so that their plain
#: sum is far too sure: on the same pages, with one label a class, 0.2 gave the best log score.
_SHARE = 0.2
#: Temperature of a similarity, as a share of its deviation over the archive. On 1,600 pages of 16 classes the best
#: temperatures of five modalities, whose deviations are from 0.02 to 0.2, were 0.5 to 1.2 of it.
_TEMPERATURE = 0.7
#: For similarities of which there are too few to see how they vary.
_USUAL_DEVIATION, _FEW = 0.15, 30
_LEAST_DEVIATION = 1e-3
#: Above it a document was compared with itself.
_SAME = 0.999
#: Documents of the archive that temperatures are taken from.
_SAMPLE = 500

Kind = Literal["neighbours", "zero-shot"]
Rows: TypeAlias = Floats | csr_array


@dataclass(frozen=True)
class NeighbourArchitecture:
    """Everything needed to build an empty head.

    `widths` by modality, as they come in. By comparison (a modality, or PROMPTS and a modality) `references` says how
    many there are, and `numbers` how many of their numbers are not 0 where the modality is sparse; of such a modality
    `kept` columns are read.
    """

    widths: Mapping[str, int]
    kept: Mapping[str, int]
    references: Mapping[str, int]
    numbers: Mapping[str, int]
    classes: int

    @property
    def components(self) -> tuple[str, ...]:
        """Who judges, in the order of the scores."""
        return (NEIGHBOURS,)


@dataclass(frozen=True)
class References:
    """Known documents, or prompts: what is known of them by modality, and the class of each row `[n]`."""

    blocks: Mapping[str, Block]
    labels: Ints


@dataclass(frozen=True)
class Seen:
    """What documents of an archive have in common, by modality: how each is read, and how wide it comes in.

    `rows` `[n, read]` are some of them as they are compared, zero where `present` `[n]` is False; they tell how much
    similarities vary.
    """

    readers: Mapping[str, Scale | Counts]
    widths: Mapping[str, int]
    rows: Mapping[str, Rows]
    present: Mapping[str, Bools]


@dataclass(frozen=True)
class Similarities:
    """By comparison: cosines to its references `[n, references]`, and whether there is anything to compare `[n]`."""

    cosines: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


class Held(nn.Module):
    """The references of one comparison, with their classes, and the temperature of similarities to them."""

    labels: Tensor
    temperature: Tensor

    def __init__(self, references: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.zeros(references, dtype=torch.int64))
        self.register_buffer("temperature", torch.ones(()))

    @abstractmethod
    def cosines(self, unit: Rows) -> Floats:
        """`[n, width]` rows of length 1 to `[n, references]`."""

    def logits(self, cosines: Tensor, classes: int) -> Tensor:
        """`[n, references]` to `[n, classes]`."""
        if not len(self.labels):
            return torch.zeros(len(cosines), classes)
        known = self.labels.unique()
        scaled = [cosines[:, self.labels == label] / self.temperature for label in known]
        logits = torch.stack([mine.logsumexp(dim=1) - 0.5 * math.log(mine.shape[1]) for mine in scaled], dim=1)
        found = logits.mean(dim=1, keepdim=True).repeat(1, classes)
        found[:, known] = logits
        return found


class Dense(Held):
    """References of a dense modality."""

    vectors: Tensor

    def __init__(self, references: int, width: int) -> None:
        super().__init__(references)
        self.register_buffer("vectors", torch.zeros(references, width))

    @classmethod
    def of(cls, unit: Floats) -> Dense:
        """`[references, width]` rows of length 1."""
        held = cls(unit.shape[0], unit.shape[1])
        held.vectors.copy_(torch.from_numpy(unit))
        return held

    def cosines(self, unit: Rows) -> Floats:
        return np.asarray(unit @ self.vectors.numpy().T, dtype=np.float32)


class Sparse(Held):
    """References of a sparse modality, as a compressed sparse row matrix."""

    starts: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, references: int, width: int, numbers: int) -> None:
        super().__init__(references)
        self.width = width
        self.register_buffer("starts", torch.zeros(references + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(numbers, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(numbers))

    @classmethod
    def of(cls, unit: csr_array) -> Sparse:
        """`[references, width]` rows of length 1."""
        held = cls(unit.shape[0], unit.shape[1], unit.nnz)
        held.starts.copy_(torch.from_numpy(unit.indptr))
        held.columns.copy_(torch.from_numpy(unit.indices))
        held.values.copy_(torch.from_numpy(unit.data))
        return held

    def cosines(self, unit: Rows) -> Floats:
        parts = (self.values.numpy(), self.columns.numpy(), self.starts.numpy())
        held = csr_array(parts, shape=(len(self.labels), self.width))
        return np.asarray((unit @ held.T).toarray(), dtype=np.float32)


class NeighbourHead(nn.Module):
    """Same interface as `classifier.DocumentHead`; its state are buffers, and it runs on the CPU.

    A comparison's logit of a class is `log sum exp(cosine / temperature)` over the n references of the class, less
    `log(n) / 2`: half-way between forgetting how common classes are and trusting the labelled few, as in the loss of
    the trained head. A class without references gets the mean of the others, which says nothing of it.
    """

    def __init__(self, architecture: NeighbourArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths, kept, numbers = architecture.widths, architecture.kept, architecture.numbers
        read = {modality_of(comparison) for comparison in architecture.references}
        self.readers = nn.ModuleDict(
            {n: Counts(kept[n], 0) if n in kept else Scale(width) for n, width in widths.items() if n in read}
        )
        self.held = nn.ModuleDict()
        for comparison, references in architecture.references.items():
            name = modality_of(comparison)
            self.held[comparison] = (
                Sparse(references, kept[name], numbers[comparison]) if name in kept else Dense(references, widths[name])
            )

    @property
    def kind(self) -> Kind:
        """By what it has to compare with."""
        return "zero-shot" if all(name.startswith(PROMPTS) for name in self.held) else "neighbours"

    def read(self, blocks: Mapping[str, Block]) -> Similarities:
        """Documents as they are compared."""
        rows = {name: _unit(reader, blocks[name]) for name, reader in self.readers.items()}
        cosines, present = {}, {}
        for comparison, held in self.held.items():
            name = modality_of(comparison)
            cosines[comparison] = torch.from_numpy(cast("Held", held).cosines(rows[name]))
            present[comparison] = torch.from_numpy(blocks[name].present).float()
        return Similarities(cosines, present)

    def forward(self, batch: Similarities) -> Tensor:
        """`[n, 1, classes]` log-probabilities, all equal where there is nothing to compare."""
        classes = self.architecture.classes
        together = sum(
            torch.log_softmax(cast("Held", held).logits(batch.cosines[name], classes), dim=1)
            * batch.present[name][:, None]
            for name, held in self.held.items()
        )
        return torch.log_softmax(_SHARE * cast("Tensor", together), dim=1)[:, None]


def modality_of(comparison: str) -> str:
    """What is compared."""
    return comparison.removeprefix(PROMPTS)


def survey(archive: Mapping[str, Block], ngrams: int) -> Seen:
    """Look at documents like those to come, labelled or not.

    Args:
        ngrams: columns read of a sparse modality.

    Raises:
        ValueError: when there are none.
    """
    given = {name: block for name, block in archive.items() if block.width}
    n = max((len(block.present) for block in given.values()), default=0)
    if not n:
        raise ValueError("there is no document that tells what documents look like")
    readers = {name: _reader(block, ngrams) for name, block in given.items()}
    rows = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
    sample = {name: block[rows] for name, block in given.items()}
    return Seen(
        readers=readers,
        widths={name: block.width for name, block in given.items()},
        rows={name: _unit(readers[name], block) for name, block in sample.items()},
        present={name: block.present for name, block in sample.items()},
    )


def with_references(known: References, prompts: References, seen: Seen, *, classes: int) -> NeighbourHead:
    """A head that compares with these; the same arguments give the same bytes.

    Args:
        known: labelled documents; may be empty.
        prompts: what the classes are called, in the modalities that words can be compared in; may be empty.

    Raises:
        ValueError: when there is nothing to compare with.
    """
    held: dict[str, Held] = {}
    for prefix, given in (("", known), (PROMPTS, prompts)):
        for name, block in given.blocks.items() if len(given.labels) else ():
            if name in seen.readers:
                part = _hold(seen.readers[name], block, given.labels, centred=bool(prefix))
                deviation = _deviation(part.cosines(seen.rows[name]), seen.present[name])
                part.temperature.fill_(_TEMPERATURE * deviation)
                held[prefix + name] = part
    if not held:
        raise ValueError("there is neither a labelled document nor a prompt to compare with")
    head = NeighbourHead(_architecture(seen, held, classes))
    head.readers.update({name: seen.readers[name] for name in head.readers})
    head.held.update(held)
    return head.eval()


def _reader(block: Block, ngrams: int) -> Scale | Counts:
    """Fitted on the documents that have the modality."""
    if block.sparse:
        counts = cast("csr_array", block.values)[block.present]
        return Counts.fitted(counts, most=ngrams, topics=0, seed=0)
    scale = Scale(block.width)
    scale.fit(torch.from_numpy(np.asarray(block.values)).float(), torch.from_numpy(block.present).float())
    return scale


def _unit(reader: nn.Module, block: Block) -> Rows:
    """`[n, read]` rows of length 1, zero where there is nothing."""
    if isinstance(reader, Counts):
        return reader.weigh(cast("csr_array", block.values))
    with torch.no_grad():
        values = torch.from_numpy(np.asarray(block.values)).float()
        found = reader(values, torch.from_numpy(block.present).float())
        return np.asarray(nn.functional.normalize(found, dim=1).numpy())


def _hold(reader: Scale | Counts, block: Block, labels: Ints, *, centred: bool) -> Held:
    """The references that have the modality.

    Prompts are `centred` by themselves: what makes a prompt unlike a document is common to all prompts, and would only
    be noise in what tells one class from another.
    """
    there = np.flatnonzero(block.present)
    held: Held
    if isinstance(reader, Counts):
        held = Sparse.of(csr_array(_unit(reader, block[there])))
    else:
        values = np.asarray(block.values)[there]
        away = values - values.mean(axis=0) + reader.mean.numpy() if centred and len(there) > 1 else values
        held = Dense.of(np.asarray(_unit(reader, Block(away, block.present[there]))))
    held.labels.copy_(torch.from_numpy(labels[there]))
    return held


def _architecture(seen: Seen, held: Mapping[str, Held], classes: int) -> NeighbourArchitecture:
    readers = {modality_of(name): seen.readers[modality_of(name)] for name in held}
    return NeighbourArchitecture(
        widths=seen.widths,
        kept={name: len(reader.columns) for name, reader in readers.items() if isinstance(reader, Counts)},
        references={name: len(part.labels) for name, part in held.items()},
        numbers={name: len(part.values) for name, part in held.items() if isinstance(part, Sparse)},
        classes=classes,
    )


def _deviation(cosines: Floats, present: Bools) -> float:
    """Standard deviation of the similarities of different documents."""
    found = cosines[present]
    found = found[found < _SAME]
    return max(_LEAST_DEVIATION, float(found.std())) if len(found) >= _FEW else _USUAL_DEVIATION
