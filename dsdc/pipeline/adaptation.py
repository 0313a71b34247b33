"""The archive's own page image/text pairs -> the CLIP in use, adapted to them, as a new version beside the old one."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from dsdc.db.repositories.embeddings import Vectors
from dsdc.db.repositories.pairs import PairRow, Pairs
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, CorruptFile, PurposeFailed
from dsdc.log import get_logger
from dsdc.ml.adapt.export import export
from dsdc.ml.adapt.images import FeatureSide, ImageSide, PixelSide
from dsdc.ml.adapt.loop import Adapted, adapt
from dsdc.ml.adapt.params import AdaptParams
from dsdc.ml.adapt.parts import Parts, part, require, summary
from dsdc.ml.recipe import code_commit, library_versions
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.processors.embed.embedder import CPU_IMAGES, OpenClipEmbedder
from dsdc.processors.embed.preprocess import Pixels
from dsdc.processors.embed.runtime import Encoder
from dsdc.processors.embed.weights import LOCAL_DIR, Weights, WeightsStore
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, open_storage

log = get_logger(__name__)
#: A page with less text says too little to be found by it.
LEAST_CHARACTERS = 40
_TEXTS_AT_ONCE = 200

Progress = Callable[[str, int, int], None]  # (step, done, still to come)


@dataclass(frozen=True)
class AdaptReport:
    """The new model, what it was made of, and what it is worth on pages that it has not seen."""

    weights: Weights
    base: Mapping[str, str]
    pairs: Mapping[str, Any]
    params: AdaptParams
    adapted: Adapted

    @property
    def better(self) -> bool:
        return self.adapted.after.better_than(self.adapted.before)

    @property
    def model(self) -> str:
        """What `clip.model` has to be for this model to be used."""
        return f"{LOCAL_DIR}{self.weights.folder}"

    @property
    def setting(self) -> str:
        """The lines for config.local.yaml."""
        return f'clip:\n  model: {self.model}\n  pretrained: ""\n  sha256: {self.weights.sha256}'

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "weights_sha256": self.weights.sha256,
            "better": self.better,
            "before": self.adapted.before.as_dict(),
            "after": self.adapted.after.as_dict(),
            "epochs": len(self.adapted.epochs) - 1,
            "best_epoch": self.adapted.best,
            "seconds": round(self.adapted.seconds, 2),
            "pairs": dict(self.pairs),
            "base": dict(self.base),
            "params": self.params.model_dump(),
            "setting": self.setting,
        }


def adapt_clip(
    *, overrides: Mapping[str, object] | None = None, force: bool = False, author: str, progress: Progress | None = None
) -> AdaptReport:
    """Adapt the configured CLIP to the archive; the configuration and all embeddings stay as they are.

    Args:
        overrides: values of `AdaptParams`.
        force: keep the result also where it is no better on the pages held out.
        author: who or what asked for it; stands in the model's record.

    Raises:
        SettingsError: a value is not valid. ModelError: too few pairs, or a model that cannot be adapted so.
        PurposeFailed: the adapted model is no better; nothing is written.
    """
    config = settings()
    params = AdaptParams().overridden(overrides or {})
    tell = progress or (lambda *_: None)
    base = WeightsStore(config.clip, config.path("models"))
    with _collected(config, base, params, tell) as material:
        encoder = material.encoder
        found = adapt(
            material.side,
            material.texts,
            encoder.model.logit_scale,
            material.parts,
            params,
            lambda done, still: tell("epochs", done, still),
        )
        _judge(found, force)
        pairs = summary(material.rows, material.parts)
        origin = {"model": base.model_label, "pretrained": base.label, "weights_sha256": encoder.sha256}
        weights = export(encoder, base, _record(config, params, origin, pairs, found, force, author))
    return AdaptReport(weights, origin, pairs, params, found)


@dataclass(frozen=True)
class _Material:
    """Rows, texts `[n, width]` and the pages in `side` are in one order, to which the parts' numbers belong."""

    encoder: Encoder
    side: ImageSide
    rows: Sequence[PairRow]
    texts: torch.Tensor
    parts: Parts


