"""What `auth` takes; what it answers is in `dsdc.web.contract`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from dsdc.db.repositories.users import Role
from dsdc.web.accounts import NAME
from dsdc.web.passwords import MAX_LENGTH, MIN_LENGTH
from dsdc.web.tokens import MAX_CHARS

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$", examples=["ada"])]
Password = Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RefreshBody(Body):
    # Anything is taken here and judged there: a malformed token is a bad token (401), not a bad request.
    refresh_token: str = Field(max_length=32 * MAX_CHARS)


class NewUser(Body):
    name: Name
    password: Password
    role: Role


class NewRole(Body):
    role: Role


class NewPassword(Body):
    current: Annotated[SecretStr, Field(max_length=MAX_LENGTH)]
    new: Password
