"""Hooks of schemathesis: it signs in, and does not shut itself out.

Schemathesis uses the ids that it finds in answers. So in requests about accounts the id of the caller is replaced by
one of nobody, and a sign-out ends another sign-in than the caller's.
"""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

import schemathesis

SELF, TOKEN, SPARE = (os.environ.get(f"DSDC_FUZZ_{name}", "") for name in ("SELF", "TOKEN", "SPARE"))
NOBODY = str(UUID(int=0))


class SignedIn:
    """Gives every request the caller's token, and a sign-out the one to spare."""

    def get(self, case: Any, context: Any) -> str:
        return TOKEN

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {SPARE if case.path == '/logout' else data}"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    for name, value in (case.path_parameters or {}).items():
        if SELF and SELF in str(value).lower():
            case.path_parameters[name] = NOBODY


if TOKEN:
    schemathesis.auth()(SignedIn)
