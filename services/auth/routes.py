"""The routes of `auth` for everybody: sessions, public keys, the caller's own account."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool

from dsdc.web import accounts
from dsdc.web.contract import Account, Ended, KeySet, Tokens
from dsdc.web.guard import CallerDep, GuardedRoute, anyone_signed_in, public
from dsdc.web.origin import Origin, origin_of
from dsdc.web.passwords import check_strength
from dsdc.web.trust import ENDED_PATH, JWKS_PATH
from services.auth import administration
from services.auth.parts import Parts
from services.auth.schemas import GRANTS, Grant, NewPassword, RefreshBody
from services.auth.sessions import Sessions


def routers(parts: Parts) -> list[APIRouter]:
    return [_session_routes(parts), _key_routes(parts), _own_routes(parts), *administration.routers(parts)]


def _session_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["sessions"])

    @routes.post(
        "/token",
        openapi_extra=public() | GRANTS,
        response_model_exclude_none=True,
        summary="Sign in with a password, or exchange an API key",
    )
    async def token(request: Request, grant: Annotated[Grant, Form()]) -> Tokens:
        return await _granted(parts.sessions, grant, origin_of(request))

    @routes.post("/token/refresh", openapi_extra=public(), summary="New tokens for a refresh token, once")
    async def refresh(request: Request, body: RefreshBody) -> Tokens:
        return await parts.sessions.refresh(body.refresh_token, origin_of(request))

    @routes.post("/logout", openapi_extra=anyone_signed_in(), status_code=204, summary="End this sign-in")
    async def logout(request: Request, caller: CallerDep) -> Response:
        await parts.sessions.sign_out(caller, origin_of(request))
        return Response(status_code=204)

    return routes


async def _granted(sessions: Sessions, grant: Grant, origin: Origin) -> Tokens:
    missing = grant.missing()
    if missing:
        where = [{"loc": ("body", name), "msg": "Field required", "type": "missing"} for name in missing]
        raise RequestValidationError(where)
    if grant.grant_type == "client_credentials":
        return await sessions.sign_in_with_key(str(grant.client_secret), origin)
    return await sessions.sign_in(str(grant.username), str(grant.password), origin)


def _key_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["keys"])

    @routes.get(JWKS_PATH, openapi_extra=public(), summary="The public keys (RFC 7517)")
    async def jwks() -> KeySet:
        return KeySet.model_validate(parts.ring.public())

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
