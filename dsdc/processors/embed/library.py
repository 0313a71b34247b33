"""The library open_clip: how it is imported, and what it knows of its models."""

from __future__ import annotations

from typing import Any

from dsdc.errors import WeightsError
from dsdc.processors.embed.torchvision_stub import make_importable


def import_open_clip() -> Any:
    """The module `open_clip`; imported late, since it costs seconds and needs the torchvision stub first."""
    make_importable()
    import open_clip

    from dsdc.processors.embed.lite import pyramid  # noqa: F401  # its image tower, for configs that name it

    return open_clip


def tag_config(model: str, tag: str) -> dict[str, Any]:
    """open_clip's entry for a pretrained tag (address, mean, std, …). Raises WeightsError where there is none."""
    open_clip = import_open_clip()
    if model not in open_clip.list_models():
        raise WeightsError(f"open_clip knows no model {model!r}.", hint="Correct clip.model in config.local.yaml.")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise WeightsError(f"{model} has no pretrained tag {tag!r}.", hint=f"Its tags: {tags}.")
    return config
