"""What `predict` takes; what it answers is in `dsdc.web.contract`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
DocumentId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the document's bytes")]


class LabelBody(BaseModel):
    """A class by its slug."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(pattern=SLUG, examples=["invoice"])
