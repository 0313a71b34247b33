"""Settings as they would be: `clean=2`, `ocr.engine=tesseract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dsdc.errors import SettingsError
from dsdc.settings import Section, Settings

#: Sections of the settings that shape what processors make of a document.
SECTIONS = ("render", "ocr", "clip", "processors")
#: Stages whose processor can be exchanged; an unpacker decides which documents there are, and changes none.
STAGES = ("render", "text", "clean", "embed")


@dataclass(frozen=True)
class Change:
    """Other settings, and in words what is other about them."""

    config: Settings
    told: str


def with_changes(config: Settings, processors: Sequence[str], values: Sequence[str]) -> Change:
    """The settings with `STAGE=VERSION` and `SECTION.KEY=VALUE` put in.

    Raises:
        SettingsError: one of them cannot be read, is unknown, or shapes nothing that processors make.
    """
    given = [(f"processors.{_stage(stage)}", version) for stage, version in map(_pair, processors)]
    given += [_pair(value) for value in values]
    changes: dict[str, dict[str, str]] = {}
    for key, value in given:
        section, name = _split(key)
        changes.setdefault(section, {})[name] = value
    sections = {section: _changed(config, section, values) for section, values in changes.items()}
    return Change(config.model_copy(update=sections), ", ".join(f"{key}={value}" for key, value in given))


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key or not value:
        raise SettingsError(
            f"{text!r} is not of the form NAME=VALUE.", hint="For example clean=2, ocr.engine=tesseract."
        )
    return key.strip(), value.strip()


def _stage(name: str) -> str:
    if name not in STAGES:
        raise SettingsError(f"There is no processor {name!r} to replay.", hint=f"Processors: {', '.join(STAGES)}.")
    return name


def _split(key: str) -> tuple[str, str]:
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name:
        raise SettingsError(
            f"{key} shapes nothing that processors make.", hint=f"Settings of {', '.join(SECTIONS)} do."
        )
    return section, name


def _changed(config: Settings, section: str, values: Mapping[str, str]) -> Section:
    present: Section = getattr(config, section)
    try:
        return type(present).model_validate(present.model_dump() | dict(values))
    except ValidationError as error:
        found = [_told(section, problem) for problem in error.errors(include_input=False)]
        raise SettingsError(f"These settings are not valid: {'; '.join(found)}.") from None


def _told(section: str, problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, (section, *problem['loc'])))}: {problem['msg']}"
