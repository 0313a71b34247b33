"""ES256 key pairs: PEM files in a folder of their own, and the public halves as JWKS.

A key is published before it signs and verifies after it has stopped signing, so rotation breaks no token. A file's
name says when the key was made; its `kid` is the RFC 7638 thumbprint and follows from the key itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dsdc.errors import NotFound, SecretsError
from dsdc.settings import Settings

# Verifying services ask for the keys every few seconds; by then each of them has seen a new one.
PUBLISH_AHEAD = timedelta(seconds=30)
_STAMP = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class SigningKey:
    """A key pair; `public` is its JWK (RFC 7517) without the private part."""

    kid: str
    created: datetime
    public: Mapping[str, str]
    private: ec.EllipticCurvePrivateKey = field(repr=False)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: base64url of the SHA-256 over the required members in their canonical form."""
    canonical = json.dumps({k: jwk[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True)
    return _b64(hashlib.sha256(canonical.encode()).digest())


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    x, y = (_b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    return jwk | {"kid": thumbprint(jwk), "alg": "ES256", "use": "sig"}


class KeyFolder:
    """The key pairs of `auth`: a folder of mode 0700 with files of mode 0600."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, config: Settings) -> KeyFolder:
        return cls(config.root / ".keys")

    def pairs(self) -> list[SigningKey]:
        """All key pairs, oldest first.

        Raises:
            SecretsError: others may read the folder or a file, or a file is no P-256 key.
        """
        if not self.folder.is_dir():
            return []
        _require_private(self.folder)
        try:
            return self._read_all()
        except FileNotFoundError:  # one was retired since they were listed
            return self._read_all()

    def _read_all(self) -> list[SigningKey]:
        return [self._read(path) for path in sorted(self.folder.glob("*.pem"))]

    def ensure(self) -> list[SigningKey]:
        """The key pairs, of which the first is made now if there is none."""
        return self.pairs() or [self.add()]

    def add(self) -> SigningKey:
        """Make a key pair; it is on disk, complete, when this returns."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(self.folder)
        private, created = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        public = public_jwk(private.public_key())
        path = self.folder / f"{created:{_STAMP}}-{public['kid']}.pem"
        _write_private(path, private)
        return SigningKey(public["kid"], created, public, private)

    def rotate(self, *, keep: timedelta, revoke: bool = False) -> tuple[SigningKey, list[str]]:
        """Make a new key; retire those that stopped signing more than `keep` ago, or at once all older ones.

        Returns the new key, and the `kid`s that verify nothing any more.
        """
        new = self.add()
        keys = self.pairs()
        retired = []
        for key, successor in pairwise(keys):
            if revoke or successor.created + PUBLISH_AHEAD + keep < new.created:
                self.retire(key.kid)
                retired.append(key.kid)
        return new, retired

    def retire(self, kid: str) -> None:
        """Take a key out of use: every token that it signed is refused from now on."""
        found = [p for p in self.folder.glob("*.pem") if p.name.partition("-")[2] == f"{kid}.pem"]
        if not found:
            raise NotFound(f"There is no key {kid}.", hint="See dsdc keys list.")
        found[0].unlink()

    def _read(self, path: Path) -> SigningKey:
        _require_private(path)
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
            created = datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        except (ValueError, TypeError) as error:
            raise SecretsError(f"{path} is not a signing key.", hint="Delete it; dsdc keys rotate adds one.") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise SecretsError(f"{path} is not a P-256 key.", hint="Delete it; dsdc keys rotate adds one.")
        public = public_jwk(private.public_key())
        return SigningKey(public["kid"], created, public, private)


def signing_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """The newest key that has been published long enough; the oldest where none has."""
    published = [key for key in keys if key.created + PUBLISH_AHEAD <= now]
    return published[-1] if published else keys[0]


def jwks(keys: Sequence[SigningKey]) -> dict[str, Any]:
    """The public halves as a JWK Set."""
    return {"keys": [dict(key.public) for key in keys]}


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SecretsError(
            f"{path} has mode {mode:04o}: others may read it.",
            hint=f"Run chmod {'700' if path.is_dir() else '600'} {path}, and dsdc keys rotate --revoke.",
        )


def _write_private(path: Path, private: ec.EllipticCurvePrivateKey) -> None:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
