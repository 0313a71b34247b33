"""The processors that the settings ask for: one line each. A new processor, or a new version of one, goes in here."""

from __future__ import annotations

from dataclasses import dataclass

from dsdc.processors.clean import TextCleaner
from dsdc.processors.contract import Cleaner, Embedder, Renderer, TextReader
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.ocr import TesseractReader
from dsdc.processors.render import PageRenderer
from dsdc.settings import Settings


@dataclass(frozen=True)
class ProcessorSet:
    """One processor a stage."""

    renderer: Renderer
    reader: TextReader
    cleaner: Cleaner
    embedder: Embedder


def configured(config: Settings) -> ProcessorSet:
    """The set for these settings; cheap: engines and weights are loaded when first used."""
    return ProcessorSet(
        renderer=PageRenderer(config.render),
        reader=TesseractReader(config.ocr),
        cleaner=TextCleaner(),
        embedder=OpenClipEmbedder(config.clip, config.path("models")),
    )
