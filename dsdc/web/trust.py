"""Keeps a service's trust up to date in the background: public keys, and what ended before its time.

What is fetched never depends on a token, and the last good answer stays in force while `auth` is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx

from dsdc.errors import DsdcError
from dsdc.log import get_logger
from dsdc.web.health import Waiting
from dsdc.web.tokens import Ended, TokenVerifier

log = get_logger(__name__)

JWKS_PATH = "/.well-known/jwks.json"
ENDED_PATH = "/.well-known/ended.json"
REFRESH_S = 5.0  # much less than keys.PUBLISH_AHEAD, and how long a disabled user may still get in
RETRY_S = 1.0
MAX_BYTES = 4 * 1024 * 1024

#: Brings the verifier up to date; raises DsdcError or ValueError where it cannot.
Refresh = Callable[[], Awaitable[None]]


class TrustKeeper:
    """Calls `refresh` now and every few seconds until it is stopped."""

    def __init__(self, verifier: TokenVerifier, refresh: Refresh) -> None:
        self._verifier = verifier
        self._refresh = refresh
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def start(self) -> None:
        await self._once()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def check(self) -> None:
        """Raise Waiting until there are keys."""
        if not self._verifier.ready:
            raise Waiting("no public keys yet; is auth running?")

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S if self._verifier.ready else RETRY_S)
            await self._once()

    async def _once(self) -> None:
        try:
            await self._refresh()
        # Whatever it was, auth or the store may be back in a moment; until then the last good keys stay in force.
        except Exception as error:
            if not self._failing:
                known = isinstance(error, DsdcError | httpx.HTTPError)
                log.warning(
                    "trust.not_refreshed",
                    kind=type(error).__name__,
                    error=str(error),
                    exc_info=None if known else error,
                )
            self._failing = True
        else:
            if self._failing:
                log.info("trust.refreshed")
            self._failing = False


class RemoteTrust:
    """Fetches keys and endings from `auth`."""

    def __init__(self, verifier: TokenVerifier, auth_url: str) -> None:
        self._verifier = verifier
        # No proxies from the environment and no redirects: this address and no other is trusted.
        self._http = httpx.AsyncClient(base_url=auth_url, timeout=5.0, trust_env=False, follow_redirects=False)

    async def refresh(self) -> None:
        keys, ended = await self._json(JWKS_PATH), await self._json(ENDED_PATH)
        self._verifier.trust(keys["keys"])
        self._verifier.end(Ended.parse(ended))

    async def close(self) -> None:
        await self._http.aclose()

    async def _json(self, path: str) -> Any:
        async with self._http.stream("GET", path) as response:
            response.raise_for_status()
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"{path} is larger than {MAX_BYTES} bytes")
        return httpx.Response(200, content=bytes(body)).json()
