"""Access and refresh tokens: ES256 JWTs by python-jose, made and read strictly.

python-jose alone is too kind: it lets an unknown `crit` pass, takes base64 with stray bits, and requires no claim.
So the header of a token is never interpreted: it must be, byte for byte, one that `auth` writes for a key in use.
With that no `alg`, `kid`, `crit`, `jku`, `jwk` or `x5c` of a stranger has a meaning, and nothing is looked up for it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets as random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args
from uuid import UUID

from jose import jwk, jwt
from jose.backends.base import Key
from jose.exceptions import JOSEError

from dsdc.db.repositories.users import ROLES, Role
from dsdc.errors import InvalidToken
from dsdc.settings import Auth
from dsdc.web.keys import SigningKey, thumbprint

Kind = Literal["access", "refresh"]
ALGORITHM = "ES256"
MAX_CHARS = 2048  # a real token has about 600
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})", re.ASCII)
_REQUIRED = ("iss", "aud", "exp", "iat", "sub", "jti")
_OPTIONS = {f"require_{name}": True for name in _REQUIRED} | {"verify_at_hash": False}
_JWK_MEMBERS = {"kty", "crv", "x", "y", "kid", "alg", "use"}
MAX_KEYS = 64


@dataclass(frozen=True)
class Claims:
    """What a verified token says. `session` names the sign-in that it comes from; times in Unix seconds."""

    subject: UUID
    name: str
    role: Role
    kind: Kind
    session: UUID
    jti: str
    issued: int
    expires: int


def header_segment(kid: str) -> str:
    """The first segment of every token that the key `kid` signs."""
    header = json.dumps({"alg": ALGORITHM, "kid": kid, "typ": "JWT"}, separators=(",", ":"), sort_keys=True)
    return _b64(header.encode())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_canonical(segment: str) -> bool:
    """Whether this is *the* base64url of its bytes; decoders ignore stray bits in the last character."""
    try:
        return _b64(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))) == segment
    except ValueError:
        return False


class TokenSigner:
    """Makes tokens; only `auth` has one."""

    def __init__(self, config: Auth, key: SigningKey) -> None:
        self._config = config
        self._kid = key.kid
        self._key = jwk.construct(key.private, ALGORITHM)  # type: ignore[arg-type]  # it takes key objects too

    def sign(
        self, *, subject: UUID, name: str, role: Role, kind: Kind, session: UUID, until: datetime | None = None
    ) -> tuple[str, Claims]:
        """A new token and what it says; it lives as long as its kind does, and not beyond `until`."""
        now = int(time.time())
        expires = now + self.lifetime_s(kind)
        if until is not None:
            expires = min(expires, int(until.timestamp()))
        claims = Claims(subject, name, role, kind, session, random.token_urlsafe(24), now, expires)
        payload = {
            "iss": self._config.issuer,
            "aud": self._config.audience,
            "sub": str(subject),
            "name": name,
            "role": role,
            "type": kind,
            "sid": str(session),
            "jti": claims.jti,
            "iat": claims.issued,
            "exp": claims.expires,
        }
        return jwt.encode(payload, self._key, algorithm=ALGORITHM, headers={"kid": self._kid}), claims

    def lifetime_s(self, kind: Kind) -> int:
        return lifetime_s(self._config, kind)


def lifetime_s(config: Auth, kind: Kind) -> int:
    return config.access_minutes * 60 if kind == "access" else config.refresh_days * 86_400


@dataclass(frozen=True)
class Ended:
    """What ended before its time: all of a subject's tokens issued up to a second, and whole sessions."""

    subjects: Mapping[str, int] = field(default_factory=dict)
    sessions: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Ended:
        """From JSON; ValueError, TypeError or KeyError where it is of another form."""
        subjects = {str(subject): int(second) for subject, second in answer["subjects"].items()}
        return cls(subjects, frozenset(str(session) for session in answer["sessions"]))

    def as_dict(self) -> dict[str, Any]:
        return {"subjects": dict(self.subjects), "sessions": sorted(self.sessions)}


