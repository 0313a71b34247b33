"""The processors that the settings ask for: one line each. A new processor, or a new version of one, goes in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsdc.processors.clean import TextCleaner
from dsdc.processors.contract import Cleaner, Embedder, Renderer, TextReader, Unpacker
from dsdc.processors.describe import CharacterNgrams, Describer, WordLayout, WordNgrams
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.sandbox import Parsers, SandboxedReader, SandboxedRenderer, SandboxedUnpacker
from dsdc.settings import Settings


@dataclass(frozen=True)
class ProcessorSet:
    """One processor a stage."""

    unpacker: Unpacker
    renderer: Renderer
    reader: TextReader
    cleaner: Cleaner
    embedder: Embedder
    #: Starts the child processes ahead of the first request, and keeps them started.
    keep_warm: Callable[[], None] = lambda: None
    #: Ends what child processes are at, for good; what they were asked for then fails with ParserDied.
    break_off: Callable[[], None] = lambda: None
    #: What the head gets beside the embeddings; pure and quick, so there is no stage for it.
    describers: tuple[Describer, ...] = ()


def configured(config: Settings) -> ProcessorSet:
    """The set for these settings; cheap: engines, weights and child processes come when first used."""
    parsers = Parsers(config.parsing, config.render, config.ocr)
    return ProcessorSet(
        unpacker=SandboxedUnpacker(parsers),
        renderer=SandboxedRenderer(config.render, parsers),
        reader=SandboxedReader(config.ocr, parsers),
        cleaner=TextCleaner(),
        embedder=OpenClipEmbedder(config.clip, config.path("models")),
        keep_warm=parsers.keep_warm,
        break_off=parsers.break_off,
        describers=(WordLayout(), CharacterNgrams(), WordNgrams()),
    )
