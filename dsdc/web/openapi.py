"""What OpenAPI says beside what FastAPI knows: security schemes, and with what problem each route may answer.

No catch-all: a status that stands nowhere here is a mistake, and the tests that compare answers with this find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from dsdc.db.repositories.users import ROLES
from dsdc.web.errors import MEDIA_TYPE
from dsdc.web.guard import SECURITY_SCHEMES

Json = dict[str, Any]

_TEXT = {"schema": {"type": "string"}}
_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": _TEXT},
    429: {"Retry-After": {"description": "Seconds.", **_TEXT}},
    503: {"Retry-After": {"description": "Seconds.", **_TEXT}},
}
_WHY = {
    400: "The body is malformed.",
    401: "No token, or not a good one; or wrong credentials.",
    403: "The caller's role may not do this.",
    404: "There is no such thing, or not for this caller.",
    408: "The body took too long to arrive.",
    409: "It contradicts what is there.",
    413: "The body, or what is in it, is over a limit.",
    415: "The body is of a type that is not taken.",
    422: "The request, or the document in it, is not valid; `errors` says where.",
    429: "Too many attempts, or too much at once.",
    503: "Not now: something that the service needs is away, or it has enough to do.",
}


def completed(schema: Json) -> Json:
    """FastAPI's description of a service, with what this platform adds; the same object."""
    components = schema.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    components.setdefault("schemas", {})["Problem"] = _problem_schema()
    for path in schema["paths"].values():
        for method, operation in path.items():
            declared = operation["responses"]
            declared.pop("422", None)  # FastAPI's own form, which is never sent
            for status in sorted(_statuses(method, operation)):
                declared[str(status)] = _problem(status) | declared.get(str(status), {})
    _link(schema)
    return schema


def _link(schema: Json) -> None:
    """Say where what a POST answers with can be used: by OpenAPI's links people and tools follow a thing's life."""
    for path, operations in schema["paths"].items():
        for status, response in operations.get("post", {}).get("responses", {}).items():
            known = _members(schema, response) if status.startswith("2") else set()
            links = dict(_links(schema, path, known))
            if links:
                response["links"] = links


def _members(schema: Json, response: Json) -> set[str]:
    """The members of the object that a response holds."""
    reference = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    found: Json = schema["components"]["schemas"].get(reference.rpartition("/")[2], {})
    return set(found.get("properties", {}))


def _links(schema: Json, source: str, known: set[str]) -> Iterator[tuple[str, Json]]:
    """The operations all of whose path parameters an answer of `source` knows; its `id` is that of `source/{...}`."""
    own = re.compile(re.escape(source) + r"/\{(\w+)\}")
    for path, operations in schema["paths"].items():
        named, parameters = own.match(path), re.findall(r"\{(\w+)\}", path)
        members = {p: "id" if named and p == named[1] and "id" in known else p for p in parameters}
        if members and set(members.values()) <= known:
            values = {parameter: f"$response.body#/{member}" for parameter, member in members.items()}
            for operation in operations.values():
                yield operation["operationId"], {"operationId": operation["operationId"], "parameters": values}


def _statuses(method: str, operation: Json) -> set[int]:
    """Problems that a route of this form may answer with."""
    roles, parameters = set(operation["x-roles"]), operation.get("parameters", [])
    found = {429, 503}
    if roles != {"public"}:
        found.add(401)
    if roles < set(ROLES):
        found.add(403)
    if parameters:
        found.add(422)
    if any(parameter["in"] == "path" for parameter in parameters):
        found.add(404)
    if "requestBody" in operation:
        found |= {400, 401, 408, 413, 415, 422}
    return found | ({409} if method != "get" else set())


def _problem(status: int) -> Json:
    described = {
        "description": f"{HTTPStatus(status).phrase}. {_WHY[status]}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return described | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _problem_schema() -> Json:
    """RFC 9457, with members of our own: `request_id` finds the log lines, `errors` says what is not valid."""
    text = {"type": "string"}
    return {
        "type": "object",
        "title": "Problem",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": text | {"examples": ["urn:dsdc:problem:not-found", "about:blank"]},
            "title": text | {"examples": ["Not Found"]},
            "status": {"type": "integer", "examples": [404]},
            "detail": text | {"examples": ["There is no such user."]},
            "request_id": {"type": ["string", "null"]},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["where", "why"],
                    "properties": {"where": {"type": "array", "items": text}, "why": text},
                },
            },
        },
    }