class TokenVerifier:
    """Reads tokens with the keys it was last given. Touches no file and no network."""

    def __init__(self, config: Auth) -> None:
        self._config = config
        self._keys: Mapping[str, Key] = {}
        self._ended = Ended()

    @property
    def ready(self) -> bool:
        return bool(self._keys)

    def trust(self, keys: Iterable[Mapping[str, str]]) -> None:
        """Take these public keys (JWKs) and no others from now on.

        Raises:
            ValueError: one of them is not a public P-256 key named by its thumbprint, or there are none or too many.
        """
        checked = [_checked_jwk(key) for key in keys]
        if not 0 < len(checked) <= MAX_KEYS:
            raise ValueError(f"{len(checked)} keys")
        self._keys = {header_segment(key["kid"]): jwk.construct(dict(key), ALGORITHM) for key in checked}

    def end(self, ended: Ended) -> None:
        """Refuse what has ended."""
        self._ended = ended

    def verify(self, token: str, kind: Kind) -> Claims:
        """The claims of a good token of this kind.

        Raises:
            InvalidToken: anything is wrong with it. The reason is not told apart: it would help only an attacker.
        """
        claims = self._claims(token)
        if claims.kind != kind or claims.expires - claims.issued > lifetime_s(self._config, kind):
            raise InvalidToken
        if claims.issued > time.time() + self._config.leeway_s:
            raise InvalidToken
        if claims.issued <= self._ended.subjects.get(str(claims.subject), -1):
            raise InvalidToken("The session has ended; sign in again.")
        if str(claims.session) in self._ended.sessions:
            raise InvalidToken("The session has ended; sign in again.")
        return claims

    def _claims(self, token: str) -> Claims:
        # The length first: nothing below may take time on a megabyte.
        shape = _SHAPE.fullmatch(token) if len(token) <= MAX_CHARS else None
        key = self._keys.get(shape[1]) if shape else None
        if shape is None or key is None or not all(_is_canonical(s) for s in shape.groups()):
            raise InvalidToken
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._config.audience,
                issuer=self._config.issuer,
                options=_OPTIONS | {"leeway": self._config.leeway_s},
            )
            return _strict(payload, self._config)
        # Beside its own errors python-jose lets conversions of odd claims fail as they may.
        except (JOSEError, TypeError, ValueError, KeyError, OverflowError, RecursionError):
            raise InvalidToken from None


def _strict(payload: Mapping[str, Any], config: Auth) -> Claims:
    """Claims of exactly the types that `auth` writes; ValueError, TypeError or KeyError otherwise."""
    for name in ("iat", "exp"):
        if type(payload[name]) is not int:
            raise TypeError(name)
    for name in ("iss", "aud", "sub", "name", "role", "type", "sid", "jti"):
        if type(payload[name]) is not str or not payload[name]:
            raise TypeError(name)
    if payload["aud"] != config.audience or payload["role"] not in ROLES or payload["type"] not in get_args(Kind):
        raise ValueError("aud, role or type")
    return Claims(
        subject=UUID(payload["sub"]),
        name=payload["name"],
        role=cast(Role, payload["role"]),
        kind=cast(Kind, payload["type"]),
        session=UUID(payload["sid"]),
        jti=payload["jti"],
        issued=payload["iat"],
        expires=payload["exp"],
    )


def _checked_jwk(key: Mapping[str, str]) -> Mapping[str, str]:
    if set(key) != _JWK_MEMBERS or any(type(value) is not str for value in key.values()):
        raise ValueError("not a public key as auth publishes it")
    if (key["kty"], key["crv"], key["alg"], key["use"]) != ("EC", "P-256", ALGORITHM, "sig"):
        raise ValueError("not an ES256 key")
    if key["kid"] != thumbprint(key):
        raise ValueError("a kid that is not the key's thumbprint")
    return key
