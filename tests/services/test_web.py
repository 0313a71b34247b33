"""What is the same for all services: problems, headers, health, metrics, and what the logs do not hold."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.settings import secrets
from tests.services.platforms import Platform

PNG = b"\x89PNG\r\n\x1a\n"
SERVICES = ["auth", "predict"]
SQL = ["' OR '1'='1", "'; DROP TABLE users; --", '" OR 1=1 --', "admin'--", "\\'; SELECT pg_sleep(60)--", "$$;%00"]


@pytest.mark.parametrize("service", SERVICES)
def test_health_and_readiness(platform: Platform, service: str) -> None:
    base = getattr(platform, service)
    assert httpx.get(f"{base}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{base}/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/users/me", "/v1/model", "/metrics", "/openapi.json"])
def test_every_answer_has_the_security_headers(platform: Platform, service: str, path: str) -> None:
    headers = httpx.get(getattr(platform, service) + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/docs/oauth2-redirect", "/.env", "/.secrets", "/.keys/", "/../.secrets"]
)
def test_what_is_closed(platform: Platform, service: str, path: str) -> None:
    answer = httpx.get(getattr(platform, service) + path)
    assert answer.status_code == 404
    assert answer.json()["title"] == "Not Found"


@pytest.mark.parametrize("service", SERVICES)
def test_other_origins_get_no_permission(platform: Platform, service: str) -> None:
    base, origin = getattr(platform, service), {"Origin": "https://evil.example"}
    preflight = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (
        httpx.get(f"{base}/healthz", headers=origin),
        httpx.options(f"{base}/token", headers=preflight),
        httpx.options(f"{base}/v1/predict", headers=preflight),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("service", SERVICES)
def test_problems_are_rfc_9457_and_carry_the_callers_request_id(platform: Platform, service: str) -> None:
    answer = httpx.get(f"{getattr(platform, service)}/nowhere", headers={"X-Request-ID": "my-request.1"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "my-request.1"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found",
        "request_id": "my-request.1",
    }
    for bad in ("short", "x" * 65, "a b c d e f", "<script>alert</script>"):
        assert (
            httpx.get(f"{getattr(platform, service)}/nowhere", headers={"X-Request-ID": bad}).headers["x-request-id"]
            != bad
        )


def test_a_method_that_is_not_there(platform: Platform) -> None:
    answer = httpx.delete(f"{platform.auth}/token")
    assert (answer.status_code, answer.json()["title"]) == (405, "Method Not Allowed")


def test_what_is_not_valid_is_told_without_what_was_sent(platform: Platform) -> None:
    body = {"name": "Not A Name", "password": "hunter2hunter2-Zq", "role": "root", "extra": "hunter3"}
    answer = httpx.post(f"{platform.auth}/users", json=body, headers=platform.bearer("admin"))
    assert answer.status_code == 422
    assert {"name", "role", "extra"} <= {fault["where"][-1] for fault in answer.json()["errors"]}
    assert "hunter" not in answer.text


BODIES = [
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff",
    b"[" * 30_000,
    b'{"name":"\\ud800"}',
    b'{"name":1e999}',
    b"{}" * 40_000,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:12]))
def test_hostile_json(platform: Platform, body: bytes) -> None:
    headers = platform.bearer("admin") | {"Content-Type": "application/json"}
    for url in (f"{platform.auth}/users", f"{platform.predict}/v1/documents/{'0' * 64}/labels"):
        answer = httpx.post(url, content=body, headers=headers)
        assert answer.status_code in (400, 413, 422), answer.text


def test_characters_that_the_database_cannot_hold(platform: Platform) -> None:
    for password in ("\ud800 several words", "nul \x00 several words"):
        answer = httpx.post(
            f"{platform.auth}/users",
            content=json.dumps({"name": "odd", "password": password, "role": "viewer"}),
            headers=platform.bearer("admin") | {"Content-Type": "application/json"},
        )
        assert answer.status_code == 422
    for name in ("a\x00b", "\ud800".encode("utf-8", "surrogatepass"), "x" * 1000):
        form = {"username": name, "password": "x\x00y"}
        assert httpx.post(f"{platform.auth}/token", data=form).status_code == 401


@pytest.mark.parametrize("evil", SQL)
def test_sql_in_every_field(platform: Platform, evil: str) -> None:
    admin = platform.bearer("admin")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"{platform.auth}/token", {"data": {"username": evil, "password": evil}}),
        ("POST", f"{platform.auth}/token/refresh", {"json": {"refresh_token": evil}}),
        ("POST", f"{platform.auth}/users", {"json": {"name": evil, "password": evil * 5, "role": evil}}),
        ("PUT", f"{platform.auth}/users/{evil}/role", {"json": {"role": "viewer"}}),
        ("GET", f"{platform.predict}/v1/predictions/{evil}", {}),
        ("GET", f"{platform.predict}/v1/predictions/{evil}/lineage", {}),
        ("GET", f"{platform.predict}/v1/documents/{evil}/similar", {}),
        ("GET", f"{platform.predict}/v1/documents/{'0' * 64}/similar", {"params": {"limit": evil}}),
        ("POST", f"{platform.predict}/v1/documents/{'0' * 64}/labels", {"json": {"label": evil}}),
        ("POST", f"{platform.predict}/v1/predict", {"files": {"file": (evil, b"x")}, "params": {"store": evil}}),
    ]
    for method, url, options in calls:
        answer = httpx.request(method, url, headers=admin, timeout=50, **options)
        assert 400 <= answer.status_code < 500, (url, answer.text)
    with platform.here(), transaction("owner") as session:
        assert session.execute(text("SELECT count(*) FROM users")).scalar_one() >= 5


def _filled(schema: dict[str, Any], models: dict[str, Any], evil: str) -> dict[str, Any]:
    """A body whose every text is `evil`."""
    model = models[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return dict.fromkeys(model.get("properties", {}), evil)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("evil", SQL)
def test_sql_in_everything_that_openapi_names(platform: Platform, service: str, evil: str) -> None:
    """Every path parameter, query parameter and field of every route, generated: new routes are tried as well."""
    base, headers = getattr(platform, service), platform.bearer("admin")
    schema = httpx.get(f"{base}/openapi.json").json()
    with httpx.Client(base_url=base, headers=headers, timeout=50) as client:
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                if path == "/logout":
                    continue  # takes nothing, and would end the sign-in of the others
                params = {p["name"]: evil for p in operation.get("parameters", []) if p["in"] == "query"}
                options: dict[str, Any] = {"params": params}
                for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                    fields = _filled(content["schema"], schema["components"]["schemas"], evil)
                    options["json" if kind == "application/json" else "data"] = fields
                url = re.sub(r"{\w+}", quote(evil, safe=""), path)
                answer = client.request(method, url, **options)
                assert answer.status_code < 500, (method, path, answer.text)
                assert "syntax" not in answer.text


def test_labels_are_classes_of_documents_that_are_there(platform: Platform) -> None:
    url, headers = f"{platform.predict}/v1/documents/{'0' * 64}/labels", platform.bearer("annotator")
    assert httpx.post(url, json={"label": "invoice"}, headers=headers).status_code == 404
    refused = httpx.post(url, json={"label": "no_such_class"}, headers=headers)
    assert refused.status_code == 422
    assert "scientific_report" in refused.json()["detail"]


def test_feedback_on_a_document_that_was_not_kept_says_so(platform: Platform) -> None:
    made = platform.of_role("annotator").predict(PNG + b"feedback", name="a.png", store=False)
    url = f"{platform.predict}/v1/predictions/{made.prediction_id}/feedback"
    answer = httpx.post(url, json={"label": "invoice"}, headers=platform.bearer("annotator"))
    assert answer.status_code == 409
    assert "store=true" in answer.json()["detail"]


def test_a_model_is_described_and_reloaded(platform: Platform) -> None:
    model = platform.of_role("model-admin").reload_model()
    assert (model.name, model.version) == ("dsdc-head", 1)
    assert model.classes[0].slug == "letter"


def test_metrics_count_what_happened(platform: Platform) -> None:
    def value(sample: str) -> float:
        with platform.here():
            token = secrets().value("metrics_token")
        page = httpx.get(f"{platform.predict}/metrics", headers={"Authorization": f"Bearer {token}"}).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(sample))

    answered, refused = (
        'dsdc_http_requests_total{method="POST",route="/v1/predict",status="200"}',
        ('dsdc_http_requests_total{method="GET",route="unmatched",status="404"}'),
    )
    before = value("dsdc_predictions_total{"), value(answered), value(refused)
    platform.of_role("viewer").predict(PNG + b"metrics", name="m.png")
    httpx.get(f"{platform.predict}/some/path/of/nobody")
    after = value("dsdc_predictions_total{"), value(answered), value(refused)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    assert value('dsdc_predict_seconds_count{stage="total"}') >= 1
    assert value("dsdc_model_info{") == 1
    assert value("dsdc_predict_queued") == 0


def test_unknown_methods_do_not_make_metrics_grow(platform: Platform) -> None:
    for i in range(5):
        httpx.request(f"BREW{i}", f"{platform.predict}/healthz")
    with platform.here():
        token = secrets().value("metrics_token")
    page = httpx.get(f"{platform.predict}/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert "BREW" not in page


def test_the_openapi_describes_both_services(platform: Platform) -> None:
    for base in (platform.auth, platform.predict):
        schema = httpx.get(f"{base}/openapi.json").json()
        assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        assert "Problem" in schema["components"]["schemas"]
