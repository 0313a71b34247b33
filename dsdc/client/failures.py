"""What a client raises beside the errors that a service names: it is away, late, or refuses in words of its own."""

from __future__ import annotations

import inspect
import re

import httpx

from dsdc import errors
from dsdc.errors import DsdcError

_PROBLEM_TYPE = "urn:dsdc:problem:"


class ServiceUnreachable(DsdcError):
    """The service does not answer."""

    category = "unreachable"


class BatchUnfinished(DsdcError):
    """The batch was not over in time; it goes on."""

    category = "unfinished"


class RequestRefused(DsdcError):
    """The service refused the request."""

    category = "refused"

    def __init__(self, message: str, *, status: int, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


def _errors() -> dict[str, type[DsdcError]]:
    """Problem type -> error class, of those that a message makes."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DsdcError)]
    return {_PROBLEM_TYPE + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in kinds}


_ERRORS = _errors()


def error_of(response: httpx.Response) -> DsdcError:
    """The error that an answer of status 400 or more stands for."""
    try:
        body = response.json()
        detail, kind = str(body["detail"]), _ERRORS.get(body["type"])
    except (ValueError, KeyError, TypeError):
        body, detail, kind = {}, f"{response.request.url.path} answered {response.status_code}.", None
    if kind is errors.Busy or kind is errors.TooManyAttempts:
        seconds = response.headers.get("retry-after", "1")
        return kind(detail, retry_after_s=int(seconds) if seconds.isdigit() else 1)
    if kind is not None:
        return kind(detail)
    return RequestRefused(detail, status=response.status_code, request_id=body.get("request_id"))


def unreachable(service: str, url: object, error: httpx.HTTPError) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"{service} at {url} does not answer ({type(error).__name__}).", hint="Start it with ./scripts/start.sh."
    )
