"""Hostile tokens over HTTP, to a route of each service: always 401 with a problem, never 2xx, never 5xx."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jose import jwt

from dsdc.settings import Auth
from dsdc.web.keys import KeyFolder, SigningKey
from dsdc.web.serve import HEADERS_S
from dsdc.web.tokens import TokenSigner
from tests.services.platforms import Platform
from tests.tokens import FORGED, NOW, OTHER, WRONG_CLAIMS, WRONG_HEADERS, pem

# Not to be had in a header, or refused by the server before any route: test_a_huge_token_is_refused_at_once.
UNSENDABLE = {"empty", "line end", "a megabyte", "a megabyte of dots"}
ROUTES = [("auth", "GET", "/users/me"), ("predict", "GET", "/v1/model"), ("predict", "POST", "/v1/predict")]


@pytest.fixture(scope="module")
def key(platform: Platform) -> SigningKey:
    """auth's own key: with it a token has only the one fault that is meant."""
    return KeyFolder(platform.root / ".keys").pairs()[-1]


def payload_of(platform: Platform) -> dict[str, Any]:
    body = platform.token("admin").split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims


def hostile(platform: Platform, key: SigningKey) -> dict[str, str]:
    payload = payload_of(platform)
    tokens = {
        f"claims: {case}": jwt.encode(payload | changes, pem(key), algorithm="ES256", headers={"kid": key.kid})
        for case, changes in WRONG_CLAIMS.items()
    }
    for case, header in WRONG_HEADERS.items():
        for whose in (key, OTHER):
            headers = {"kid": key.kid} | header
            tokens[f"header: {case}, {whose is key}"] = jwt.encode(
                payload, pem(whose), algorithm="ES256", headers=headers
            )
    for claim in payload:
        rest = {k: v for k, v in payload.items() if k != claim}
        tokens[f"without {claim}"] = jwt.encode(rest, pem(key), algorithm="ES256", headers={"kid": key.kid})
    return tokens | {f"forged: {case}": make(payload) for case, make in FORGED.items() if case not in UNSENDABLE}


@pytest.mark.parametrize(("service", "method", "path"), ROUTES, ids=str)
def test_hostile_tokens(platform: Platform, key: SigningKey, service: str, method: str, path: str) -> None:
    statuses: dict[str, int] = {}
    with httpx.Client(base_url=getattr(platform, service), timeout=60) as http:
        for case, token in hostile(platform, key).items():
            bearer = b"Bearer " + token.replace("\n", " ").encode("utf-8")
            answer = http.request(method, path, headers={b"Authorization": bearer})
            statuses[case] = answer.status_code
            assert answer.headers["content-type"] == "application/problem+json", case
            assert answer.headers["www-authenticate"].startswith("Bearer"), case
    assert len(statuses) > 80
    assert {case: status for case, status in statuses.items() if status != 401} == {}


def test_a_genuine_token_passes_the_same_way(platform: Platform, key: SigningKey) -> None:
    token = jwt.encode(payload_of(platform), pem(key), algorithm="ES256", headers={"kid": key.kid})
    for service, method, path in ROUTES[:2]:
        url = getattr(platform, service) + path
        assert httpx.request(method, url, headers={"Authorization": f"Bearer {token}"}).status_code == 200


SCHEMES = ["{}", "Basic {}", "bearer", "Bearer", "Bearer  {}", "Bearer {}, Bearer {}", "Bearer\t{}", "DPoP {}"]


@pytest.mark.parametrize("form", SCHEMES)
def test_other_ways_to_send_a_token_are_refused(platform: Platform, form: str) -> None:
    token = platform.token("admin")
    for service, _, path in ROUTES[:2]:
        headers = {"Authorization": form.format(token, token)}
        assert httpx.get(getattr(platform, service) + path, headers=headers).status_code == 401
        url = f"{getattr(platform, service)}{path}?access_token={token}&token={token}"
        assert httpx.get(url, cookies={"token": token, "access_token": token}).status_code == 401


def test_two_authorization_headers_are_refused(platform: Platform) -> None:
    headers = [("Authorization", f"Bearer {platform.token('admin')}"), ("Authorization", "Bearer x")]
    for service, _, path in ROUTES[:2]:
        for order in (headers, headers[::-1]):
            assert httpx.get(getattr(platform, service) + path, headers=order).status_code == 401


@pytest.mark.parametrize("size", [8_000, 60_000, 1_000_000])
def test_a_huge_token_is_refused_at_once(platform: Platform, size: int) -> None:
    for service, _, path in ROUTES[:2]:
        with httpx.Client(base_url=getattr(platform, service)) as client:
            begun = time.perf_counter()
            try:
                answer = client.get(path, headers={"Authorization": "Bearer " + "A" * size})
            except (httpx.RemoteProtocolError, httpx.WriteError, httpx.ReadError):
                pass  # cut off while the header was still coming in
            else:
                assert answer.status_code in (400, 401, 431)
            assert time.perf_counter() - begun < HEADERS_S  # and not when the time for headers is over


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "A" * 60_000, "\u0000", "é"])
def test_hostile_refresh_tokens(platform: Platform, token: str) -> None:
    answer = httpx.post(f"{platform.auth}/token/refresh", json={"refresh_token": token})
    assert answer.status_code == 401


def test_a_refresh_token_that_was_never_issued(platform: Platform, key: SigningKey) -> None:
    """Signed by the right key, but unknown to the store: a stolen key alone does not make sessions."""
    signer = TokenSigner(Auth(), key)
    token, _ = signer.sign(subject=uuid4(), name="the-admin", role="admin", kind="refresh", session=uuid4())
    assert httpx.post(f"{platform.auth}/token/refresh", json={"refresh_token": token}).status_code == 401


def test_an_access_token_of_nobody(platform: Platform, key: SigningKey) -> None:
    signer = TokenSigner(Auth(), key)
    token, claims = signer.sign(subject=uuid4(), name="ghost", role="admin", kind="access", session=uuid4())
    assert claims.issued >= NOW
    assert httpx.get(f"{platform.auth}/users", headers={"Authorization": f"Bearer {token}"}).status_code == 401