@contextmanager
def _collected(config: Settings, base: WeightsStore, params: AdaptParams, tell: Progress) -> Iterator[_Material]:
    ready, storage = assemble(config), open_storage(config)
    with transaction() as session:
        rows = Pairs(session).distinct(
            ready.versions, least_characters=LEAST_CHARACTERS, limit=params.max_pairs, seed=params.seed
        )
    require(len(rows))
    embedder = OpenClipEmbedder(config.clip, config.path("models"))  # its own: its weights are going to change
    encoder = embedder.load()
    vectors = _text_vectors(rows, ready, embedder, tell)
    base.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adapt-", dir=base.home) as scratch:
        side = _side(encoder, params, Path(scratch), len(rows))
        read = _add_pages(side, rows, storage, tell)
        require(len(read))
        chosen = [rows[row] for row in read]
        texts = vectors[read]
        parts = part(chosen, side.vectors(np.arange(len(chosen))).cpu().numpy(), texts, params)
        yield _Material(encoder, side, chosen, torch.from_numpy(texts).to(encoder.device), parts)


def _text_vectors(rows: Sequence[PairRow], ready: Assembly, embedder: OpenClipEmbedder, tell: Progress) -> Vectors:
    """`[n, width]`: those in the store, and the others embedded now. The text tower is locked, so they stay valid."""
    found: dict[int, Vectors] = {}
    ids = [row.text_id for row in rows]
    for at in range(0, len(ids), _TEXTS_AT_ONCE):
        some = ids[at : at + _TEXTS_AT_ONCE]
        with transaction() as session:
            found |= Pairs(session).text_vectors(some, ready.versions.embed)
            missing = Pairs(session).texts([text_id for text_id in some if text_id not in found])
        found |= zip(missing, embedder.texts(list(missing.values())), strict=True)
        tell("texts", len(found), len(ids) - len(found))
    return np.stack([found[text_id] for text_id in ids])


def _side(encoder: Encoder, params: AdaptParams, scratch: Path, pages: int) -> ImageSide:
    if params.blocks:
        return PixelSide(encoder, params.blocks, scratch / "pixels.npy", pages)
    return FeatureSide(encoder, params.dropout)


def _add_pages(side: ImageSide, rows: Sequence[PairRow], storage: Storage, tell: Progress) -> list[int]:
    """Row numbers of the pages that could be read, in the order in which they were added."""

    def pixels(row: PairRow) -> Pixels | None:
        try:
            return side.encoder.fit(Image.open(io.BytesIO(storage.read(row.image_file))))
        except (BytesMissing, CorruptFile, UnidentifiedImageError) as error:
            log.warning("adapt.unreadable", document=row.document_id, page=row.page, reason=str(error))
            return None

    read: list[int] = []
    with ThreadPoolExecutor(CPU_IMAGES, thread_name_prefix="adapt") as pool:
        for at in range(0, len(rows), CPU_IMAGES):
            pages = list(pool.map(pixels, rows[at : at + CPU_IMAGES]))
            good = [page for page in pages if page is not None]
            if good:
                side.add(good)
            read += [at + index for index, page in enumerate(pages) if page is not None]
            tell("pages", at + len(pages), len(rows) - at - len(pages))
    return read


def _judge(found: Adapted, force: bool) -> None:
    """Raise PurposeFailed where the model gained nothing, unless it is wanted nevertheless."""
    before, after = found.before, found.after
    if found.best == 0:
        raise PurposeFailed(
            "No epoch was better than the model as it is; there is nothing to write.",
            hint="Adapt with more pages, or with a lower --learning-rate.",
        )
    if not after.better_than(before) and not force:
        gain, error = after.gain_over(before)
        raise PurposeFailed(
            f"The adapted model is no better on {len(after.text_ranks)} pages held out: mean reciprocal rank"
            f" {after.reciprocal_rank:.3f}, before {before.reciprocal_rank:.3f} (gain {gain:+.4f}, standard error"
            f" {error:.4f}). It was not written.",
            hint="Adapt with more pages; --force keeps such a model for a comparison.",
        )


def _record(
    config: Settings,
    params: AdaptParams,
    origin: Mapping[str, str],
    pairs: Mapping[str, Any],
    found: Adapted,
    force: bool,
    author: str,
) -> dict[str, Any]:
    return {
        "format": 1,
        "base": dict(origin),
        "pairs": dict(pairs),
        "params": params.model_dump(),
        "epochs": [asdict(epoch) for epoch in found.epochs],
        "best_epoch": found.best,
        "before": found.before.as_dict(),
        "after": found.after.as_dict(),
        "better": found.after.better_than(found.before),
        "forced": force,
        "author": author,
        "code_commit": code_commit(config.root),
        "libraries": library_versions(),
    }
