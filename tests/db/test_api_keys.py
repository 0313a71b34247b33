"""Service accounts and their keys on real PostgreSQL, and by the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner, Result

from dsdc.cli import users as users_cli
from dsdc.db.repositories.api_keys import ApiKeys
from dsdc.db.repositories.users import Audit, Users
from dsdc.db.session import dispose_engines, transaction
from dsdc.db.setup import alembic_config
from dsdc.errors import Conflict, InvalidCredentials, NotFound
from dsdc.settings import Settings
from dsdc.web import accounts, api_keys
from dsdc.web.origin import LOCAL, Origin
from dsdc.web.passwords import verify


def service(name: str = "scanner", role: str = "service") -> UUID:
    return accounts.create(name, None, role, actor="test", origin=LOCAL).id


def key_for(user: UUID, expires: datetime | None = None) -> str:
    return api_keys.create(user, note="n", expires=expires, actor="test", origin=LOCAL)[1]


def users(*args: str) -> Result:
    return CliRunner().invoke(users_cli.app, list(args), catch_exceptions=False)


def test_a_key_opens_its_own_account_and_notes_when(database: Settings) -> None:
    user = service()
    key = key_for(user)
    opened, row = api_keys.redeem(key, LOCAL)
    assert (opened.id, opened.kind, row.user_id) == (user, "service", user)
    [listed] = api_keys.of_user(user)
    assert listed.last_used is not None
    assert key.startswith(f"{listed.prefix}_")


def test_the_store_holds_no_key(database: Settings) -> None:
    key = key_for(service())
    secret = key.rpartition("_")[2]
    with transaction("owner") as session:
        tables = [
            row[0] for row in session.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        ]
        held = [str(list(session.execute(text(f'SELECT t::text FROM "{table}" t')))) for table in tables]
    assert [table for table, rows in zip(tables, held, strict=True) if secret in rows] == []
    assert any(api_keys.fingerprint(key) in rows for rows in held)


def test_two_keys_share_nothing(database: Settings) -> None:
    user = service()
    keys = [key_for(user) for _ in range(20)]
    assert len({key.partition("_")[2][:12] for key in keys}) == len({key.rpartition("_")[2] for key in keys}) == 20
    assert {len(key.rpartition("_")[2]) for key in keys} == {64}  # 256 bits in hexadecimal


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper(),
        lambda key: key + "0",
        lambda key: key + "\n",
        lambda key: key.replace("dsdc_", "", 1),
        lambda key: key.rpartition("_")[0],
        lambda key: "",
        lambda key: "dsdc_" + "0" * 12 + "_" + "0" * 64,
        lambda key: key[:-1] + "٣",  # a digit, but not one of ours
        lambda key: "\x00",
    ],
)
def test_anything_else_is_refused_alike(database: Settings, spoil) -> None:
    key = key_for(service())
    with pytest.raises(InvalidCredentials) as refused:
        api_keys.redeem(spoil(key), LOCAL)
    with pytest.raises(InvalidCredentials) as unknown:
        api_keys.redeem("dsdc_" + "1" * 12 + "_" + "0" * 64, LOCAL)
    assert str(refused.value) == str(unknown.value)


def test_expired_revoked_and_disabled(database: Settings) -> None:
    now = datetime.now(UTC)
    expired, revoked, shut = key_for(service("a"), now - timedelta(seconds=1)), key_for(service("b")), service("c")
    later = key_for(service("d"), now + timedelta(days=1))
    key = api_keys.with_prefix(str(api_keys.prefix_of(revoked)))
    assert key is not None
    first = api_keys.revoke(key.user_id, key.id, actor="test", origin=LOCAL).revoked
    assert api_keys.revoke(key.user_id, key.id, actor="test", origin=LOCAL).revoked == first
    shut_key = key_for(shut)
    accounts.disable(shut, actor="test", origin=LOCAL)
    for bad in (expired, revoked, shut_key):
        with pytest.raises(InvalidCredentials):
            api_keys.redeem(bad, LOCAL)
    assert api_keys.redeem(later, LOCAL)[0].name == "d"
    with transaction() as session:
        assert ApiKeys(session).revoked_within(timedelta(minutes=1)) == {key.id}


def test_keys_belong_to_service_accounts_and_passwords_to_people(database: Settings) -> None:
    person = accounts.create("ada", "hash", "viewer", actor="test", origin=LOCAL)
    with pytest.raises(Conflict, match="ada is a person"):
        key_for(person.id)
    scanner = service()
    with pytest.raises(Conflict, match="has no password"):
        accounts.change_password(scanner, "hash", actor="test", origin=LOCAL)
    with pytest.raises(NotFound):
        key_for(uuid4())
    with pytest.raises(NotFound):
        api_keys.of_user(uuid4())
    other = api_keys.with_prefix(str(api_keys.prefix_of(key_for(scanner))))
    assert other is not None
    with pytest.raises(NotFound):
        api_keys.revoke(person.id, other.id, actor="test", origin=LOCAL)  # a key of another account


def test_a_service_account_is_never_admin(database: Settings) -> None:
    with pytest.raises(accounts.Unacceptable, match="cannot be admin"):
        service("root", "admin")
    scanner = service()
    with pytest.raises(Conflict, match="only people"):
        accounts.set_role(scanner, "admin", actor="test", origin=LOCAL)
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(text("UPDATE users SET role = 'admin' WHERE name = 'scanner'"))


def test_every_use_is_in_the_audit_log_without_the_key(database: Settings) -> None:
    user, origin = service(), Origin("192.0.2.7", "request-1")
    key = key_for(user)
    api_keys.redeem(key, origin)
    for bad in (key[:-4] + "zzzz", key[:-4] + ("0000" if key[-4:] != "0000" else "1111"), "hunter2"):
        with pytest.raises(InvalidCredentials):
            api_keys.redeem(bad, origin)
    with transaction() as session:
        entries = Audit(session).entries(action="session.begin")
        created = Audit(session).entries(action="api-key.create")
    assert [(e.actor, e.outcome) for e in entries] == [
        ("unknown", "refused"),
        ("scanner", "refused"),
        ("unknown", "refused"),
        ("scanner", "ok"),
    ]
    assert str(entries[0].address) == "192.0.2.7"
    assert entries[3].details == {"key": api_keys.prefix_of(key)}
    assert created[0].details["key"] == api_keys.prefix_of(key)
    assert key.rpartition("_")[2] not in str([e.details for e in [*entries, *created]])


def test_the_command_line_makes_shows_and_ends_keys(database: Settings) -> None:
    made = users("add", "scanner", "--service")
    assert "scanner is service now" in made.stdout
    key = users("api-keys", "add", "scanner", "--note", "post room", "--expires-days", "30").stdout.strip()
    assert api_keys.redeem(key, LOCAL)[0].name == "scanner"
    listed = users("api-keys", "list", "scanner").stdout
    assert "post room" in listed
    assert "active until" in listed
    assert key not in listed
    assert key not in users("list").stdout
    assert "is revoked" in users("api-keys", "revoke", key).stdout  # the whole key, as people paste it
    assert "revoked" in users("api-keys", "list", "scanner").stdout
    with pytest.raises(InvalidCredentials):
        api_keys.redeem(key, LOCAL)
    with pytest.raises(NotFound, match="no API key dsdc_000000000000") as missing:
        users("api-keys", "revoke", "dsdc_000000000000_" + "a" * 64)
    assert "aaaa" not in str(missing.value)


def test_the_command_line_changes_a_role(database: Settings) -> None:
    users("add", "scanner", "--service", "--role", "viewer")
    assert "scanner is annotator now" in users("role", "scanner", "annotator").stdout
    with transaction() as session:
        assert [u.role for u in Users(session).all()] == ["annotator"]
        [entry] = Audit(session).entries(action="user.role")
    assert (entry.actor, entry.details["role"]) == ("cli", "annotator")


def test_going_back_leaves_service_accounts_shut_out(database: Settings) -> None:
    service()
    accounts.create("ada", "hash", "admin", actor="test", origin=LOCAL)
    dispose_engines()
    command.downgrade(alembic_config(), "0004")
    with transaction("owner") as session:
        rows = session.execute(text("SELECT name, password_hash, disabled IS NULL FROM users ORDER BY name")).all()
    assert [tuple(row) for row in rows] == [("ada", "hash", True), ("scanner", "!", False)]
    assert not verify("!", "!")
    command.upgrade(alembic_config(), "head")


def test_the_audit_log_is_read_page_by_page(database: Settings) -> None:
    with transaction() as session:
        for i in range(7):
            Audit(session).record("test.thing" if i % 2 else "test.other", actor=f"user-{i % 3}", subject="s")
    with transaction() as session:
        log = Audit(session)
        first = log.entries(limit=3)
        rest = log.entries(limit=10, before=first[-1].id)
        assert [e.id for e in [*first, *rest]] == sorted((e.id for e in [*first, *rest]), reverse=True)
        assert len(rest) == 4
        assert {e.actor for e in log.entries(action="test.thing", actor="user-1")} == {"user-1"}
        assert len(log.entries(action="test.thing", actor="user-1")) == 1
        assert log.entries(outcome="failed") == []
