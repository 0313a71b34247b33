"""What happens to every request, before and around the routes: id, log line, metrics, headers, limits, last resort."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsdc.log import get_logger
from dsdc.web.errors import problem
from dsdc.web.metrics import HttpMetrics

log = get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_QUIET = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds; logged only when they fail


class RequestContext:
    """The outermost layer: nothing that goes wrong inside gets past it."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(send, request_id)
        begun = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, answer.send)
            # The edge: whatever it was, the client gets an answer without its details and the log gets all of them.
            except Exception as error:
                log.exception("http.unexpected", kind=type(error).__name__)
                await answer.fail(scope, receive)
        self._note(scope, answer.status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.answered(route, scope["method"], status, seconds)
        if route not in _QUIET or status >= 500:
            caller = scope["state"].get("caller")
            log.info(
                "http.request",
                route=route,
                method=scope["method"][:16],
                status=status,
                seconds=round(seconds, 4),
                user=caller,
            )


class _Answer:
    """Watches an answer go out, and adds the headers that all answers have."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 499  # the client left before an answer

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers["X-Request-ID"] = self._request_id
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        if self.status == 499:
            response = problem(500, "Something went wrong on our side.", request_id=self._request_id)
            await response(scope, receive, self.send)


def _request_id(scope: Scope) -> str:
    """The caller's id for the request where it is a decent one, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _route(scope: Scope) -> str:
    """The route's template; never the path itself, which may hold anything."""
    route = scope.get("route")
    return str(route.path) if route is not None else "unmatched"


class BodyLimits:
    """Bounds the size of a request's body and the time it may take, while it arrives.

    Nothing is refused before somebody reads: who has no token gets 401, however large the body.
    """

    # A client must keep up MIN_RATE on average once GRACE_S is over, and be through within TOTAL_S.
    GRACE_S = 10.0
    MIN_RATE = 16 * 1024
    TOTAL_S = 300.0

    def __init__(self, app: ASGIApp, *, default: int, paths: Mapping[str, int]) -> None:
        self._app = app
        self._default = default
        self._paths = dict(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            limit = self._paths.get(scope["path"], self._default)
            receive = _Body(receive, limit, Headers(scope=scope).get("content-length")).receive
        await self._app(scope, receive, send)


class _Body:
    def __init__(self, receive: Receive, limit: int, announced: str | None) -> None:
        self._receive = receive
        self._limit = limit
        self._too_long = (
            announced is not None and announced.isascii() and announced.isdigit() and int(announced) > limit
        )
        self._got = 0
        self._begun: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()  # waits for the client to leave, which may take as long as it likes
        if self._too_long:
            self._refuse()
        message = await self._in_time()
        if message["type"] == "http.request":
            self._got += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._got > self._limit:
                self._refuse()
        return message

    async def _in_time(self) -> Message:
        now = time.monotonic()
        self._begun = self._begun or now
        patience = min(BodyLimits.GRACE_S + self._got / BodyLimits.MIN_RATE, BodyLimits.TOTAL_S)
        try:
            return dict(await asyncio.wait_for(self._receive(), max(0.001, self._begun + patience - now)))
        except TimeoutError:
            raise HTTPException(408, "The request's body takes too long to arrive.") from None

    def _refuse(self) -> None:
        raise HTTPException(413, f"The request's body is over the limit of {self._limit:,} bytes.")


def bound(**values: Any) -> None:
    """Put values on every log line of this request."""
    structlog.contextvars.bind_contextvars(**values)
