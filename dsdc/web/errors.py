"""Domain errors -> RFC 9457 problem details. A new error class is one row of `_STATUS`.

Answers never carry a stack, a path, a DSN or what was sent; the request id finds the whole story in the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from dsdc import errors as e
from dsdc.log import get_logger
from dsdc.web.accounts import Unacceptable
from dsdc.web.origin import request_id
from dsdc.web.passwords import WeakPassword

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:dsdc:problem:"

#: The most special class first: the first that fits decides.
_STATUS: tuple[tuple[type[e.DsdcError], int], ...] = (
    (e.EmptyFile, 422),
    (e.UnsupportedType, 415),
    (e.TooLarge, 413),
    (e.DocumentError, 422),
    (e.ParserDied, 503),  # whose fault it was shows when it is tried again
    (WeakPassword, 422),
    (Unacceptable, 422),
    (e.NotFound, 404),
    (e.Conflict, 409),
    (e.KeyReused, 422),
    (e.Busy, 503),
    (e.InvalidCredentials, 401),
    (e.InvalidToken, 401),
    (e.Forbidden, 403),
    (e.TooManyAttempts, 429),
    (e.NoChampion, 503),
    (e.DatabaseUnavailable, 503),
    (e.ModelError, 503),
    (e.SetupError, 503),
)
#: Classes whose message was written for whoever sent the request; of all others only the class's docstring is told.
_TELLING = (
    e.DocumentError,
    WeakPassword,
    Unacceptable,
    e.NotFound,
    e.Conflict,
    e.KeyReused,
    e.GivenUp,
    e.Busy,
    e.AccessError,
    e.NoChampion,
    e.ModelMismatch,
)


def status_of(error: e.DsdcError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def telling(error: e.DsdcError) -> str:
    """What a client may read of an error: message and hint, or only what kind of error it is."""
    if isinstance(error, _TELLING):
        return str(error)
    return (type(error).__doc__ or e.DsdcError.__doc__ or "").strip()


def slug(kind: type[e.DsdcError]) -> str:
    """`UnsupportedType` -> `unsupported-type`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def problem(
    status: int,
    detail: str,
    *,
    request_id: str | None,
    kind: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """A problem details answer; `members` are extension members."""
    body = _body(status, detail, kind) | {"request_id": request_id} | members
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def _body(status: int, detail: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def described(error: Exception, request_id: str | None = None) -> dict[str, Any]:
    """The problem details of an error that is told later, or as a part of an answer."""
    if isinstance(error, e.DsdcError):
        body = _body(status_of(error), telling(error), _TYPE + slug(type(error)))
    else:
        body = _body(500, "Something went wrong on our side.", "about:blank")
    return body | {"request_id": request_id}


def _headers(error: e.DsdcError) -> dict[str, str]:
    if isinstance(error, e.InvalidToken):
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if isinstance(error, e.InvalidCredentials):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, e.Busy | e.TooManyAttempts):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, e.StillRunning):
        return {"Retry-After": "1"}
    if status_of(error) == 503:
        return {"Retry-After": "5"}
    return {}


def problem_of(error: e.DsdcError, request_id: str | None) -> JSONResponse:
    """The answer to a request that ended in this error."""
    kind = _TYPE + slug(type(error))
    return problem(status_of(error), telling(error), request_id=request_id, kind=kind, headers=_headers(error))


async def _on_domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, e.DsdcError)  # noqa: S101 - registered for nothing else
    if status_of(error) >= 500 and not isinstance(error, e.Busy | e.NoChampion):
        log.error("http.failed", error=str(error), kind=type(error).__name__, exc_info=error)
    return problem_of(error, request_id(request))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem(error.status_code, str(error.detail), request_id=request_id(request), headers=headers)


def _methods(request: Request) -> set[str]:
    """All methods of a path; Starlette itself names those of the first route that has it."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


def plain(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Where and why a request is not valid, without the value: it may be a password."""
    return [{"where": [str(part) for part in err["loc"]], "why": str(err["msg"])} for err in errors]


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    faults = plain(error.errors())
    detail = "; ".join(f"{'.'.join(f['where'])}: {f['why']}" for f in faults[:5])
    return problem(422, f"The request is not valid: {detail}.", request_id=request_id(request), errors=faults)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with problem details."""
    app.add_exception_handler(e.DsdcError, _on_domain_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
