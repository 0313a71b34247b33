"""Service accounts end to end: a key is made, exchanged, used and ended over two running services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from dsdc.cli import users as users_cli
from dsdc.client import AsyncClient, Client, RequestRefused
from dsdc.db.repositories.users import ROLES
from dsdc.errors import Conflict, Forbidden, InvalidCredentials, InvalidToken, NotFound
from dsdc.web import api_keys
from dsdc.web.contract import Account, NewApiKey
from dsdc.web.origin import LOCAL
from tests.services.platforms import Platform

PNG = b"\x89PNG\r\n\x1a\n"


def made(platform: Platform, role: str = "service") -> tuple[Account, NewApiKey]:
    """A service account and a key of it, made by an admin over HTTP."""
    admin = platform.of_role("admin")
    account = admin.create_user(f"robot-{uuid4().hex[:8]}", None, role)
    return account, admin.create_key(account.id, note="of a test", expires_days=1)


def signed_in(platform: Platform, key: str) -> Client:
    client = platform.connect()
    client.sign_in_with_key(key)
    return client


def until_refused(call: Callable[[], object], within_s: float = 60) -> None:
    """Long before the token itself would be over."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            call()
        except InvalidToken:
            return
        time.sleep(0.2)
    raise AssertionError("still let in")


def exchange(platform: Platform, **form: str) -> httpx.Response:
    return httpx.post(f"{platform.auth}/token", data={"grant_type": "client_credentials"} | form, timeout=30)


def test_a_key_is_exchanged_and_predicts(platform: Platform) -> None:
    account, key = made(platform)
    client = signed_in(platform, key.key)
    answer = client.predict(PNG + b"robot", name="robot.png")
    assert client.prediction(answer.prediction_id).label == answer.label
    assert (client.me().name, client.me().kind, client.me().role) == (account.name, "service", "service")
    assert client.tokens is not None
    assert client.tokens.refresh_token is None
    [listed] = platform.of_role("admin").keys(account.id)
    assert listed.last_used is not None
    assert (listed.note, listed.created_by) == ("of a test", "the-admin")


def test_the_answer_to_an_exchange_is_oauth2(platform: Platform) -> None:
    _, key = made(platform)
    answer = exchange(platform, client_secret=key.key, client_id="anything")
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    assert answer.headers["cache-control"] == "no-store"


def test_a_key_is_shown_once(platform: Platform) -> None:
    account, key = made(platform)
    admin = platform.bearer("admin")
    secret = key.key.rpartition("_")[2]
    for path in (f"/users/{account.id}/api-keys", "/users", "/audit?limit=500"):
        answer = httpx.get(platform.auth + path, headers=admin)
        assert answer.status_code == 200
        assert key.prefix in answer.text or path == "/users"
        assert secret not in answer.text
        assert api_keys.fingerprint(key.key) not in answer.text


@pytest.mark.parametrize("role", [role for role in ROLES if role != "admin"])
def test_a_service_account_has_its_roles_policy(platform: Platform, role: str) -> None:
    _, key = made(platform, role)
    client = signed_in(platform, key.key)
    assert client.model().version == 1
    with pytest.raises(Forbidden):
        client.users()
    if role == "model-admin":
        assert client.reload_model().version == 1
    else:
        with pytest.raises(Forbidden):
            client.reload_model()


def test_the_key_itself_opens_nothing_else(platform: Platform) -> None:
    _, key = made(platform)
    for headers in (
        {"Authorization": f"Bearer {key.key}"},
        {"X-API-Key": key.key},
        {"Authorization": f"Key {key.key}"},
    ):
        for url in (f"{platform.predict}/v1/model", f"{platform.auth}/users/me"):
            answer = httpx.get(url, headers=headers)
            assert answer.status_code == 401
            assert "grant_type=client_credentials" in answer.json()["detail"]
            assert key.key not in answer.text
    for form in ({"username": "admin", "password": key.key}, {"username": key.key, "password": key.key}):
        assert httpx.post(f"{platform.auth}/token", data=form, timeout=30).status_code == 401


