"""The processors that there are, in all their versions, and the set that the settings ask for.

A new version of a processor is a class of its own beside the old one, and one line here; the old one stays, so that
what it made can be made again. It becomes the default once it has been measured (`dsdc replay`); until then
`processors.<stage>` of the settings asks for it. One that parses untrusted bytes also has to be named to the child
processes (`sandbox/child.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dsdc.errors import SettingsError
from dsdc.processors.clean import MarkCleaner, TextCleaner
from dsdc.processors.contract import Cleaner, Embedder, Processor, Renderer, TextReader, Unpacker
from dsdc.processors.describe import CharacterNgrams, Describer, WordLayout, WordNgrams
from dsdc.processors.embed.embedder import OpenClipEmbedder
from dsdc.processors.sandbox import Parsers, SandboxedReader, SandboxedRenderer, SandboxedUnpacker
from dsdc.settings import Settings

Kind = TypeVar("Kind", bound=Processor)


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


@dataclass(frozen=True)
class Parts:
    """What a processor may be made from."""

    config: Settings
    parsers: Parsers


@dataclass(frozen=True)
class Versions(Generic[Kind]):
    """One stage's processor in every version whose code is here."""

    stage: str
    name: str
    default: str
    makers: Mapping[str, Callable[[Parts], Kind]]

    def make(self, version: str, parts: Parts) -> Kind:
        """The processor in this version, in the default one where none is named.

        Raises:
            SettingsError: there is no such version; the hint names those that there are.
        """
        wanted = version or self.default
        if wanted not in self.makers:
            raise SettingsError(
                f"There is no version {wanted!r} of {self.name} (processors.{self.stage}).",
                hint=f"Versions whose code is here: {', '.join(self.makers)}; empty means {self.default}.",
            )
        return self.makers[wanted](parts)


def _versions(default: type[Kind], *classes: tuple[type[Kind], Callable[[Parts], Kind]]) -> Versions[Kind]:
    """Each class with what makes one of it, oldest first."""
    return Versions(default.stage, default.name, default.version, {kind.version: make for kind, make in classes})


UNPACKERS = _versions(SandboxedUnpacker, (SandboxedUnpacker, lambda parts: SandboxedUnpacker(parts.parsers)))
RENDERERS = _versions(
    SandboxedRenderer, (SandboxedRenderer, lambda parts: SandboxedRenderer(parts.config.render, parts.parsers))
)
READERS = _versions(SandboxedReader, (SandboxedReader, lambda parts: SandboxedReader(parts.config.ocr, parts.parsers)))
CLEANERS = _versions(TextCleaner, (TextCleaner, lambda _: TextCleaner()), (MarkCleaner, lambda _: MarkCleaner()))
EMBEDDERS = _versions(
    OpenClipEmbedder,
    (OpenClipEmbedder, lambda parts: OpenClipEmbedder(parts.config.clip, parts.config.path("models"))),
)
DESCRIBERS: tuple[type[Describer], ...] = (WordLayout, CharacterNgrams, WordNgrams)

_ALL: tuple[Versions[Any], ...] = (UNPACKERS, RENDERERS, READERS, CLEANERS, EMBEDDERS)
STAGES: Mapping[str, Versions[Any]] = {kinds.stage: kinds for kinds in _ALL}


def parts_of(config: Settings) -> Parts:
    """Cheap: child processes come when first used."""
    return Parts(config, Parsers(config.parsing, config.render, config.ocr))


def configured(config: Settings) -> ProcessorSet:
    """The set for these settings; cheap: engines, weights and child processes come when first used.

    Raises:
        SettingsError: a version is asked for whose code is not here.
    """
    parts, wanted = parts_of(config), config.processors
    return ProcessorSet(
        unpacker=UNPACKERS.make(wanted.unpack, parts),
        renderer=RENDERERS.make(wanted.render, parts),
        reader=READERS.make(wanted.text, parts),
        cleaner=CLEANERS.make(wanted.clean, parts),
        embedder=EMBEDDERS.make(wanted.embed, parts),
        keep_warm=parts.parsers.keep_warm,
        break_off=parts.parsers.break_off,
        describers=tuple(describer() for describer in DESCRIBERS),
    )
