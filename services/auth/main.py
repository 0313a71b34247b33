"""The application of `auth`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dsdc.db.session import use_role
from dsdc.settings import Settings
from dsdc.web.app import build_app
from dsdc.web.guard import Guard
from dsdc.web.health import database_check
from dsdc.web.keys import KeyFolder
from dsdc.web.metrics import HttpMetrics
from dsdc.web.passwords import PasswordDesk
from dsdc.web.tokens import TokenVerifier
from dsdc.web.trust import TrustKeeper
from services.auth.parts import Parts, confirm
from services.auth.ring import KeyRing
from services.auth.routes import routers
from services.auth.sessions import Sessions


def create_app(config: Settings) -> FastAPI:
    """`auth`, ready to be served; keys are read and made when it starts."""
    use_role("auth")
    verifier = TokenVerifier(config.auth)
    ring = KeyRing(config.auth, KeyFolder.of(config), verifier)
    keeper = TrustKeeper(verifier, ring.refresh)
    desk = PasswordDesk()
    parts = Parts(Sessions(config.auth, ring, verifier, desk), ring, desk)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await keeper.start()
        yield
        await keeper.stop()
        desk.close()

    return build_app(
        "DSDC auth",
        description="Signs people and services in: ES256 access tokens, rotating refresh tokens, accounts and roles.",
        routers=routers(parts),
        guard=Guard(verifier, confirm),
        metrics=HttpMetrics(),
        checks={"keys": keeper.check, "database": database_check("auth")},
        lifespan=lifespan,
    )
