"""Every way in which a token can be wrong, against the verifier itself."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdc.errors import InvalidToken
from dsdc.web.keys import SigningKey
from dsdc.web.tokens import Ended, TokenVerifier
from tests.tokens import (
    CONFIG,
    FORGED,
    KEY,
    OTHER,
    SIGNER,
    WHO,
    WRONG_CLAIMS,
    WRONG_HEADERS,
    Payload,
    good,
    segments,
    signed,
    verifier,
    with_claims,
)


def test_a_good_token_is_read() -> None:
    claims = verifier().verify(good(), "access")
    assert (claims.subject, claims.name, claims.role, claims.session) == tuple(
        WHO[k] for k in ("subject", "name", "role", "session")
    )
    assert claims.expires - claims.issued == 900
    assert len(good()) < 1024  # far below the limit, so that none of the refusals below is a matter of length


def test_the_probes_below_start_from_a_token_that_would_pass() -> None:
    assert verifier().verify(with_claims(), "access").name == "ada"


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "sub", "role", "jti", "type", "name", "sid"])
def test_every_claim_is_required(claim: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(with_claims(**{claim: ...}), "access")


@pytest.mark.parametrize("case", WRONG_CLAIMS)
def test_wrong_claims_are_refused(case: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(with_claims(**WRONG_CLAIMS[case]), "access")


@pytest.mark.parametrize("case", WRONG_HEADERS)
@pytest.mark.parametrize("key", [KEY, OTHER], ids=["our key", "another key"])
def test_headers_that_auth_does_not_write_are_refused(case: str, key: SigningKey) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(signed(segments(good())[1], WRONG_HEADERS[case], key), "access")


@pytest.mark.parametrize("case", FORGED)
def test_forged_tokens_are_refused_quickly(case: str) -> None:
    payload = segments(good())[1]
    payload["role"] = "admin"
    token = FORGED[case](payload)
    begun = time.process_time()
    with pytest.raises(InvalidToken):
        verifier().verify(token, "access")
    assert time.process_time() - begun < 1


def test_any_flipped_bit_is_refused() -> None:
    """All bits of all characters, those of the signature that base64 does not use among them."""
    token, checks = good().encode("ascii"), verifier()
    passed = []
    for at in range(len(token)):
        for bit in range(7):
            flipped = bytearray(token)
            flipped[at] ^= 1 << bit
            try:
                checks.verify(flipped.decode("ascii"), "access")
            except InvalidToken:
                continue
            passed.append((at, bit))
    assert passed == []


@given(st.text(max_size=400))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(text, "access")


def test_kinds_are_not_taken_for_each_other() -> None:
    refresh, _ = SIGNER.sign(**WHO, kind="refresh")  # type: ignore[arg-type]
    assert verifier().verify(refresh, "refresh").kind == "refresh"
    with pytest.raises(InvalidToken):
        verifier().verify(refresh, "access")
    with pytest.raises(InvalidToken):
        verifier().verify(good(), "refresh")


def test_a_key_is_good_until_it_is_withdrawn() -> None:
    checks, token = verifier(), good()
    checks.trust([KEY.public, OTHER.public])
    checks.verify(token, "access")
    checks.trust([OTHER.public])
    with pytest.raises(InvalidToken):
        checks.verify(token, "access")


def test_nothing_is_good_before_there_are_keys() -> None:
    empty = TokenVerifier(CONFIG)
    assert not empty.ready
    with pytest.raises(InvalidToken):
        empty.verify(good(), "access")


def test_what_ended_is_refused() -> None:
    checks, token = verifier(), good()
    claims = checks.verify(token, "access")
    checks.end(Ended({str(claims.subject): claims.issued - 1}, frozenset({str(uuid4())})))
    checks.verify(token, "access")
    checks.end(Ended({str(claims.subject): claims.issued}))
    with pytest.raises(InvalidToken):
        checks.verify(token, "access")
    checks.end(Ended(sessions=frozenset({str(claims.session)})))
    with pytest.raises(InvalidToken):
        checks.verify(token, "access")


BAD_KEYS: dict[str, Payload] = {
    "private": dict(KEY.public) | {"d": "AAAA"},
    "symmetric": {"kty": "oct", "k": "AAAA", "kid": "x", "alg": "HS256", "use": "sig"},
    "another curve": dict(KEY.public) | {"crv": "P-384"},
    "another algorithm": dict(KEY.public) | {"alg": "HS256"},
    "for encryption": dict(KEY.public) | {"use": "enc"},
    "kid of another": dict(KEY.public) | {"kid": OTHER.kid},
    "without kid": {k: v for k, v in KEY.public.items() if k != "kid"},
    "not on the curve": dict(KEY.public) | {"x": KEY.public["y"]},
    "numbers": dict(KEY.public) | {"x": 1},
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys_are_not_trusted_and_leave_the_good_ones(case: str) -> None:
    checks, token = verifier(), good()
    with pytest.raises(ValueError):
        checks.trust([KEY.public, BAD_KEYS[case]])
    assert checks.verify(token, "access").name == "ada"


def test_no_keys_at_all_are_not_trusted() -> None:
    with pytest.raises(ValueError, match="0 keys"):
        verifier().trust([])


_touched: list[str] = []
_watched: int | None = None  # a thread: others may be at work in this process
_EVENTS = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen")


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _watched == threading.get_ident() and event in _EVENTS:
        _touched.append(f"{event} {args[:1]}")


@pytest.fixture(scope="module")
def audit() -> Iterator[None]:
    sys.addaudithook(_watch)
    yield


def test_hostile_headers_touch_no_file_and_no_network(audit: None) -> None:
    global _watched  # noqa: PLW0603
    checks = verifier()
    payload = segments(good())[1]
    tokens = [signed(payload, header, OTHER) for header in WRONG_HEADERS.values()]
    for token in tokens:  # once unwatched: first uses import modules
        with pytest.raises(InvalidToken):
            checks.verify(token, "access")
    _touched.clear()
    _watched = threading.get_ident()
    try:
        for token in tokens:
            with pytest.raises(InvalidToken):
                checks.verify(token, "access")
    finally:
        _watched = None
    assert _touched == []
