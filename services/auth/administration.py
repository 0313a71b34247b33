"""The routes of `auth` for administrators: accounts, API keys, the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from dsdc.db.repositories.users import Audit
from dsdc.db.session import transaction
from dsdc.web import accounts, api_keys
from dsdc.web.contract import Account, ApiKey, AuditEntry, AuditPage, NewApiKey
from dsdc.web.guard import CallerDep, GuardedRoute, admins
from dsdc.web.origin import origin_of
from dsdc.web.passwords import check_strength
from services.auth.parts import Parts
from services.auth.schemas import AuditFilter, KeyOrder, NewRole, NewUser

UserId = Annotated[UUID, Path(description="`id` of an account", examples=["00000000-0000-4000-8000-000000000001"])]
KeyId = Annotated[UUID, Path(description="`id` of an API key", examples=["00000000-0000-4000-8000-000000000002"])]


def routers(parts: Parts) -> list[APIRouter]:
    return [_account_routes(parts), _change_routes(parts), _api_key_routes(parts), _audit_routes()]


def _account_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["administration"], prefix="/users")

    @routes.get("", openapi_extra=admins(), summary="All accounts")
    async def everybody() -> list[Account]:
        return [Account.model_validate(user) for user in await run_in_threadpool(accounts.everybody)]

    @routes.post("", openapi_extra=admins(), status_code=201, summary="A new account; without a password, a service's")
    async def create(request: Request, caller: CallerDep, body: NewUser) -> Account:
        password_hash = None
        if body.password is not None:
            check_strength(body.password.get_secret_value(), name=body.name)
            async with parts.desk as desk:
                password_hash = await desk.hash(body.password.get_secret_value())
        user = await run_in_threadpool(
            accounts.create, body.name, password_hash, body.role, actor=caller.name, origin=origin_of(request)
        )
        return Account.model_validate(user)

    return routes


def _change_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["administration"], prefix="/users/{user_id}")

    @routes.post("/disable", openapi_extra=admins(), summary="Shut an account out")
    async def disable(request: Request, caller: CallerDep, user_id: UserId) -> Account:
        user = await run_in_threadpool(accounts.disable, user_id, actor=caller.name, origin=origin_of(request))
        await parts.ring.refresh_ended()
        return Account.model_validate(user)

    @routes.post("/enable", openapi_extra=admins(), summary="Let it in again")
    async def enable(request: Request, caller: CallerDep, user_id: UserId) -> Account:
        user = await run_in_threadpool(accounts.enable, user_id, actor=caller.name, origin=origin_of(request))
        return Account.model_validate(user)

    @routes.put("/role", openapi_extra=admins(), summary="Another role; the user has to sign in anew")
    async def set_role(request: Request, caller: CallerDep, user_id: UserId, body: NewRole) -> Account:
        user = await run_in_threadpool(
            accounts.set_role, user_id, body.role, actor=caller.name, origin=origin_of(request)
        )
        await parts.ring.refresh_ended()
        return Account.model_validate(user)

    return routes


def _api_key_routes(parts: Parts) -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["API keys"], prefix="/users/{user_id}/api-keys")

    @routes.get("", openapi_extra=admins(), summary="All keys that a service account ever had")
    async def keys(user_id: UserId) -> list[ApiKey]:
        return [ApiKey.model_validate(key) for key in await run_in_threadpool(api_keys.of_user, user_id)]

    @routes.post("", openapi_extra=admins(), status_code=201, summary="A new key of a service account, shown this once")
    async def create(request: Request, caller: CallerDep, user_id: UserId, body: KeyOrder) -> NewApiKey:
        expires = datetime.now(UTC) + timedelta(days=body.expires_days) if body.expires_days else None
        row, key = await run_in_threadpool(
            api_keys.create, user_id, note=body.note, expires=expires, actor=caller.name, origin=origin_of(request)
        )
        return NewApiKey(**ApiKey.model_validate(row).model_dump(), key=key)

    @routes.post("/{key_id}/revoke", openapi_extra=admins(), summary="End a key, and within seconds its tokens")
    async def revoke(request: Request, caller: CallerDep, user_id: UserId, key_id: KeyId) -> ApiKey:
        key = await run_in_threadpool(api_keys.revoke, user_id, key_id, actor=caller.name, origin=origin_of(request))
        await parts.ring.refresh_ended()
        return ApiKey.model_validate(key)

    return routes


def _audit_routes() -> APIRouter:
    routes = APIRouter(route_class=GuardedRoute, tags=["audit log"])

    @routes.get("/audit", openapi_extra=admins(), summary="Who did what, the newest first")
    async def audit(wanted: Annotated[AuditFilter, Query()]) -> AuditPage:
        return await run_in_threadpool(_page, wanted)

    return routes


def _page(wanted: AuditFilter) -> AuditPage:
    filters = wanted.model_dump(exclude={"limit"})
    with transaction("auth") as session:
        rows = Audit(session).entries(limit=wanted.limit + 1, **filters)  # one more tells whether there is a next page
    entries = [AuditEntry.model_validate(row) for row in rows[: wanted.limit]]
    return AuditPage(entries=entries, next=entries[-1].id if len(rows) > wanted.limit else None)
