"""What a client keeps between its calls."""

from __future__ import annotations

import time
from uuid import UUID

from dsdc.client import calls
from dsdc.client.calls import Call
from dsdc.client.failures import BatchUnfinished
from dsdc.errors import InvalidToken
from dsdc.web.contract import Tokens

RENEW_BEFORE_S = 30.0


class Session:
    """The tokens that a client holds, and the API key that they were given for, if any."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.key: str | None = None
        self._expires = 0.0

    def begin(self, tokens: Tokens | None, key: str | None = None) -> None:
        """Go on with these tokens as somebody who may be another than before."""
        self.key = key
        self.keep(tokens)

    def keep(self, tokens: Tokens | None) -> None:
        """Go on with these tokens as the same."""
        self.tokens = tokens
        self._expires = time.monotonic() + (tokens.expires_in if tokens else 0)

    def renewal(self) -> Call[Tokens]:
        """What gives new tokens."""
        if self.key is not None:
            return calls.exchange_key(self.key)
        return calls.refresh((self.tokens.refresh_token if self.tokens else None) or "")

    @property
    def stale(self) -> bool:
        return self.tokens is not None and time.monotonic() > self._expires - RENEW_BEFORE_S

    def headers(self) -> dict[str, str]:
        if self.tokens is None:
            raise InvalidToken("Nobody is signed in.", hint="Call sign_in first.")
        return {"Authorization": f"Bearer {self.tokens.access_token}"}


class Wait:
    """How long a batch is waited for. A service that is being started anew is waited for too."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s

    def check(self, batch: UUID | str) -> None:
        if time.monotonic() > self._until:
            raise BatchUnfinished(f"Batch {batch} is not over yet.", hint="Ask again later; nothing is lost.")
