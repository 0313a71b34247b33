"""Tokens of every kind of wrong, for the tests of the verifier and of the services."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jws, jwt

from dsdc.settings import Auth
from dsdc.web.keys import SigningKey, public_jwk
from dsdc.web.tokens import TokenSigner, TokenVerifier

CONFIG = Auth()
Payload = dict[str, Any]


def new_key() -> SigningKey:
    private = ec.generate_private_key(ec.SECP256R1())
    public = public_jwk(private.public_key())
    return SigningKey(public["kid"], datetime.now(UTC), public, private)


def pem(key: SigningKey) -> str:
    return key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


KEY, OTHER = new_key(), new_key()
SIGNER = TokenSigner(CONFIG, KEY)
WHO = {"subject": uuid4(), "name": "ada", "role": "viewer", "session": uuid4()}


def verifier() -> TokenVerifier:
    made = TokenVerifier(CONFIG)
    made.trust([KEY.public])
    return made


def good() -> str:
    return SIGNER.sign(**WHO, kind="access")[0]  # type: ignore[arg-type]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def segments(token: str) -> tuple[Payload, Payload, str]:
    head, body, signature = token.split(".")
    return *(json.loads(base64.urlsafe_b64decode(s + "==")) for s in (head, body)), signature  # type: ignore[return-value]


def signed(payload: Payload, header: Payload | None = None, key: SigningKey = KEY) -> str:
    """A token that *our own key* signed, whatever it says."""
    return jwt.encode(payload, pem(key), algorithm="ES256", headers={"kid": KEY.kid} | (header or {}))


def with_claims(**changes: Any) -> str:
    payload = segments(good())[1] | changes
    return signed({k: v for k, v in payload.items() if v is not ...})


NOW = int(time.time())
LATER = NOW + 50_000  # after the last test of the run, however slow the machine
WRONG_CLAIMS: dict[str, Payload] = {
    "expired": {"exp": NOW - CONFIG.leeway_s - 1, "iat": NOW - 900},
    "expires never": {"exp": 2**53},
    "lives longer than tokens do": {"exp": NOW + 86_400},
    "from the future": {"iat": LATER, "exp": LATER + 100},
    "not yet valid": {"nbf": LATER},
    "nbf is no number": {"nbf": "soon"},
    "another issuer": {"iss": "somebody"},
    "issuer in a list": {"iss": ["dsdc-auth"]},
    "another audience": {"aud": "somebody"},
    "audience among others": {"aud": ["dsdc", "somebody"]},
    "no role": {"role": "root"},
    "role in a list": {"role": ["admin"]},
    "no type": {"type": "id"},
    "subject is no id": {"sub": "ada"},
    "subject is a number": {"sub": 1},
    "exp is text": {"exp": str(NOW + 60)},
    "exp is true": {"exp": True},
    "exp is a fraction": {"exp": NOW + 60.5},
    "exp is infinite": {"exp": float("inf")},
    "exp is a list": {"exp": [NOW + 60]},
    "exp is null": {"exp": None},
    "iat is a list": {"iat": [NOW]},
    "empty jti": {"jti": ""},
    "session is no id": {"sid": "x"},
}


WRONG_HEADERS: dict[str, Payload] = {
    "unknown crit": {"crit": ["exp"]},
    "crit that nobody knows": {"crit": ["urn:x"], "urn:x": 1},
    "empty crit": {"crit": []},
    "kid of nobody": {"kid": OTHER.kid},
    "kid with a path": {"kid": "../../../etc/passwd"},
    "kid with a query": {"kid": "' OR 1=1 --"},
    "kid with a URL": {"kid": "http://127.0.0.1:9/jwks.json"},
    "kid with a NUL": {"kid": KEY.kid + "\x00"},
    "kid in a list": {"kid": [KEY.kid]},
    "embedded key": {"jwk": dict(OTHER.public)},
    "key by URL": {"jku": "http://127.0.0.1:9/jwks.json"},
    "certificate by URL": {"x5u": "http://127.0.0.1:9/cert.pem"},
    "certificate inside": {"x5c": ["AAAA"]},
    "not base64": {"b64": False},
    "compressed": {"zip": "DEF"},
    "another type": {"typ": "at+jwt"},
}


def _none(payload: Payload, alg: str) -> str:
    return (
        f"{b64(json.dumps({'alg': alg, 'kid': KEY.kid, 'typ': 'JWT'}).encode())}.{b64(json.dumps(payload).encode())}."
    )


def _confused(payload: Payload) -> str:
    """HS256 with the public key as the secret; signed by hand, for libraries refuse to."""
    public = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = b64(json.dumps({"alg": "HS256", "kid": KEY.kid, "typ": "JWT"}).encode())
    text = f"{head}.{b64(json.dumps(payload).encode())}"
    return f"{text}.{b64(hmac.new(public, text.encode(), hashlib.sha256).digest())}"


def _rsa(payload: Payload) -> str:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return jwt.encode(payload, key.decode(), algorithm="RS256", headers={"kid": KEY.kid})


def _p384(payload: Payload) -> str:
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return jwt.encode(payload, key.decode(), algorithm="ES384", headers={"kid": KEY.kid})


def _own_header_foreign_signature(payload: Payload) -> str:
    text = good().rsplit(".", 1)[0]
    return f"{text}.{jws.sign(b'x', pem(OTHER), algorithm='ES256').rsplit('.', 1)[1]}"


def _raw_payload(payload: bytes) -> str:
    return jws.sign(payload, pem(KEY), algorithm="ES256", headers={"kid": KEY.kid})


FORGED: dict[str, Callable[[Payload], str]] = {
    "alg none": lambda p: _none(p, "none"),
    "alg None": lambda p: _none(p, "None"),
    "alg NONE with a signature": lambda p: _none(p, "NONE") + "A" * 86,
    "HS256 with the public key": _confused,
    "HS256 with a guess": lambda p: jwt.encode(p, "secret", algorithm="HS256", headers={"kid": KEY.kid}),
    "RS256": _rsa,
    "ES384": _p384,
    "another key, our kid": lambda p: signed(p, key=OTHER),
    "our header, another's signature": _own_header_foreign_signature,
    "zero signature": lambda p: signed(p).rsplit(".", 1)[0] + "." + "A" * 86,
    "DER signature": lambda p: (
        signed(p).rsplit(".", 1)[0] + "." + b64(KEY.private.sign(b"x", ec.ECDSA(hashes.SHA256())))
    ),
    "no signature": lambda p: signed(p).rsplit(".", 1)[0] + ".",
    "two segments": lambda p: signed(p).rsplit(".", 1)[0],
    "five segments (JWE)": lambda p: signed(p) + ".AAAA.AAAA",
    "payload of another token": lambda p: ".".join(
        a if i != 1 else b for i, (a, b) in enumerate(zip(signed(p).split("."), good().split("."), strict=True))
    ),
    "payload is a list": lambda p: _raw_payload(b"[]"),
    "payload is no JSON": lambda p: _raw_payload(b"{"),
    "payload is no UTF-8": lambda p: _raw_payload(b'{"a":"\xff"}'),
    "payload is deep": lambda p: _raw_payload(b"[" * 1200),
    "empty": lambda p: "",
    "dots": lambda p: "..",
    "spaces": lambda p: f" {signed(p)}",
    "line end": lambda p: signed(p) + "\n",
    "padding": lambda p: signed(p) + "==",
    "not ASCII": lambda p: signed(p)[:-1] + "é",
    "a megabyte": lambda p: signed(p | {"x": "y" * 1_000_000}),
    "a megabyte of dots": lambda p: "." * 1_000_000,
}
