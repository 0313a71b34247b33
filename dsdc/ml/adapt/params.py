"""What an adaptation may be told to do otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dsdc.errors import SettingsError


class AdaptParams(BaseModel):
    """Defaults are what paid best on 1,600 scanned pages of 16 classes with `dsdc-lite`, measured on pages held out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(20260101, ge=0, le=2**32 - 1)
    epochs: int = Field(30, ge=1)
    patience: int = Field(8, ge=1)  # epochs without a lower held-out loss before it stops
    batch: int = Field(256, ge=2)  # pairs; each is told from all the others, so larger is harder
    learning_rate: float = Field(0.001, gt=0, le=1)  # of the output layer; the image tower's blocks get a tenth
    weight_decay: float = Field(0.5, ge=0)
    dropout: float = Field(0.2, ge=0, lt=1)  # of the features under the output layer, where that alone is trained
    #: Last blocks of the image tower that are trained too. On thousands of pairs they only learn them by heart, and
    #: on a CPU every epoch then costs a pass over all pages.
    blocks: int = Field(0, ge=0)
    held_out: float = Field(0.1, gt=0, le=0.3)  # of the pairs, to stop by; and as many again, to measure on
    max_pairs: int = Field(20_000, ge=50)

    def overridden(self, overrides: Mapping[str, object]) -> AdaptParams:
        """These with some values replaced.

        Raises:
            SettingsError: naming each value that is not valid.
        """
        try:
            return AdaptParams.model_validate(self.model_dump() | dict(overrides))
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
            raise SettingsError(f"These parameters of the adaptation are not valid: {found}.") from None
