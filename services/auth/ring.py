"""The keys that sign now, the keys that verify, and what ended: read again every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.api_keys import ApiKeys
from dsdc.db.repositories.users import Audit, RefreshTokens
from dsdc.db.session import transaction
from dsdc.errors import SecretsError
from dsdc.settings import Auth
from dsdc.web.keys import KeyFolder, SigningKey, jwks, signing_key
from dsdc.web.tokens import Ended, TokenSigner, TokenVerifier


class KeyRing:
    """Follows the key folder, so that `dsdc keys rotate` needs no restart."""

    def __init__(self, config: Auth, folder: KeyFolder, verifier: TokenVerifier) -> None:
        self._config = config
        self._folder = folder
        self._verifier = verifier
        self._keys: Sequence[SigningKey] = ()
        self.ended = Ended()

    async def refresh(self) -> None:
        """Read the folder and the store.

        Raises:
            SecretsError: others may read the keys.
            DatabaseUnavailable: the keys were read, what ended was not.
        """
        self._keys = await run_in_threadpool(self._folder.ensure)
        self._verifier.trust([key.public for key in self._keys])
        await self.refresh_ended()

    async def refresh_ended(self) -> None:
        self.ended = await run_in_threadpool(_ended, self._config)
        self._verifier.end(self.ended)

    def signer(self) -> TokenSigner:
        """Signs with the key that is to be used now.

        Raises:
            SecretsError: no key could be read yet.
        """
        if not self._keys:
            raise SecretsError("There is no signing key.", hint="See the log of auth.")
        return TokenSigner(self._config, signing_key(self._keys, datetime.now(UTC)))

    def public(self) -> dict[str, Any]:
        return jwks(self._keys)


def _ended(config: Auth) -> Ended:
    """All that ended and of which an access token may still be about."""
    last = timedelta(minutes=config.access_minutes + 1, seconds=config.leeway_s)
    with transaction("auth") as session:
        subjects = Audit(session).access_ended_within(last)
        # The tokens that an API key was exchanged for name the key as their session.
        sessions = RefreshTokens(session).families_revoked_within(last) | ApiKeys(session).revoked_within(last)
    return Ended({who: int(at.timestamp()) for who, at in subjects.items()}, frozenset(str(s) for s in sessions))
