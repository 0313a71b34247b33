"""Questions about lineage that one query answers each. psql runs the files as well; each says how."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args

Question = Literal[
    "why-this-class",
    "models-of-document",
    "if-label-is-wrong",
    "documents-of-reader",
    "who-labelled-the-neighbours",
    "what-differs",
]
QUESTIONS: tuple[Question, ...] = get_args(Question)

_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@cache
def sql_of(question: Question) -> str:
    """The query, without the comment that says what it answers and what its parameters are."""
    # Without comments: whatever has a colon before it there would be taken for a parameter.
    return _COMMENT.sub("", _read(question))


@cache
def about(question: Question) -> str:
    """The question in words."""
    return _read(question).splitlines()[0].removeprefix("-- ")


def _read(question: Question) -> str:
    return Path(__file__).with_name(f"{question.replace('-', '_')}.sql").read_text(encoding="utf-8")