def test_a_revoked_key_ends_with_its_tokens_everywhere(platform: Platform) -> None:
    account, key = made(platform)
    admin = platform.of_role("admin")
    other = admin.create_key(account.id, note="the next one")
    client, follower = signed_in(platform, key.key), signed_in(platform, other.key)
    assert admin.revoke_key(account.id, key.id).revoked is not None
    with pytest.raises(InvalidToken):
        client.me()  # auth itself knows at once
    until_refused(client.model)
    with pytest.raises(InvalidCredentials):
        client.refresh()
    assert follower.me().name == account.name  # another key of the account goes on
    assert follower.model().version == 1


def test_an_access_token_does_not_outlive_its_key(platform: Platform) -> None:
    account, _ = made(platform)
    with platform.here():
        soon = datetime.now(UTC) + timedelta(seconds=60)
        _, key = api_keys.create(account.id, note="", expires=soon, actor="test", origin=LOCAL)
        past = datetime.now(UTC) - timedelta(seconds=1)
        _, old = api_keys.create(account.id, note="", expires=past, actor="test", origin=LOCAL)
    assert 0 < exchange(platform, client_secret=key).json()["expires_in"] <= 60
    assert exchange(platform, client_secret=old).status_code == 401


def test_a_disabled_service_account_is_shut_out(platform: Platform) -> None:
    account, key = made(platform)
    client = signed_in(platform, key.key)
    platform.of_role("admin").disable_user(account.id)
    with pytest.raises(InvalidToken):
        client.me()
    until_refused(client.model)
    with pytest.raises(InvalidCredentials):
        client.sign_in_with_key(key.key)


def test_a_client_renews_with_its_key_and_signs_out_alone(platform: Platform) -> None:
    _, key = made(platform)
    client = signed_in(platform, key.key)
    first = client.tokens
    assert client.refresh() != first
    client.sign_out()
    assert client.tokens is None
    assert signed_in(platform, key.key).model().version == 1
    token = exchange(platform, client_secret=key.key).json()["access_token"]
    refused = httpx.post(f"{platform.auth}/logout", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 409

    async def run() -> str:
        async with AsyncClient(platform.auth, platform.predict) as waiting:
            await waiting.sign_in_with_key(key.key)
            return (await waiting.me()).name

    assert asyncio.run(run()).startswith("robot-")


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 422),
        ({"client_secret": ""}, 422),
        ({"client_secret": "x"}, 401),
        ({"client_secret": "dsdc_" + "0" * 12 + "_" + "0" * 64}, 401),
        ({"client_secret": "x" * 5000}, 422),
        ({"client_secret": "\x00"}, 401),
        ({"client_secret": "' OR 1=1 --"}, 401),
        ({"username": "the-admin", "password": "x"}, 422),
        ({"grant_type": "refresh_token", "client_secret": "x"}, 422),
        ({"grant_type": "password", "client_secret": "x"}, 422),
    ],
    ids=str,
)
def test_bad_exchanges(platform: Platform, form: dict[str, str], status: int) -> None:
    answer = exchange(platform, **form)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_an_admin_is_told(platform: Platform) -> None:
    admin = platform.of_role("admin")
    account, key = made(platform)
    with pytest.raises(Conflict, match="is a person"):
        admin.create_key(admin.me().id)
    with pytest.raises(NotFound):
        admin.keys(uuid4())
    with pytest.raises(NotFound):
        admin.revoke_key(admin.me().id, key.id)
    with pytest.raises(RequestRefused, match="cannot be admin"):
        admin.create_user(f"robot-{uuid4().hex[:8]}", None, "admin")
    with pytest.raises(Conflict, match="only people"):
        admin.set_role(account.id, "admin")
    with pytest.raises(InvalidCredentials):
        platform.connect().sign_in(account.name, "several unrelated words")


def test_a_key_of_the_command_line_works(platform: Platform) -> None:
    name = f"robot-{uuid4().hex[:8]}"
    with platform.here():
        assert CliRunner().invoke(users_cli.app, ["add", name, "--service"]).exit_code == 0
        added = CliRunner().invoke(users_cli.app, ["api-keys", "add", name])
    key = added.stdout.strip()
    client = signed_in(platform, key)
    assert client.me().name == name
    with platform.here():
        assert CliRunner().invoke(users_cli.app, ["api-keys", "revoke", key[:17]]).exit_code == 0
    with pytest.raises(InvalidCredentials):
        client.sign_in_with_key(key)
    until_refused(client.me)
    until_refused(client.model)
