"""Sign-in, refresh, sign-out and accounts, end to end over two running services."""

from __future__ import annotations

import asyncio
import secrets as random
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from typer.testing import CliRunner

from dsdc.cli import keys as keys_cli
from dsdc.client import AsyncClient, RequestRefused, ServiceUnreachable
from dsdc.db.repositories.users import Audit
from dsdc.db.session import transaction
from dsdc.errors import Conflict, CorruptFile, Forbidden, InvalidCredentials, InvalidToken, NotFound
from dsdc.web.contract import Tokens
from tests.services.platforms import Platform

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 64


def until(refused: Callable[[], object], within_s: float = 60) -> None:
    """Wait until a call is refused as unauthenticated."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            refused()
        except InvalidToken:
            return
        time.sleep(0.2)
    raise AssertionError(f"still let in after {within_s} s")


def next_second() -> None:
    """Tokens say in whole seconds when they were issued; what ends is everything up to the second of the ending."""
    time.sleep(1.05 - time.time() % 1)


def test_a_token_from_auth_opens_predict(platform: Platform) -> None:
    with platform.signed_in("the-viewer") as client:
        me = client.me()
        assert (me.name, me.role, me.disabled) == ("the-viewer", "viewer", None)
        answer = client.predict(PNG, name="page.png", store=False)
    assert answer.label in {"letter", "invoice", "form"}
    assert platform.of_role("viewer").prediction(answer.prediction_id).document_id == answer.document_id


def test_the_async_client_does_the_same(platform: Platform) -> None:
    async def run() -> None:
        async with AsyncClient(platform.auth, platform.predict) as client:
            await client.sign_in("the-annotator", platform.passwords["the-annotator"])
            answers = await asyncio.gather(*(client.predict(PNG, name=f"{i}.png") for i in range(3)))
            assert len({a.prediction_id for a in answers}) == 3
            assert (await client.prediction(answers[0].prediction_id)).label == answers[0].label
            assert (await client.model()).version == 1
            with pytest.raises(NotFound):
                await client.prediction(uuid4())
            await client.refresh()
            await client.sign_out()
            with pytest.raises(InvalidToken, match="Nobody is signed in"):
                await client.me()

    asyncio.run(run())


def test_the_client_raises_what_the_service_raised(platform: Platform) -> None:
    client = platform.of_role("viewer")
    with pytest.raises(CorruptFile, match="save it again"):
        client.predict(PNG, name="broken.png")
    with pytest.raises(Forbidden, match="role viewer"):
        client.users()
    with pytest.raises(RequestRefused) as caught:
        client.similar("not-a-hash")
    assert caught.value.status == 422
    assert caught.value.request_id
    nobody = type(client)("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        nobody.sign_in("ada", "x")


def test_the_answer_to_a_sign_in_is_oauth2(platform: Platform) -> None:
    form = {"grant_type": "password", "username": "the-viewer", "password": platform.passwords["the-viewer"]}
    response = httpx.post(f"{platform.auth}/token", data=form)
    assert response.status_code == 200
    assert set(response.json()) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (response.json()["token_type"], response.json()["expires_in"]) == ("bearer", 900)
    assert response.headers["cache-control"] == "no-store"


def test_a_refresh_token_rotates_and_its_replay_ends_the_family_everywhere(platform: Platform) -> None:
    client = platform.signed_in(platform.user("viewer"))
    first = client.tokens
    second = client.refresh()
    assert first is not None
    assert second.refresh_token != first.refresh_token
    assert client.me().role == "viewer"
    thief = platform.connect()
    thief.resume(first)
    with pytest.raises(InvalidToken):
        thief.refresh()
    with pytest.raises(InvalidToken):
        client.refresh()
    with pytest.raises(InvalidToken):
        client.me()  # auth itself knows at once
    until(client.model)  # predict within seconds
    with platform.here(), transaction("owner") as session:
        assert Audit(session).entries(action="session.replay")


def test_signing_out_ends_this_session_and_no_other(platform: Platform) -> None:
    name = platform.user("viewer")
    here, there = platform.signed_in(name), platform.signed_in(name)
    tokens = here.tokens
    assert tokens is not None
    here.sign_out()
    assert here.tokens is None
    here.resume(tokens)
    with pytest.raises(InvalidToken):
        here.refresh()
    until(here.model)
    assert there.me().name == name
    assert there.model().version == 1


def test_a_disabled_user_is_shut_out(platform: Platform) -> None:
    name = platform.user("viewer")
    client, admin = platform.signed_in(name), platform.of_role("admin")
    user = client.me().id
    assert admin.disable_user(user).disabled is not None
    with pytest.raises(InvalidToken):
        client.me()
    with pytest.raises(InvalidToken):
        client.refresh()
    with pytest.raises(InvalidCredentials):
        platform.signed_in(name)
    until(client.model)
    admin.enable_user(user)
    next_second()
    assert platform.signed_in(name).me().disabled is None


def test_another_role_means_signing_in_anew(platform: Platform) -> None:
    name = platform.user("viewer")
    client = platform.signed_in(name)
    platform.of_role("admin").set_role(client.me().id, "annotator")
    with pytest.raises(InvalidToken):
        client.me()
    next_second()
    assert platform.signed_in(name).me().role == "annotator"


def test_a_user_changes_the_password(platform: Platform) -> None:
    name = platform.user("viewer")
    client, new = platform.signed_in(name), random.token_urlsafe(18)
    with pytest.raises(InvalidCredentials):
        client.change_password("not the password", new)
    with pytest.raises(RequestRefused, match="12"):
        client.change_password(platform.passwords[name], "short")
    client.change_password(platform.passwords[name], new)
    with pytest.raises(InvalidCredentials):
        platform.signed_in(name)
    platform.passwords[name] = new
    next_second()
    assert platform.signed_in(name).me().name == name


def test_an_admin_makes_accounts(platform: Platform) -> None:
    admin, password = platform.of_role("admin"), random.token_urlsafe(18)
    name = f"made-{uuid4().hex[:8]}"
    made = admin.create_user(name, password, "service")
    assert (made.name, made.role) == (name, "service")
    assert made.id in {user.id for user in admin.users()}
    with pytest.raises(Conflict):
        admin.create_user(name, password, "viewer")
    platform.passwords[name] = password
    assert platform.signed_in(name).me().id == made.id
    with pytest.raises(NotFound):
        admin.disable_user(UUID(int=1))
    with platform.here(), transaction("owner") as session:
        [entry] = [e for e in Audit(session).entries(action="user.create") if e.subject == str(made.id)]
    assert (entry.actor, str(entry.address)) == ("the-admin", "127.0.0.1")


def test_no_answer_holds_a_hash(platform: Platform) -> None:
    for path in ("/users", "/users/me", "/openapi.json"):
        text = httpx.get(platform.auth + path, headers=platform.bearer("admin")).text
        assert "argon2" not in text
        assert "password_hash" not in text


def test_the_public_keys_are_public_only(platform: Platform) -> None:
    keys = httpx.get(f"{platform.auth}/.well-known/jwks.json").json()["keys"]
    assert keys
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"} for key in keys)


def rotate(platform: Platform, *options: str) -> None:
    with platform.here():
        done = CliRunner().invoke(keys_cli.app, ["rotate", *options])
    assert done.exit_code == 0, done.output


def test_rotation_breaks_no_token_and_revocation_breaks_all(platform: Platform) -> None:
    name = platform.user("viewer")
    client = platform.signed_in(name)
    held = client.tokens
    kids = {key["kid"] for key in httpx.get(f"{platform.auth}/.well-known/jwks.json").json()["keys"]}
    rotate(platform)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        now = {key["kid"] for key in httpx.get(f"{platform.auth}/.well-known/jwks.json").json()["keys"]}
        if now > kids:
            break
        time.sleep(0.2)
    assert now > kids
    assert client.model().version == 1
    assert client.refresh() != held
    rotate(platform, "--revoke")
    until(client.me)
    until(client.model)
    until_accepted(platform.signed_in(name).model)
    platform.sign_out_all()


def until_accepted(call: Callable[[], object], within_s: float = 60) -> None:
    """Wait until predict knows a key that was made a moment ago and, after a revocation, signs at once."""
    end = time.monotonic() + within_s
    while True:
        try:
            call()
        except InvalidToken:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return


def test_tokens_of_a_real_sign_in_are_not_taken_for_each_other(platform: Platform) -> None:
    client = platform.signed_in("the-viewer")
    tokens = client.tokens
    assert tokens is not None
    swapped = Tokens(access_token=tokens.refresh_token, refresh_token=tokens.access_token, expires_in=tokens.expires_in)
    client.resume(swapped)
    for call in (client.me, client.model, client.refresh):
        with pytest.raises(InvalidToken):
            call()
