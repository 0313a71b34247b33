"""The audit log over HTTP: what happens is in it, with who, from where and how it went."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from dsdc.cli import keys as keys_cli
from dsdc.errors import Forbidden, InvalidCredentials, InvalidToken
from dsdc.web.contract import AuditEntry
from tests.services.platforms import Platform


def entries(platform: Platform, **filters: str) -> list[AuditEntry]:
    return platform.of_role("admin").audit(limit=500, **filters).entries


def told(platform: Platform, **filters: str) -> list[tuple[str, str]]:
    """(action, outcome), oldest first."""
    return [(entry.action, entry.outcome) for entry in entries(platform, **filters)[::-1]]


def test_a_session_from_beginning_to_end(platform: Platform) -> None:
    name = platform.user("viewer")
    client = platform.signed_in(name)
    me = str(client.me().id)
    with pytest.raises(InvalidCredentials):
        platform.connect().sign_in(name, "wrong")
    client.sign_out()
    thief, other = platform.connect(), platform.signed_in(name)
    tokens = other.tokens
    assert tokens is not None
    other.refresh()
    thief.resume(tokens)
    with pytest.raises(InvalidToken):
        thief.refresh()
    assert told(platform, subject=me) == [
        ("user.create", "ok"),
        ("session.begin", "ok"),
        ("session.begin", "refused"),
        ("session.end", "ok"),
        ("session.begin", "ok"),
        ("session.replay", "refused"),
    ]
    assert {str(e.address) for e in entries(platform, subject=me)[:-1]} == {"127.0.0.1"}
    assert all(e.request_id for e in entries(platform, subject=me)[:-1])


def test_what_admins_do_to_accounts(platform: Platform) -> None:
    admin = platform.of_role("admin")
    account = admin.create_user(f"robot-{uuid4().hex[:8]}", None, "service")
    key = admin.create_key(account.id, note="scanner")
    platform.connect().sign_in_with_key(key.key)
    admin.set_role(account.id, "viewer")
    admin.disable_user(account.id)
    admin.enable_user(account.id)
    admin.revoke_key(account.id, key.id)
    with pytest.raises(InvalidCredentials):
        platform.connect().sign_in_with_key(key.key)
    assert told(platform, subject=str(account.id)) == [
        ("user.create", "ok"),
        ("api-key.create", "ok"),
        ("session.begin", "ok"),
        ("user.role", "ok"),
        ("user.disable", "ok"),
        ("user.enable", "ok"),
        ("api-key.revoke", "ok"),
        ("session.begin", "refused"),
    ]
    assert {e.actor for e in entries(platform, subject=str(account.id))} == {"the-admin", account.name}
    assert entries(platform, action="api-key.revoke")[0].details["key"] == key.prefix


def test_a_password_that_is_changed(platform: Platform) -> None:
    name = platform.user("viewer")
    client = platform.signed_in(name)
    me = str(client.me().id)
    client.change_password(platform.passwords[name], "several other words, 24 of them")
    platform.passwords[f"{name} later"] = "several other words, 24 of them"  # for the scan of the logs
    assert told(platform, subject=me)[-1] == ("user.password", "ok")


def test_signing_keys_that_rotate(platform: Platform) -> None:
    with platform.here():
        assert CliRunner().invoke(keys_cli.app, ["rotate"]).exit_code == 0
    newest = entries(platform, action="keys.rotate")[0]
    kids = {key["kid"] for key in httpx.get(f"{platform.auth}/.well-known/jwks.json").json()["keys"]}
    assert newest.actor == "cli"
    assert len(newest.subject) == len(next(iter(kids)))


def test_a_model_that_is_reloaded_and_who_might_not(platform: Platform) -> None:
    platform.of_role("model-admin").reload_model()
    with pytest.raises(Forbidden):
        platform.of_role("viewer").reload_model()
    refused, done = entries(platform, action="model.reload")[:2]
    assert (done.actor, done.outcome) == ("the-model-admin", "ok")
    assert (refused.actor, refused.outcome) == ("the-viewer", "refused")
    assert str(done.address) == "127.0.0.1"
    assert done.request_id


def test_the_log_is_read_in_pages(platform: Platform) -> None:
    for _ in range(3):
        with pytest.raises(Forbidden):
            platform.of_role("annotator").reload_model()
    admin = platform.of_role("admin")
    wanted = {"action": "model.reload", "actor": "the-annotator"}
    whole = admin.audit(limit=500, **wanted)
    assert whole.next is None
    pages, before = [], None
    while True:
        page = admin.audit(limit=1, before=before, **wanted)
        pages += page.entries
        before = page.next
        if before is None:
            break
    assert [e.id for e in pages] == [e.id for e in whole.entries]
    assert len(pages) >= 3


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "before=0", "before=x", "before=9223372036854775808", "outcome=x", "actor=%00"]
)
def test_bad_pages(platform: Platform, query: str) -> None:
    assert httpx.get(f"{platform.auth}/audit?{query}", headers=platform.bearer("admin")).status_code == 422


def test_the_log_is_for_admins(platform: Platform) -> None:
    for role in ("viewer", "annotator", "model-admin", "service"):
        with pytest.raises(Forbidden):
            platform.of_role(role).audit()
