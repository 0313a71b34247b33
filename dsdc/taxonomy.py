"""The label set: slugs, display names, prompts; built from `taxonomy` in the settings."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from dsdc.settings import TaxonomySettings


@dataclass(frozen=True)
class LabelClass:
    slug: str
    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """An ordered set of classes; the order is the order of a model's outputs."""

    name: str
    classes: tuple[LabelClass, ...]

    @classmethod
    def from_settings(cls, config: TaxonomySettings) -> Taxonomy:
        return cls(
            name=config.name,
            classes=tuple(
                LabelClass(
                    c.slug, c.name, tuple(p.replace("{}", c.name.lower()) for p in (c.prompts or config.prompts))
                )
                for c in config.classes
            ),
        )

    @property
    def slugs(self) -> tuple[str, ...]:
        return tuple(c.slug for c in self.classes)

    def display(self, slug: str) -> str:
        """The name people read; a slug that left the taxonomy is shown as it is."""
        return next((c.name for c in self.classes if c.slug == slug), slug)

    def find(self, text: str) -> str | None:
        """The slug that a folder or a column means (`Scientific Report`, `scientific-report`), or None."""
        wanted = _fold(text)
        return next((c.slug for c in self.classes if wanted in (_fold(c.slug), _fold(c.name))), None)


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(ch for ch in text if ch.isalnum())
