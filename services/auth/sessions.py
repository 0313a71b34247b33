"""Signing in, staying signed in, signing out."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid4

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.api_keys import ApiKeys
from dsdc.db.repositories.users import Audit, Outcome, Redeemed, RefreshTokens, Role, Users
from dsdc.db.session import transaction
from dsdc.db.tables import User
from dsdc.errors import Conflict, InvalidCredentials, InvalidToken
from dsdc.settings import Auth
from dsdc.web import accounts, api_keys
from dsdc.web.contract import Tokens
from dsdc.web.guard import Caller
from dsdc.web.origin import Origin
from dsdc.web.passwords import PasswordDesk, is_outdated
from dsdc.web.throttle import Throttle
from dsdc.web.tokens import Claims, TokenVerifier
from services.auth.ring import KeyRing

# Many people may share an address, and a stranger must not shut a user out from everywhere by a few wrong guesses:
# `max_failures` counts for a name from one address; all of a name's or an address's failures together may be more.
WIDER = 10


class Sessions:
    """Hands out tokens. One transaction an operation; passwords are verified outside of it."""

    def __init__(self, config: Auth, ring: KeyRing, verifier: TokenVerifier, desk: PasswordDesk) -> None:
        self._config = config
        self._ring = ring
        self._verifier = verifier
        self._desk = desk
        self._throttle = Throttle(config.failure_window_s)

    async def sign_in(self, name: str, password: str, origin: Origin) -> Tokens:
        """Tokens for whoever knows the password.

        Raises:
            InvalidCredentials: the same for an unknown name, a wrong password and a disabled account.
            TooManyAttempts: after repeated failures.
            Busy: more wait to sign in than the service will hold.
        """
        user = await self.authenticate(name, password, origin)
        return await run_in_threadpool(self._begin, user.id, origin)

    async def authenticate(self, name: str, password: str, origin: Origin) -> User:
        """The account that this password opens; raises as `sign_in`."""
        pair = ("pair", name[:64], origin.household)
        limits = self._limits(pair, name[:64], origin)
        self._throttle.check(limits)
        async with self._desk as desk:
            self._throttle.check(limits)  # those who were before us in the queue may have failed by now
            user = await run_in_threadpool(accounts.named, name)
            good = await desk.verify(user.password_hash if user else None, password)
            if not good or user is None or user.disabled is not None:
                self._throttle.failed(limits)
                await run_in_threadpool(_note_failure, user, origin)
                raise InvalidCredentials
            if user.password_hash and is_outdated(user.password_hash):
                await run_in_threadpool(_rehash, user.id, await desk.hash(password))
        self._throttle.forget(pair)
        return user

    async def refresh(self, token: str, origin: Origin) -> Tokens:
        """New tokens for a refresh token, which is used up by that.

        Raises:
            InvalidToken: it is no good, or was used before; then its whole family ends.
        """
        claims = self._verifier.verify(token, "refresh")
        tokens = await run_in_threadpool(self._rotate, claims, origin)
        if tokens is None:
            await self._ring.refresh_ended()
            raise InvalidToken("The session has ended; sign in again.")
        return tokens

    async def sign_in_with_key(self, key: str, origin: Origin) -> Tokens:
        """An access token for an API key: nothing to renew it with, for the key does that.

        Raises:
            InvalidCredentials: the same for an unknown, wrong, expired or revoked key and for a disabled account.
            TooManyAttempts: after repeated failures of one key, or of an address.
        """
        limits = self._key_limits(key, origin)
        self._throttle.check(limits)
        try:
            user, row = await run_in_threadpool(api_keys.redeem, key, origin)
        except InvalidCredentials:
            self._throttle.failed(limits)
            raise
        self._throttle.forget(next(iter(limits)))
        token, claims = self._ring.signer().sign(
            subject=user.id,
            name=user.name,
            role=cast(Role, user.role),
            kind="access",
            session=row.id,
            until=row.expires,
        )
        return Tokens(access_token=token, expires_in=claims.expires - claims.issued)

    async def sign_out(self, caller: Caller, origin: Origin) -> None:
        """End the sign-in that the caller's token comes from.

        Raises:
            Conflict: it comes from an API key, which ends when it is revoked.
        """
        await run_in_threadpool(_sign_out, caller, origin)
        await self._ring.refresh_ended()

    def _limits(self, pair: Hashable, name: str, origin: Origin) -> dict[Hashable, int]:
        most = self._config.max_failures
        return {pair: most, ("name", name): most * WIDER, ("address", origin.household): most * WIDER}

    def _key_limits(self, key: str, origin: Origin) -> dict[Hashable, int]:
        # Not by key from everywhere: 256 bits are not guessed, and a stranger could shut a service out. And apart from
        # passwords, so that one service with an old key does not keep people behind the same address from signing in.
        most, place = self._config.max_failures, origin.household
        return {("key", api_keys.prefix_of(key), place): most, ("keys", place): most * WIDER}

    def _begin(self, user_id: UUID, origin: Origin) -> Tokens:
        with transaction("auth") as session:
            user = Users(session).get(user_id)
            if user is None or user.disabled is not None:  # disabled while the password was being verified
                raise InvalidCredentials
            _audit(session, "session.begin", user, origin)
            return self._issue(session, user, uuid4())

    def _rotate(self, claims: Claims, origin: Origin) -> Tokens | None:
        with transaction("auth") as session:
            redeemed = RefreshTokens(session).redeem(_hash(claims.jti))
            if redeemed.outcome == "good" and redeemed.user and redeemed.family == claims.session:
                return self._issue(session, redeemed.user, claims.session)
            _note_refusal(session, redeemed, origin)
        return None  # returned, not raised: what a replay revokes has to be committed

    def _issue(self, session: Session, user: User, family: UUID) -> Tokens:
        signer = self._ring.signer()
        who = {"subject": user.id, "name": user.name, "role": user.role, "session": family}
        access, _ = signer.sign(kind="access", **who)  # type: ignore[arg-type]
        refresh, claims = signer.sign(kind="refresh", **who)  # type: ignore[arg-type]
        expires = datetime.fromtimestamp(claims.expires, UTC)
        RefreshTokens(session).issue(_hash(claims.jti), family=family, user_id=user.id, expires=expires)
        return Tokens(access_token=access, expires_in=signer.lifetime_s("access"), refresh_token=refresh)


def _hash(jti: str) -> str:
    return hashlib.sha256(jti.encode()).hexdigest()


def _rehash(user_id: UUID, password_hash: str) -> None:
    with transaction("auth") as session:
        Users(session).set_password_hash(user_id, password_hash)


def _audit(session: Session, action: str, user: User, origin: Origin, outcome: Outcome = "ok") -> None:
    Audit(session).record(
        action,
        actor=user.name,
        subject=str(user.id),
        outcome=outcome,
        request_id=origin.request_id,
        address=origin.address,
    )


def _note_failure(user: User | None, origin: Origin) -> None:
    # A name that nobody has is not written down: people type their password there.
    with transaction("auth") as session:
        Audit(session).record(
            "session.begin",
            actor=user.name if user else "unknown",
            subject=str(user.id) if user else "unknown",
            outcome="refused",
            request_id=origin.request_id,
            address=origin.address,
        )


def _note_refusal(session: Session, redeemed: Redeemed, origin: Origin) -> None:
    if redeemed.user is not None:
        action = "session.replay" if redeemed.outcome == "replayed" else "session.refresh"
        _audit(session, action, redeemed.user, origin, "refused")


def _sign_out(caller: Caller, origin: Origin) -> None:
    with transaction("auth") as session:
        if ApiKeys(session).get(caller.session) is not None:
            raise Conflict("This token was given for an API key.", hint="It ends by itself, or with the key.")
        RefreshTokens(session).revoke_family(caller.session)
        user = Users(session).get(caller.id)
        if user is not None:
            _audit(session, "session.end", user, origin)
