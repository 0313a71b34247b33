"""Builds a service's application from its routes; everything around them is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

import dsdc
from dsdc.web import errors, health, openapi
from dsdc.web.guard import Guard
from dsdc.web.health import Check
from dsdc.web.metrics import HttpMetrics
from dsdc.web.middleware import BodyLimits, RequestContext

SMALL_BODY = 64 * 1024  # forms and JSON; a real one has a few hundred bytes


def build_app(
    title: str,
    *,
    description: str,
    routers: Sequence[APIRouter],
    guard: Guard,
    metrics: HttpMetrics,
    checks: Mapping[str, Check],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    body_limits: Mapping[str, int] | None = None,
) -> FastAPI:
    """A service. Interactive documentation is closed; `/openapi.json` describes the service completely."""
    app = FastAPI(
        title=title,
        description=description,
        version=dsdc.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.guard = guard
    errors.install(app)
    for routes in (*routers, health.router(checks, metrics)):
        app.include_router(routes)
    app.add_middleware(BodyLimits, default=SMALL_BODY, paths=body_limits or {})
    app.add_middleware(RequestContext, metrics=metrics)  # added last: outermost
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        app.openapi_schema = openapi.completed(schema)
    return app.openapi_schema
