"""Where settings are read from: YAML files and DSDC_* variables; a slip in them is told with its place.

What the values mean is none of this module's concern: `settings` checks them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, YamlConfigSettingsSource

from dsdc.errors import SettingsError

PREFIX = "DSDC_"
#: Likeness, from 0 to 1, from which on a word counts as misspelt.
_NEAR = 0.75


class Files(YamlConfigSettingsSource):
    """YAML files, the later ones over the earlier."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        """One file's keys.

        Raises:
            SettingsError: it cannot be read, or is no mapping of sections.
        """
        return read_sections(Path(file_path))


def read_sections(file: Path) -> dict[str, Any]:
    """A configuration file: section -> key -> value; one without a word is empty.

    Raises:
        SettingsError: naming the file, and the line where that is known.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "Indent with spaces, never tabs, and write `key: value`; config.yaml is an example."
        raise SettingsError(f"{file}{line} is not YAML: {error.problem}.", hint=hint) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not YAML in UTF-8: {error}", hint="Save it as UTF-8 text.") from None
    except OSError as error:
        hint = "Let this user read it, or remove it."
        raise SettingsError(f"{file} cannot be read: {error.strerror}.", hint=hint) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        hint = "Write `section:` and below it, indented, `key: value`; config.yaml is an example."
        raise SettingsError(f"{file} holds no sections.", hint=hint)
    return found


class Variables(EnvSettingsSource):
    """DSDC_<SECTION>_<KEY>."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """A list or a whole section, which are written as JSON.

        Raises:
            SettingsError: naming the variable.
        """
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            named = [name for name in os.environ if name.upper().startswith(PREFIX) and os.environ[name] == value]
            raise SettingsError(
                f"{' or '.join(named) or field_name} is not JSON, as which lists and whole sections are written.",
                hint="""For example '["one", "two"]' or '{"key": "value"}'; or write it in config.local.yaml.""",
            ) from None


def refuse_misspelt(environment: Iterable[str], sections: Mapping[str, Collection[str]]) -> None:
    """Raise SettingsError for a variable that belongs to no section and yet must be meant for one.

    Other variables are somebody else's: not every DSDC_* is a setting.

    Args:
        environment: names of variables.
        sections: section -> its keys.
    """
    for variable in environment:
        name = variable.upper()
        if name.startswith(PREFIX) and (meant := _meant(name.removeprefix(PREFIX).lower(), sections)):
            raise SettingsError(
                f"{variable} is no setting: it names no section of config.yaml.",
                hint=f"Write {PREFIX}{meant.upper()} if that is meant; otherwise unset {variable}.",
            )


def _meant(name: str, sections: Mapping[str, Collection[str]]) -> str | None:
    """`<section>_<key>` for one whose section is misspelt, abbreviated or left out; None for any other name."""
    word, _, key = name.partition("_")
    if word in sections or not key:
        return None
    near = [*difflib.get_close_matches(word, sections, cutoff=_NEAR), *(s for s in sections if _shortens(word, s))]
    for section in near:
        if keys := difflib.get_close_matches(key, sections[section], 1, _NEAR):
            return f"{section}_{keys[0]}"
    return next((f"{section}_{name}" for section, keys in sections.items() if name in keys), None)


def _shortens(word: str, section: str) -> bool:
    """As `db` does `database`: its first letter, and others of it in their order."""
    letters = iter(section)
    return word[:1] == section[0] and all(letter in letters for letter in word)
