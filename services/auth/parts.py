"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from dsdc.errors import InvalidToken
from dsdc.web import accounts
from dsdc.web.passwords import PasswordDesk
from dsdc.web.tokens import Claims
from services.auth.ring import KeyRing
from services.auth.sessions import Sessions


@dataclass(frozen=True)
class Parts:
    sessions: Sessions
    ring: KeyRing
    desk: PasswordDesk


async def confirm(claims: Claims) -> None:
    """Hold a token against the account as it is now; `auth` itself need not wait for any background refresh.

    Raises:
        InvalidToken: the account is disabled or has another role.
    """
    user = await run_in_threadpool(accounts.get, claims.subject)
    if user is None or user.disabled is not None or user.role != claims.role:
        raise InvalidToken("The session has ended; sign in again.")
