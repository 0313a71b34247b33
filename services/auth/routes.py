"""The routes of `auth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from starlette.concurrency import run_in_threadpool

from dsdc.errors import InvalidToken
from dsdc.web import accounts
from dsdc.web.contract import Account, Ended, Tokens
from dsdc.web.guard import CallerDep, GuardedRoute, admins, anyone_signed_in, public
from dsdc.web.origin import origin_of
from dsdc.web.passwords import PasswordDesk, check_strength
from dsdc.web.tokens import Claims
from dsdc.web.trust import ENDED_PATH, JWKS_PATH
from services.auth.ring import KeyRing
from services.auth.schemas import NewPassword, NewRole, NewUser, RefreshBody
from services.auth.sessions import Sessions


@dataclass(frozen=True)
class Parts:
    """What the routes work with."""

    sessions: Sessions
    ring: KeyRing
    desk: PasswordDesk


async def confirm(claims: Claims) -> None:
    """Hold a token against the account as it is now; `auth` itself need not wait for any background refresh.

    Raises:
        InvalidToken: the account is disabled or has another role.
    """
    user = await run_in_threadpool(accounts.get, claims.subject)
    if user is None or user.disabled is not None or user.role != claims.role:
        raise InvalidToken("The session has ended; sign in again.")


def routers(parts: Parts) -> list[APIRouter]:
    return [_session_routes(parts), _key_routes(parts), _own_routes(parts), _admin_routes(parts)]


def _session_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["sessions"])

    @routes.post("/token", openapi_extra=public(), summary="Sign in")
    async def token(
        request: Request,
        username: Annotated[str, Form(max_length=1024)],
        password: Annotated[str, Form(max_length=4096, json_schema_extra={"format": "password"})],
        grant_type: Annotated[str, Form(pattern="^password$")] = "password",  # noqa: ARG001 - RFC 6749 has it
    ) -> Tokens:
        return await parts.sessions.sign_in(username, password, origin_of(request))

    @routes.post("/token/refresh", openapi_extra=public(), summary="New tokens for a refresh token, once")
    async def refresh(request: Request, body: RefreshBody) -> Tokens:
        return await parts.sessions.refresh(body.refresh_token, origin_of(request))

    @routes.post("/logout", openapi_extra=anyone_signed_in(), status_code=204, summary="End this sign-in")
    async def logout(request: Request, caller: CallerDep) -> Response:
        await parts.sessions.sign_out(caller, origin_of(request))
        return Response(status_code=204)

    return routes


def _key_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["keys"])

    @routes.get(JWKS_PATH, openapi_extra=public(), summary="The public keys (RFC 7517)")
    async def jwks() -> dict[str, Any]:
        return parts.ring.public()

    @routes.get(ENDED_PATH, openapi_extra=public(), summary="What ended before its time; other services ask this")
    async def ended() -> Ended:
        return Ended(**parts.ring.ended.as_dict())

    return routes


def _own_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["own account"])

    @routes.get("/users/me", openapi_extra=anyone_signed_in(), summary="The caller's account")
    async def me(caller: CallerDep) -> Account:
        return Account.model_validate(await run_in_threadpool(accounts.get, caller.id))

    @routes.put("/users/me/password", openapi_extra=anyone_signed_in(), status_code=204, summary="Another password")
    async def password(request: Request, caller: CallerDep, body: NewPassword) -> Response:
        origin, new = origin_of(request), body.new.get_secret_value()
        check_strength(new, name=caller.name)
        user = await parts.sessions.authenticate(caller.name, body.current.get_secret_value(), origin)
        async with parts.desk as desk:
            password_hash = await desk.hash(new)
        await run_in_threadpool(accounts.change_password, user.id, password_hash, actor=caller.name, origin=origin)
        await parts.ring.refresh_ended()
        return Response(status_code=204)

    return routes


def _admin_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["administration"], prefix="/users")

    @routes.get("", openapi_extra=admins(), summary="All accounts")
    async def everybody() -> list[Account]:
        return [Account.model_validate(user) for user in await run_in_threadpool(accounts.everybody)]

    @routes.post("", openapi_extra=admins(), status_code=201, summary="A new account")
    async def create(request: Request, caller: CallerDep, body: NewUser) -> Account:
        password = body.password.get_secret_value()
        check_strength(password, name=body.name)
        async with parts.desk as desk:
            password_hash = await desk.hash(password)
        user = await run_in_threadpool(
            accounts.create, body.name, password_hash, body.role, actor=caller.name, origin=origin_of(request)
        )
        return Account.model_validate(user)

    @routes.post("/{user_id}/disable", openapi_extra=admins(), summary="Shut an account out")
    async def disable(request: Request, caller: CallerDep, user_id: UUID) -> Account:
        user = await run_in_threadpool(accounts.disable, user_id, actor=caller.name, origin=origin_of(request))
        await parts.ring.refresh_ended()
        return Account.model_validate(user)

    @routes.post("/{user_id}/enable", openapi_extra=admins(), summary="Let it in again")
    async def enable(request: Request, caller: CallerDep, user_id: UUID) -> Account:
        user = await run_in_threadpool(accounts.enable, user_id, actor=caller.name, origin=origin_of(request))
        return Account.model_validate(user)

    @routes.put("/{user_id}/role", openapi_extra=admins(), summary="Another role; the user has to sign in anew")
    async def set_role(request: Request, caller: CallerDep, user_id: UUID, body: NewRole) -> Account:
        user = await run_in_threadpool(
            accounts.set_role, user_id, body.role, actor=caller.name, origin=origin_of(request)
        )
        await parts.ring.refresh_ended()
        return Account.model_validate(user)

    return routes
