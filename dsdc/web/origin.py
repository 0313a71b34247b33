"""Where a request comes from, for the throttle and the audit log."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fastapi import Request


@dataclass(frozen=True)
class Origin:
    """`address` is an IP address in its canonical form, or None where the server knows none."""

    address: str | None
    request_id: str | None


#: Work that no request asked for: the command line's.
LOCAL = Origin(None, None)


def request_id(request: Request) -> str | None:
    """The id that the answer and every log line of this request carry."""
    return request.scope.get("state", {}).get("request_id")


def origin_of(request: Request) -> Origin:
    host = request.client.host if request.client else ""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        address = None
    return Origin(address, request_id(request))
