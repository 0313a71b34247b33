"""API keys of service accounts: made once, shown once, known by their hash ever after.

A key opens nothing but `POST /token` of `auth`, which exchanges it for an access token of minutes
(grant_type=client_credentials). So no other service ever sees a key, and a revoked one is worth nothing within seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as random
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dsdc.db.repositories.api_keys import ApiKeys
from dsdc.db.repositories.users import Audit, Users
from dsdc.db.session import transaction
from dsdc.db.tables import ApiKey, User
from dsdc.errors import InvalidCredentials
from dsdc.web.origin import Origin

#: How every key begins, so that scanners for leaked secrets can know it.
MARK = "dsdc_"
_KEY = re.compile(rf"({MARK}[0-9a-f]{{12}})_[0-9a-f]{{64}}", re.ASCII)


def new_key() -> tuple[str, str]:
    """A key and its prefix: 48 bits that name it, and 256 that nobody guesses."""
    prefix = MARK + random.token_hex(6)
    return f"{prefix}_{random.token_hex(32)}", prefix


def prefix_of(key: str) -> str | None:
    """The prefix of what has the form of a key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def fingerprint(key: str) -> str:
    """What is stored of a key.

    One SHA-256 without salt or stretching: those make guessing slow, and 256 random bits are not guessed at any speed.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def create(user_id: UUID, *, note: str, expires: datetime | None, actor: str, origin: Origin) -> tuple[ApiKey, str]:
    """A new key of a service account, and the key itself, which is nowhere else.

    Raises:
        NotFound: there is no such account.
        Conflict: it is a person's.
    """
    key, prefix = new_key()
    with transaction("auth") as session:
        row = ApiKeys(session).add(
            user_id, prefix=prefix, key_sha256=fingerprint(key), note=note, created_by=actor, expires=expires
        )
        until = expires.isoformat() if expires else None
        _record(Audit(session), "api-key.create", actor, user_id, origin, key=prefix, note=note, expires=until)
        return row, key


def of_user(user_id: UUID) -> Sequence[ApiKey]:
    """Raises NotFound."""
    with transaction("auth") as session:
        return ApiKeys(session).of_user(user_id)


def with_prefix(prefix: str) -> ApiKey | None:
    with transaction("auth") as session:
        return ApiKeys(session).with_prefix(prefix)


def revoke(user_id: UUID, key_id: UUID, *, actor: str, origin: Origin) -> ApiKey:
    """Raises NotFound where the account has no such key."""
    with transaction("auth") as session:
        key = ApiKeys(session).revoke(user_id, key_id)
        _record(Audit(session), "api-key.revoke", actor, user_id, origin, key=key.prefix)
        return key


def redeem(key: str, origin: Origin) -> tuple[User, ApiKey]:
    """The account that a key opens; that it was presented is written down either way.

    Raises:
        InvalidCredentials: the same for an unknown, wrong, expired or revoked key and for a disabled account.
    """
    prefix = prefix_of(key)
    with transaction("auth") as session:
        row = ApiKeys(session).with_prefix(prefix) if prefix else None
        user = Users(session).get(row.user_id) if row else None
        right = row is not None and hmac.compare_digest(row.key_sha256, fingerprint(key))
        good = bool(right and row and user and user.disabled is None and ApiKeys(session).use(row))
        _note(Audit(session), user, row, origin, good=good)
    if not good or user is None or row is None:
        raise InvalidCredentials("The API key is not valid: unknown, expired or revoked.")
    return user, row


def _note(log: Audit, user: User | None, row: ApiKey | None, origin: Origin, *, good: bool) -> None:
    # Of a key that nobody has nothing is written down: it may be another system's.
    log.record(
        "session.begin",
        actor=user.name if user else "unknown",
        subject=str(user.id) if user else "unknown",
        outcome="ok" if good else "refused",
        request_id=origin.request_id,
        address=origin.address,
        details={"key": row.prefix if row else "unknown"},
    )


def _record(log: Audit, action: str, actor: str, user_id: UUID, origin: Origin, **details: Any) -> None:
    log.record(
        action,
        actor=actor,
        subject=str(user_id),
        request_id=origin.request_id,
        address=origin.address,
        details=details,
    )
