"""Who may call what. Every route states its policy, and a route without one cannot be made.

The policy is enforced before anything of the body is read. It stands in OpenAPI as `x-roles`, from which a test
generates the whole matrix of roles and routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.users import ROLES, Outcome, Role
from dsdc.errors import Forbidden, InvalidToken, SetupError
from dsdc.web.accounts import record
from dsdc.web.api_keys import MARK
from dsdc.web.metrics import require_metrics_token
from dsdc.web.middleware import bound
from dsdc.web.origin import origin_of
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
    """Turns a request's token into its caller. `confirm` may check further, against the accounts for example.

    `audited` names what goes into the audit log: "POST /v1/model/reload" -> "model.reload". Only what changes no row
    of its own needs that; the others write their line in the transaction that it tells of.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        confirm: Callable[[Claims], Awaitable[None]] | None = None,
        *,
        audited: Mapping[str, str] | None = None,
    ) -> None:
        self.verifier = verifier
        self._confirm = confirm
        self._audited = dict(audited or {})

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

    async def note(self, request: Request, path: str, outcome: Outcome) -> None:
        """Write an audited request of a known caller down."""
        action = self._audited.get(f"{request.method} {path}")
        if action is not None:
            caller: Caller | None = getattr(request.state, "principal", None)
            await run_in_threadpool(record, action, caller.name if caller else "unknown", outcome, origin_of(request))


def _bearer(request: Request) -> str:
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if token.startswith(MARK) or "x-api-key" in request.headers:
        raise InvalidToken(
            "An API key is exchanged for a token first.",
            hint="POST /token with grant_type=client_credentials and client_secret=<key>.",
        )
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
            guard: Guard = request.app.state.guard
            try:
                await guard.admit(request, roles)
                response = await handler(request)
            except InvalidToken:
                raise  # nobody knows who that was
            except Exception as error:
                await guard.note(request, self.path, "refused" if isinstance(error, Forbidden) else "failed")
                raise
            await guard.note(request, self.path, "ok" if response.status_code < 400 else "failed")
            return response

        return guarded


def _caller(request: Request) -> Caller:
    principal: Caller = request.state.principal
    return principal


CallerDep = Annotated[Caller, Depends(_caller)]
