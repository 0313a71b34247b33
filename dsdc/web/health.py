"""`/healthz`: the process lives. `/readyz`: it can do its work, or says what it waits for. `/metrics`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dsdc.db.session import ping
from dsdc.errors import DsdcError, SetupError
from dsdc.settings import DatabaseRole
from dsdc.web.errors import problem, telling
from dsdc.web.guard import GuardedRoute, metrics_only, public
from dsdc.web.metrics import HttpMetrics
from dsdc.web.origin import request_id

#: Raises a DsdcError where something is missing.
Check = Callable[[], Awaitable[None]]


class Waiting(SetupError):
    """The service is still getting ready."""


def database_check(role: DatabaseRole) -> Check:
    async def check() -> None:
        await run_in_threadpool(ping, role)

    return check


def router(checks: Mapping[str, Check], metrics: HttpMetrics) -> APIRouter:
    """The routes by which a service is watched."""
    routes = APIRouter(route_class=GuardedRoute, tags=["watching"])

    @routes.get("/healthz", openapi_extra=public(), summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get(
        "/readyz",
        openapi_extra=public(),
        summary="Whether it can do its work",
        response_model=dict[str, str],
        responses={503: {"description": "Not yet, or not now; `waiting_for` says why."}},
    )
    async def readyz(request: Request) -> dict[str, str] | Response:
        reasons = await _reasons(checks)
        if reasons:
            detail = "Not ready: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            headers = {"Retry-After": "5"}
            return problem(503, detail, request_id=request_id(request), headers=headers, waiting_for=reasons)
        return {"status": "ready"}

    @routes.get("/metrics", openapi_extra=metrics_only(), response_class=Response, summary="Prometheus' text format")
    async def exposition() -> Response:
        return metrics.exposition()

    return routes


async def _reasons(checks: Mapping[str, Check]) -> dict[str, str]:
    reasons = {}
    for name, check in checks.items():
        try:
            await check()
        except Waiting as error:
            reasons[name] = str(error)
        except DsdcError as error:
            reasons[name] = telling(error)
    return reasons
