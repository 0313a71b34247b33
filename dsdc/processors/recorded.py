"""A processor as a row of the store names it -> the same processor, to run again.

What was recorded says enough for most: settings that shape the result, engines and their data by name and hash. It is
given only where name, version and `params_hash` come out as recorded; then equal input gives equal output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsdc.errors import DsdcError
from dsdc.processors.contract import Processor
from dsdc.processors.registry import DESCRIBERS, STAGES, parts_of
from dsdc.settings import Clip, Ocr, Render, Settings

_ENGINES = {"rapidocr": "rapidocr", "tesserocr": "tesseract", "pytesseract": "tesseract"}


@dataclass(frozen=True)
class Recorded:
    """A row of `processors`."""

    stage: str
    name: str
    version: str
    params_hash: str
    params: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.params_hash[:12]})"


@dataclass(frozen=True)
class Runnable:
    """The processor, or in words why it cannot be had here."""

    processor: Processor | None
    reason: str = ""


def runnable(recorded: Recorded, config: Settings) -> Runnable:
    """The processor that made a row. Engines, weights and child processes come when it is first used.

    Args:
        config: where models lie and what limits hold; of what shapes a result, the recorded parameters count.
    """
    try:
        found = _make(recorded, config)
    except (DsdcError, ValidationError, KeyError) as error:
        return Runnable(None, f"{recorded} cannot be made here: {_told(error)}")
    if found is None:
        return Runnable(None, f"The code of {recorded.name} {recorded.version} is not in this installation.")
    try:
        different = _different(recorded, found)
    except DsdcError as error:
        return Runnable(None, f"{recorded} cannot be made here: {_told(error)}")
    if different:
        return Runnable(None, f"{recorded} would differ here in {', '.join(different)}.")
    return Runnable(found)


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    return f"its parameters lack {error}" if isinstance(error, KeyError) else str(error)


def _make(recorded: Recorded, config: Settings) -> Processor | None:
    if recorded.stage == "describe":
        kinds = (kind for kind in DESCRIBERS if (kind.name, kind.version) == (recorded.name, recorded.version))
        return next((kind() for kind in kinds), None)
    versions = STAGES.get(recorded.stage)
    if versions is None or versions.name != recorded.name or recorded.version not in versions.makers:
        return None
    return versions.make(recorded.version, parts_of(_settings(recorded, config)))


def _settings(recorded: Recorded, config: Settings) -> Settings:
    """The settings under which the processor has these parameters."""
    params = recorded.params
    match recorded.stage:
        case "render":
            given = {name: params[name] for name in ("dpi", "max_pixels", "max_side")}
            return config.model_copy(update={"render": Render.model_validate(config.render.model_dump() | given)})
        case "text":
            return config.model_copy(update={"ocr": Ocr.model_validate(config.ocr.model_dump() | _ocr(params))})
        case "embed":
            return config.model_copy(update={"clip": _clip(params, config)})
        case _:
            return config


def _ocr(params: Mapping[str, Any]) -> dict[str, Any]:
    if params["engine"] not in _ENGINES:
        raise KeyError(f"an engine that is known here; {params['engine']} is not")
    given = {name: params[name] for name in ("languages", "page_segmentation") if name in params}
    return {
        # RapidOCR reads what it reads; any language that it knows will do to ask for it.
        "languages": "eng",
        **given,
        "engine": _ENGINES[params["engine"]],
        "orientation": params["orientation"] is not None,
        "deskew": params["deskew"] is not None,
        "min_layer_chars": params["min_layer_chars"],
        "min_layer_printable": params["min_layer_printable"],
    }


def _clip(params: Mapping[str, Any], config: Settings) -> Clip:
    """Records name a folder or a checkpoint without its path: it is the present one, or lies under the models."""
    model, pretrained = str(params["model"]), str(params["pretrained"])
    home = config.path("models") / "clip"
    if model.startswith("local-dir:"):
        model = (
            f"local-dir:{_place(model.removeprefix('local-dir:'), config.clip.model.removeprefix('local-dir:'), home)}"
        )
    if Path(pretrained).suffix:
        pretrained = _place(pretrained, config.clip.pretrained, home)
    given = {"model": model, "pretrained": pretrained, "sha256": params["weights_sha256"]}
    return Clip.model_validate(config.clip.model_dump() | given | {"max_text_windows": params["text"]["windows"]})


def _place(name: str, present: str, home: Path) -> str:
    return present if Path(present).name == name else str(home / name)


def _different(recorded: Recorded, found: Processor) -> list[str]:
    """Names of the parameters that would be others; no values, for a path may be among them."""
    if found.params_hash == recorded.params_hash:
        return []
    names = sorted(recorded.params.keys() | found.params.keys())
    return [name for name in names if recorded.params.get(name) != found.params.get(name)] or ["its parameters"]
