"""Page texts as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from dsdc.processors.contract import PageText, Word


def page_text_to_json(text: PageText) -> dict[str, Any]:
    return {
        "text": text.text,
        "extraction": text.extraction,
        "confidence": text.confidence,
        "words": [astuple(word) for word in text.words],
        "notes": dict(text.notes),
    }


def page_text_from_json(value: Mapping[str, Any]) -> PageText:
    return PageText(
        text=value["text"],
        extraction=value["extraction"],
        confidence=value["confidence"],
        words=tuple(Word(*word) for word in value["words"]),
        notes=value["notes"],
    )
