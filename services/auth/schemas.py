"""What `auth` takes; what it answers is in `dsdc.web.contract`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from dsdc.db.repositories.users import Outcome, Role
from dsdc.web.accounts import NAME
from dsdc.web.passwords import MAX_LENGTH, MIN_LENGTH
from dsdc.web.tokens import MAX_CHARS

#: The largest id that PostgreSQL's bigint holds.
MAX_ID = 2**63 - 1

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$", examples=["ada"])]
Password = Annotated[
    SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, examples=["several unrelated words, 12 or more"])
]
# Text that PostgreSQL can hold, in one line.
Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Grant(BaseModel):
    """RFC 6749: a person's name and password (4.3), or a service account's API key as `client_secret` (4.4)."""

    grant_type: Literal["password", "client_credentials"] = "password"
    username: str | None = Field(None, min_length=1, max_length=1024, examples=["ada"])
    password: str | None = Field(None, min_length=1, max_length=4096, json_schema_extra={"format": "password"})
    client_id: str | None = Field(
        None, min_length=1, max_length=1024, description="Not needed: the key says whose it is."
    )
    client_secret: str | None = Field(
        None, min_length=1, max_length=4096, description="An API key.", json_schema_extra={"format": "password"}
    )

    def missing(self) -> list[str]:
        """The fields that this grant needs and that are not there."""
        needed = ("client_secret",) if self.grant_type == "client_credentials" else ("username", "password")
        return [name for name in needed if getattr(self, name) is None]


_PASSWORD_GRANT: dict[str, Any] = {
    "title": "PasswordGrant",
    "type": "object",
    "required": ["username", "password"],
    "properties": {"grant_type": {"type": "string", "enum": ["password"]}},
}
_KEY_GRANT: dict[str, Any] = {
    "title": "KeyGrant",
    "type": "object",
    "required": ["grant_type", "client_secret"],
    "properties": {"grant_type": {"type": "string", "enum": ["client_credentials"]}},
}
_EXAMPLES = {
    "a person": {"value": {"grant_type": "password", "username": "ada", "password": "several unrelated words"}},
    "a service account": {"value": {"grant_type": "client_credentials", "client_secret": "dsdc_0123456789ab_..."}},
}
#: What OpenAPI says of `Grant` beside its fields: which of them belong together.
GRANTS: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"anyOf": [_PASSWORD_GRANT, _KEY_GRANT]},
                "examples": _EXAMPLES,
            }
        }
    }
}


class RefreshBody(Body):
    # Anything is taken here and judged there: a malformed token is a bad token (401), not a bad request.
    refresh_token: str = Field(max_length=32 * MAX_CHARS, examples=["eyJ..."])


class NewUser(Body):
    """Without a password it is a service account, which signs in with API keys and cannot be admin."""

    name: Name
    password: Password | None = None
    role: Role = Field(examples=["viewer"])


class NewRole(Body):
    role: Role = Field(examples=["annotator"])


class NewPassword(Body):
    current: Annotated[SecretStr, Field(max_length=MAX_LENGTH, examples=["the password until now"])]
    new: Password


class KeyOrder(Body):
    """`expires_days` from now; without it the key is good until it is revoked."""

    note: Line = Field("", description="What it is for, or where it lies.", examples=["the scanner in the post room"])
    expires_days: int | None = Field(None, ge=1, le=3650, examples=[90])


class AuditFilter(BaseModel):
    """The newest first. `before` goes on where a page ended; each of the others narrows what is told."""

    before: int | None = Field(None, ge=1, le=MAX_ID, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500)
    action: Line | None = Field(None, examples=["session.begin"])
    actor: Line | None = Field(None, description="A user's name.", examples=["ada"])
    subject: Line | None = Field(None, description="The id of an account, or the name of a key.")
    outcome: Outcome | None = None
