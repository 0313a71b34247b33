"""Prometheus metrics that every service has, and the endpoint that serves them."""

from __future__ import annotations

import hmac

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from dsdc.errors import InvalidToken
from dsdc.settings import secrets

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class HttpMetrics:
    """Requests by route, method and status. Labels are bounded: an unknown path or method has one value."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "dsdc_http_requests_total", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "dsdc_http_request_seconds", "Time from request to answer.", ["route"], registry=self.registry
        )
        self.in_flight = Gauge("dsdc_http_in_flight", "Requests being answered.", registry=self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def exposition(self) -> Response:
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def require_metrics_token(request: Request) -> None:
    """Prometheus' own token, which opens nothing else.

    Raises:
        InvalidToken: it is missing or another one.
    """
    given = request.headers.get("authorization", "").encode()
    wanted = f"Bearer {secrets().value('metrics_token')}".encode()
    if not hmac.compare_digest(given, wanted):
        raise InvalidToken("This endpoint needs the metrics token.")
