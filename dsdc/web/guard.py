"""Who may call what. Every route states its policy, and a route without one cannot be made.

The policy is enforced before anything of the body is read. It stands in OpenAPI as `x-roles`, from which a test
generates the whole matrix of roles and routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from dsdc.db.repositories.users import ROLES, Role
from dsdc.errors import Forbidden, InvalidToken, SetupError
from dsdc.web.metrics import require_metrics_token
from dsdc.web.middleware import bound
from dsdc.web.tokens import Claims, TokenVerifier

Extra = dict[str, Any]

_PUBLIC = "public"
_METRICS = "metrics"
_BEARER = "bearer"
_METRICS_BEARER = "metricsBearer"

SECURITY_SCHEMES = {
    _BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    _METRICS_BEARER: {"type": "http", "scheme": "bearer", "description": "Prometheus' own token."},
}


def public() -> Extra:
    """Anybody, without a token."""
    return {"x-roles": [_PUBLIC], "security": []}


def metrics_only() -> Extra:
    """Whoever has the metrics token."""
    return {"x-roles": [_METRICS], "security": [{_METRICS_BEARER: []}]}


def _roles(*roles: Role) -> Extra:
    return {"x-roles": list(roles), "security": [{_BEARER: []}]}


def anyone_signed_in() -> Extra:
    return _roles(*ROLES)


def annotators() -> Extra:
    """People whose word about a document counts."""
    return _roles("annotator", "model-admin", "admin")


def model_admins() -> Extra:
    return _roles("model-admin", "admin")


def admins() -> Extra:
    return _roles("admin")


@dataclass(frozen=True)
class Caller:
    """Whose request this is."""

    id: UUID
    name: str
    role: Role
    session: UUID

    @property
    def sees_all(self) -> bool:
        """Whether other users' predictions are there for this caller too."""
        return self.role in ("annotator", "model-admin", "admin")


class Guard:
    """Turns a request's token into its caller. `confirm` may check further, against the accounts for example."""

    def __init__(self, verifier: TokenVerifier, confirm: Callable[[Claims], Awaitable[None]] | None = None) -> None:
        self.verifier = verifier
        self._confirm = confirm

    async def admit(self, request: Request, roles: list[str]) -> None:
        """Let the request in, or raise.

        Raises:
            InvalidToken: no token, or not a good one.
            Forbidden: the caller's role is not among `roles`.
        """
        if roles == [_PUBLIC]:
            return
        if roles == [_METRICS]:
            require_metrics_token(request)
            return
        claims = self.verifier.verify(_bearer(request), "access")
        if self._confirm is not None:
            await self._confirm(claims)
        request.state.caller = claims.name
        request.state.principal = Caller(claims.subject, claims.name, claims.role, claims.session)
        bound(user=claims.name)
        if claims.role not in roles:
            raise Forbidden(f"The role {claims.role} may not do this; it takes one of: {', '.join(roles)}.")


def _bearer(request: Request) -> str:
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken("A token is needed.", hint="Sign in at POST /token and send Authorization: Bearer <token>.")
    return token


class GuardedRoute(APIRoute):
    """A route that admits by its policy before it reads the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        roles = (self.openapi_extra or {}).get("x-roles")
        if not roles:
            raise SetupError(f"The route {self.path} has no policy.", hint="Give it openapi_extra=… of dsdc.web.guard.")

        async def guarded(request: Request) -> Response:
            await request.app.state.guard.admit(request, roles)
            return await handler(request)

        return guarded


def _caller(request: Request) -> Caller:
    principal: Caller = request.state.principal
    return principal


CallerDep = Annotated[Caller, Depends(_caller)]
