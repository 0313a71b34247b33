"""Roles x routes, generated from the services' own OpenAPI: a route without a policy fails, and so does a wrong one."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from dsdc.db.repositories.documents import Arrival, Documents, NewDocument
from dsdc.db.repositories.users import ROLES
from dsdc.db.session import transaction
from dsdc.errors import SetupError
from dsdc.settings import secrets
from dsdc.web.contract import Lineage
from dsdc.web.guard import GuardedRoute, public
from services.streamlit.answer import steps
from tests.services.platforms import Platform

# Written down here once more on purpose: whoever changes a policy has to say so in two places.
ALL = set(ROLES)
ANNOTATE = {"annotator", "model-admin", "admin"}
POLICIES: dict[str, dict[str, set[str]]] = {
    "auth": {
        "POST /token": {"public"},
        "POST /token/refresh": {"public"},
        "POST /logout": ALL,
        "GET /users/me": ALL,
        "PUT /users/me/password": ALL,
        "GET /.well-known/jwks.json": {"public"},
        "GET /.well-known/ended.json": {"public"},
        "GET /users": {"admin"},
        "POST /users": {"admin"},
        "POST /users/{user_id}/disable": {"admin"},
        "POST /users/{user_id}/enable": {"admin"},
        "PUT /users/{user_id}/role": {"admin"},
        "GET /users/{user_id}/api-keys": {"admin"},
        "POST /users/{user_id}/api-keys": {"admin"},
        "POST /users/{user_id}/api-keys/{key_id}/revoke": {"admin"},
        "GET /audit": {"admin"},
    },
    "predict": {
        "POST /v1/predict": ALL,
        "GET /v1/predictions/{prediction_id}": ALL,
        "GET /v1/predictions/{prediction_id}/lineage": ALL,
        "GET /v1/predictions/{prediction_id}/lineage/labels": ANNOTATE,
        "POST /v1/predictions/{prediction_id}/feedback": ANNOTATE,
        "POST /v1/documents/{document_id}/labels": ANNOTATE,
        "GET /v1/documents/{document_id}/similar": ALL,
        "GET /v1/documents/{document_id}/lineage": ANNOTATE,
        "GET /v1/model": ALL,
        "POST /v1/model/reload": {"model-admin", "admin"},
        "POST /v1/batches": ALL,
        "GET /v1/batches/{batch_id}": ALL,
        "GET /v1/batches/{batch_id}/items": ALL,
        "DELETE /v1/batches/{batch_id}": ALL,
    },
}
for _service in POLICIES.values():
    _service |= {"GET /healthz": {"public"}, "GET /readyz": {"public"}, "GET /metrics": {"metrics"}}


def operations(platform: Platform, service: str) -> dict[str, dict[str, Any]]:
    base = getattr(platform, service)
    paths = httpx.get(f"{base}/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}": op for path, ops in paths.items() for method, op in ops.items()}


@pytest.mark.parametrize("service", POLICIES)
def test_every_route_states_the_policy_that_it_should(platform: Platform, service: str) -> None:
    stated = {name: set(op["x-roles"]) for name, op in operations(platform, service).items()}
    assert stated == POLICIES[service]


def ask(platform: Platform, service: str, operation: str, headers: dict[str, str]) -> httpx.Response:
    """The request without a body and with ids of nobody: whoever is let in meets 404 or 422, and changes nothing."""
    method, path = operation.split(" ")
    path = path.replace("{document_id}", "0" * 64)
    path = re.sub(r"{\w+}", "00000000-0000-0000-0000-000000000000", path)
    return httpx.request(method, getattr(platform, service) + path, headers=headers, timeout=30)


def _bearer(platform: Platform, who: str, *, fresh: bool) -> dict[str, str]:
    """The role's token; a fresh one for what ends the session that the other cells use."""
    if who.startswith(ROBOT):
        return {"Authorization": f"Bearer {platform.key_token(who.removeprefix(ROBOT))}"}
    if not fresh:
        return platform.bearer(who)
    tokens = platform.signed_in(f"the-{who}").tokens
    assert tokens is not None
    return {"Authorization": f"Bearer {tokens.access_token}"}


ROBOT = "key of "
#: People of every role, service accounts of every role that they may have, and nobody.
CALLERS = (*ROLES, *(f"{ROBOT}{role}" for role in ROLES if role != "admin"), "nobody")
CELLS = [(service, op, who) for service, ops in POLICIES.items() for op in ops for who in CALLERS]


