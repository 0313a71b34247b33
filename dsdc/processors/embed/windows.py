"""Long texts as windows of a model's context length, for each of open_clip's tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: No vocabulary has longer tokens that matter; bounds the work on a text far longer than its windows.
CHARACTERS_A_TOKEN = 32


@dataclass(frozen=True)
class Window:
    """Token ids with the special ones, not padded; `weight` counts the tokens that came from the text, at least 1."""

    ids: tuple[int, ...]
    weight: int


class Windower(Protocol):
    """Cuts texts into windows without overlap, at most `limit` a text and at least one."""

    pad: int

    def __call__(self, texts: Sequence[str], limit: int) -> list[list[Window]]: ...


def windower(tokenizer: Any, context: int) -> Windower:
    """The windower for a tokenizer made by `open_clip.get_tokenizer`, with windows of `context` tokens."""
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "sot_token_id"):
        return _Bpe(tokenizer, context)
    inner = getattr(tokenizer, "tokenizer", None)
    mode = getattr(tokenizer, "tokenizer_mode", "")
    if inner is not None and getattr(inner, "is_fast", False) and not mode and hasattr(tokenizer, "clean_fn"):
        return _Fast(tokenizer, context)
    return _Words(tokenizer, context)


class _Bpe:
    """open_clip's own byte-pair tokenizer (the default of CLIP models)."""

    pad = 0

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer = tokenizer
        self.room = context - 2

    def __call__(self, texts: Sequence[str], limit: int) -> list[list[Window]]:
        return [self._one(_printable(text, limit * self.room), limit) for text in texts]

    def _one(self, text: str, limit: int) -> list[Window]:
        ids = self.tokenizer.encode(text)[: limit * self.room]
        first, last = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        parts = [ids[at : at + self.room] for at in range(0, len(ids), self.room)] or [[]]
        return [Window((first, *part, last), max(1, len(part))) for part in parts]


class _Fast:
    """Tokenizers from transformers: they split into windows themselves."""

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.clean = tokenizer.clean_fn
        self.tokenizer = tokenizer.tokenizer
        self.context = context
        self.pad = int(self.tokenizer.pad_token_id or 0)
        self.separator = self.tokenizer.sep_token_id if tokenizer.strip_sep_token else None

    def __call__(self, texts: Sequence[str], limit: int) -> list[list[Window]]:
        found: list[list[Window]] = [[] for _ in texts]
        encoded = self.tokenizer(
            [self.clean(_printable(text, limit * self.context)) for text in texts],
            max_length=self.context,
            truncation=True,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        rows = zip(
            encoded["overflow_to_sample_mapping"], encoded["input_ids"], encoded["special_tokens_mask"], strict=True
        )
        for text, ids, special in rows:
            if len(found[text]) < limit:
                kept = tuple(0 if i == self.separator else i for i in ids)
                found[text].append(Window(kept, max(1, len(ids) - sum(special))))
        return found


class _Words:
    """Any other tokenizer, through its call alone: runs of words short enough to fit."""

    pad = 0

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer = tokenizer
        self.words = max(1, context // 2)

    def __call__(self, texts: Sequence[str], limit: int) -> list[list[Window]]:
        return [self._one(_printable(text, limit * self.words * 2).split(), limit) for text in texts]

    def _one(self, words: list[str], limit: int) -> list[Window]:
        runs = [words[at : at + self.words] for at in range(0, len(words), self.words)][:limit] or [[]]
        rows = self.tokenizer([" ".join(run) for run in runs]).tolist()
        return [Window(tuple(row), max(1, len(run))) for row, run in zip(rows, runs, strict=True)]


def _printable(text: str, tokens: int) -> str:
    """At most what `tokens` tokens can hold; half surrogate pairs replaced, which no tokenizer takes."""
    return text[: tokens * CHARACTERS_A_TOKEN].encode("utf-8", "replace").decode("utf-8")
