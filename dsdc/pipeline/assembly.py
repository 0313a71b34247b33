"""The stages with their registered processors and the store: what a worker and the prediction service run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.processors import Processors
from dsdc.db.repositories.vector_index import VectorIndex
from dsdc.db.session import transaction
from dsdc.errors import NotFound
from dsdc.log import get_logger
from dsdc.pipeline.contract import Stage
from dsdc.pipeline.stages.clean_text import CleanStage
from dsdc.pipeline.stages.embed import EmbedImageStage, EmbedTextStage
from dsdc.pipeline.stages.render import RenderStage
from dsdc.pipeline.stages.text import TextStage
from dsdc.pipeline.stages.unpack import UnpackStage
from dsdc.processors.contract import Processor
from dsdc.processors.registry import ProcessorSet, configured
from dsdc.settings import Settings
from dsdc.storage import Storage, open_storage

log = get_logger(__name__)

STAGES = ("unpack", "render", "text", "clean", "embed-image", "embed-text")


@dataclass(frozen=True)
class Registered:
    """Ids of the processors' versions. The unpacker's is apart: no derived row of a document depends on it.

    `describers` are by modality.
    """

    unpack: int
    versions: Versions
    describers: Mapping[str, int]

    @property
    def of_stages(self) -> frozenset[int]:
        """The processors that stages apply: those that inputs are queued for."""
        used = self.versions
        return frozenset((self.unpack, used.render, used.text, used.clean, used.embed))


@dataclass(frozen=True)
class Assembly:
    """All stages of one configuration."""

    config: Settings
    processors: ProcessorSet
    ids: Registered
    unpack: UnpackStage
    render: RenderStage
    text: TextStage
    clean: CleanStage
    embed_image: EmbedImageStage
    embed_text: EmbedTextStage

    @property
    def versions(self) -> Versions:
        """The processor ids whose rows belong together."""
        return self.ids.versions

    def over(self, storage: Storage) -> Assembly:
        """The same stages over another store: a scratch one, for documents that are not kept."""
        return bind(self.config, self.processors, self.ids, storage)

    def stage(self, name: str) -> Stage[Any, Any]:
        """The stage called `name`.

        Raises:
            NotFound: naming the stages that there are.
        """
        stages: tuple[Stage[Any, Any], ...] = (
            self.unpack,
            self.render,
            self.text,
            self.clean,
            self.embed_image,
            self.embed_text,
        )
        for stage in stages:
            if stage.name == name:
                return stage
        raise NotFound(f"There is no stage {name!r}.", hint=f"Stages: {', '.join(STAGES)}.")


def register(processors: ProcessorSet) -> Registered:
    """Record the processors' versions and return their ids."""
    with transaction() as session:
        ids = Processors(session)

        def one(p: Processor) -> int:
            return ids.register(p.stage, p.name, p.version, p.params_hash, p.params)

        return Registered(
            unpack=one(processors.unpacker),
            versions=Versions(
                render=one(processors.renderer),
                text=one(processors.reader),
                clean=one(processors.cleaner),
                embed=one(processors.embedder),
            ),
            describers={describer.modality: one(describer) for describer in processors.describers},
        )


def assemble(config: Settings, storage: Storage | None = None) -> Assembly:
    """Build the stages that the settings ask for; registers processors in the database."""
    place = storage or open_storage(config)
    processors = configured(config)
    return bind(config, processors, register(processors), place)


def bind(config: Settings, processors: ProcessorSet, ids: Registered, storage: Storage) -> Assembly:
    """The stages over a given store."""
    versions = ids.versions
    return Assembly(
        config=config,
        processors=processors,
        ids=ids,
        unpack=UnpackStage(processors.unpacker, ids.unpack, storage, config),
        render=RenderStage(processors.renderer, versions.render, storage, at_once=config.parsing.at_once),
        text=TextStage(processors.reader, versions.text, versions.render, storage),
        clean=CleanStage(processors.cleaner, versions.clean, versions.text),
        embed_image=EmbedImageStage(processors.embedder, versions.embed, versions.render, storage),
        embed_text=EmbedTextStage(processors.embedder, versions.embed, versions.clean),
    )


def ensure_vector_index(assembly: Assembly, *, at_most: int | None = None) -> None:
    """Build the nearest-neighbour index of the embedder in use if it is missing and nobody else is at it.

    Args:
        at_most: only while there are no more vectors than so many, so that it takes a moment.
    """
    with transaction() as session:
        index = VectorIndex(session, assembly.versions.embed)
        if index.exists():
            return
        vectors = index.vectors()
        if at_most is not None and vectors > at_most:
            return
        log.info("vector_index.building", vectors=vectors)
        # Where there are vectors, they tell their width without loading the model.
        width = Embeddings(session).width(assembly.versions.embed) if vectors else assembly.processors.embedder.width
        if not index.build(width):
            log.info("vector_index.another_builds_it")
