"""Accounts, refresh tokens and the audit log on real PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from dsdc.cli import keys as keys_cli
from dsdc.cli import users as users_cli
from dsdc.db.repositories.users import Audit, RefreshTokens, Users
from dsdc.db.session import transaction
from dsdc.errors import Conflict, NotFound, SettingsError
from dsdc.settings import Settings
from dsdc.web.keys import KeyFolder
from dsdc.web.passwords import WeakPassword, verify

SOON = datetime.now(UTC) + timedelta(days=1)
PASSWORD = "several unrelated words"


def account(name: str = "ada", role: str = "viewer") -> UUID:
    with transaction() as session:
        return Users(session).add(name, password_hash="hash", role=role).id


def issue(user: UUID, jti: str, family: UUID) -> None:
    with transaction() as session:
        RefreshTokens(session).issue(jti, family=family, user_id=user, expires=SOON)


def redeem(jti: str) -> str:
    with transaction() as session:
        return RefreshTokens(session).redeem(jti).outcome


def test_a_name_is_given_once(database: Settings) -> None:
    first = account("ada")
    with pytest.raises(Conflict, match="There is a user ada already"):
        account("ada", "admin")
    with transaction() as session:
        assert [(u.id, u.role) for u in Users(session).all()] == [(first, "viewer")]


@pytest.mark.parametrize("name", ["Ada", "-ada", "a b", "ada\n", "a" * 64, "", "ada';--", "ädä"])
def test_the_database_refuses_other_names(database: Settings, name: str) -> None:
    with pytest.raises(IntegrityError):
        account(name)


def test_the_database_refuses_other_roles(database: Settings) -> None:
    with pytest.raises(IntegrityError):
        account("ada", "root")


def test_a_refresh_token_is_good_once_and_its_replay_ends_the_family(database: Settings) -> None:
    user, family, other = account(), uuid4(), uuid4()
    for jti, of in (("a" * 64, family), ("b" * 64, family), ("c" * 64, other)):
        issue(user, jti, of)
    assert redeem("a" * 64) == "good"
    assert redeem("a" * 64) == "replayed"
    assert redeem("b" * 64) == "revoked"  # the successor, whoever holds it
    assert redeem("c" * 64) == "good"  # another sign-in of the same user
    assert redeem("d" * 64) == "unknown"


def test_of_two_at_once_one_is_first(database: Settings) -> None:
    issue(account(), "a" * 64, uuid4())
    start, outcomes = threading.Barrier(8), []

    def run() -> None:
        start.wait()
        outcomes.append(redeem("a" * 64))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("good") == 1
    assert outcomes.count("replayed") >= 1


def test_disabling_ends_sessions_and_says_so(database: Settings) -> None:
    user, family = account(), uuid4()
    issue(user, "a" * 64, family)
    with transaction() as session:
        disabled = Users(session).disable(user)
        assert disabled.disabled is not None
    assert redeem("a" * 64) == "revoked"
    with transaction() as session:
        assert RefreshTokens(session).families_revoked_within(timedelta(seconds=60)) == {family}
        assert RefreshTokens(session).is_revoked(family)
        assert RefreshTokens(session).families_revoked_within(timedelta(0)) == set()


def test_the_last_admin_stays(database: Settings) -> None:
    first = account("first", "admin")
    for change in (lambda u: u.disable(first), lambda u: u.set_role(first, "viewer")):
        with pytest.raises(Conflict, match="last admin"), transaction() as session:
            change(Users(session))
    second = account("second", "admin")
    with transaction() as session:
        Users(session).disable(first)
    with pytest.raises(Conflict), transaction() as session:
        Users(session).disable(second)
    with transaction() as session:
        Users(session).enable(first)
        Users(session).set_role(second, "viewer")


def test_two_admins_that_disable_each_other_leave_one(database: Settings) -> None:
    users = [account("first", "admin"), account("second", "admin")]
    start, refused = threading.Barrier(2), []

    def run(victim: UUID) -> None:
        start.wait()
        try:
            with transaction() as session:
                Users(session).disable(victim)
        except Conflict:
            refused.append(victim)

    threads = [threading.Thread(target=run, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1


def test_nobody_is_not_found(database: Settings) -> None:
    with pytest.raises(NotFound), transaction() as session:
        Users(session).disable(uuid4())


def test_the_audit_log_tells_whose_access_ended(database: Settings) -> None:
    user, other = account(), account("bob")
    with transaction() as session:
        log = Audit(session)
        log.record("user.disable", actor="cli", subject=str(user), address="127.0.0.1", request_id="r")
        log.record("user.disable", actor="cli", subject=str(other), outcome="refused")
        log.record("user.enable", actor="cli", subject=str(other))
    with transaction() as session:
        assert set(Audit(session).access_ended_within(timedelta(minutes=1))) == {str(user)}
        assert [e.action for e in Audit(session).entries(limit=2)] == ["user.enable", "user.disable"]


def run_users(*args: str, stdin: str | None = None) -> str:
    done = CliRunner().invoke(users_cli.app, list(args), input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_line_makes_accounts(database: Settings) -> None:
    assert "ada is admin now" in run_users("add", "ada", "--role", "admin", "--password-stdin", stdin=PASSWORD + "\n")
    with transaction() as session:
        user = Users(session).named("ada")
        assert user is not None
        assert verify(user.password_hash, PASSWORD)
        [entry] = Audit(session).entries(action="user.create")
        assert (entry.actor, entry.details) == ("cli", {"name": "ada", "role": "admin", "kind": "person"})
    assert "nothing to do" in run_users(
        "add", "ada", "--role", "admin", "--password-stdin", "--if-missing", stdin="x\n"
    )
    listed = run_users("list")
    assert "ada" in listed
    assert "argon2" not in listed


def test_the_command_line_disables_and_enables(database: Settings) -> None:
    run_users("add", "ada", "--password-stdin", stdin=PASSWORD + "\n")
    run_users("disable", "ada")
    assert "disabled" in run_users("list")
    run_users("enable", "ada")
    assert "active" in run_users("list")
    run_users("password", "ada", "--password-stdin", stdin="other unrelated words\n")
    with transaction() as session:
        user = Users(session).named("ada")
        assert user is not None
        assert verify(user.password_hash, "other unrelated words")


def test_the_command_line_says_what_is_wrong(database: Settings) -> None:
    with pytest.raises(WeakPassword, match="12 to 256"):
        run_users("add", "ada", "--password-stdin", stdin="short\n")
    with pytest.raises(NotFound, match="no user bob"):
        run_users("disable", "bob")
    with pytest.raises(Exception, match="no role 'root'"):
        run_users("add", "bob", "--role", "root", "--password-stdin", stdin=PASSWORD)
    with pytest.raises(Exception, match="cannot be a name"):
        run_users("add", "Bob Smith", "--password-stdin", stdin=PASSWORD)
    with pytest.raises(SettingsError, match="no terminal"):
        run_users("add", "bob")


def test_no_option_takes_a_password() -> None:
    help_text = CliRunner().invoke(users_cli.app, ["add", "--help"]).output
    assert "--password " not in help_text


def test_the_command_line_rotates_keys(database: Settings) -> None:
    old = KeyFolder.of(database).ensure()[0]
    done = CliRunner().invoke(keys_cli.app, ["rotate"], catch_exceptions=False)
    assert "signs in 30 s" in done.output
    new = KeyFolder.of(database).pairs()[-1]
    listed = CliRunner().invoke(keys_cli.app, ["list"], catch_exceptions=False).output
    assert old.kid in listed
    assert new.kid in listed
    done = CliRunner().invoke(keys_cli.app, ["rotate", "--revoke"], catch_exceptions=False)
    assert f"{old.kid} is retired" in done.output
    assert len(KeyFolder.of(database).pairs()) == 1
    with transaction() as session:
        assert len(Audit(session).entries(action="keys.rotate")) == 2