@pytest.mark.parametrize(("service", "operation", "who"), CELLS, ids=str)
def test_role_by_route(platform: Platform, service: str, operation: str, who: str) -> None:
    allowed = POLICIES[service][operation]
    headers = {} if who == "nobody" else _bearer(platform, who, fresh=operation == "POST /logout")
    status = ask(platform, service, operation, headers).status_code
    if "public" in allowed:
        assert status not in (401, 403)
    elif who == "nobody" or "metrics" in allowed:
        assert status == 401
    elif who.removeprefix(ROBOT) in allowed:
        assert status in (200, 204, 404, 409, 415, 422)
    else:
        assert status == 403


def test_a_body_is_not_read_before_the_caller_is_known(platform: Platform) -> None:
    headers = {"Content-Type": "application/json"}
    for url, method in ((f"{platform.auth}/users", "POST"), (f"{platform.auth}/users/me/password", "PUT")):
        assert httpx.request(method, url, content=b"{broken", headers=headers).status_code == 401


def test_a_route_without_a_policy_cannot_be_made() -> None:
    async def endpoint() -> None: ...

    GuardedRoute("/x", endpoint, openapi_extra=public())
    with pytest.raises(SetupError, match="has no policy"):
        GuardedRoute("/x", endpoint)


def test_metrics_take_their_own_token_and_no_other(platform: Platform) -> None:
    with platform.here():
        token = secrets().value("metrics_token")
    for base in (platform.auth, platform.predict):
        answer = httpx.get(f"{base}/metrics", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert "dsdc_http_requests_total{" in answer.text
        for wrong in (token[:-1], token + "x", platform.token("admin")):
            assert httpx.get(f"{base}/metrics", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
        assert httpx.get(f"{base}/users/me", headers={"Authorization": f"Bearer {token}"}).status_code in (401, 404)


def test_one_users_predictions_are_not_there_for_another(platform: Platform) -> None:
    mine = platform.of_role("service").predict(b"\x89PNG\r\n\x1a\n" + b"m" * 9, name="mine.png")
    url = f"{platform.predict}/v1/predictions/{mine.prediction_id}"
    for suffix in ("", "/lineage"):
        assert httpx.get(url + suffix, headers=platform.bearer("service")).status_code == 200
        assert httpx.get(url + suffix, headers=platform.bearer("viewer")).status_code == 404
        assert httpx.get(url + suffix, headers=platform.bearer("annotator")).status_code == 200


def test_lineage_tells_nobody_names_that_others_gave(platform: Platform) -> None:
    mine = platform.of_role("service").predict(b"\x89PNG\r\n\x1a\n" + b"n" * 9, name="mine.png")
    near = uuid.uuid4().hex * 2
    with platform.here(), transaction("owner") as session:
        documents = [(mine.document_id, "of somebody else.png"), (near, "a neighbour.png")]
        Documents(session).add([NewDocument(d, f"raw/{d}", name, "image/png", 9) for d, name in documents])
        Documents(session).sight([Arrival(mine.document_id, "inbox", "of somebody else.png", author="eve")])
        named = {"document_id": near, "label": "letter", "label_source": "human", "author": "ada", "similarity": 0.9}
        session.execute(
            text(
                "UPDATE predictions SET document_id = document_sha256, neighbours = CAST(:near AS jsonb) WHERE id = :id"
            ),
            {"near": json.dumps([named]), "id": mine.prediction_id},
        )
    assert "somebody" not in _lineage(platform, "service", mine.prediction_id).text, "brought by eve, not by the caller"
    key = hashlib.sha256(f"prediction|{mine.prediction_id}".encode()).hexdigest()
    with platform.here(), transaction("owner") as session:
        own = Arrival(mine.document_id, "api", "mine.png", author="the-service", arrival_key=key)
        Documents(session).sight([own])
    found = _lineage(platform, "service", mine.prediction_id)
    assert "somebody" not in found.text
    assert "a neighbour" not in found.text
    lineage = Lineage.model_validate(found.json())
    assert (lineage.document.original_name, lineage.neighbours[0].document_id) == ("mine.png", near)
    whole = Lineage.model_validate(_lineage(platform, "annotator", mine.prediction_id).json())
    assert (whole.document.original_name, whole.neighbours[0].original_name) == (
        "of somebody else.png",
        "a neighbour.png",
    )
    (arrival,) = [which for what, which in steps(whole) if what == "Arrival"]
    assert arrival.endswith("api, as mine.png"), "source, name and time are of one arrival"


def _lineage(platform: Platform, role: str, prediction_id: uuid.UUID) -> httpx.Response:
    return httpx.get(f"{platform.predict}/v1/predictions/{prediction_id}/lineage", headers=platform.bearer(role))
