"""A server that is too slow, or a process out of connections: the platform's fault, and told as such."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from dsdc.db.session import engine, ping, transaction
from dsdc.errors import DatabaseUnavailable
from dsdc.settings import Settings
from dsdc.web.errors import status_of
from tests.projects import forget_settings


def test_a_statement_that_takes_too_long_says_so(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_DATABASE_STATEMENT_TIMEOUT_S", "1")
    forget_settings()
    with (
        pytest.raises(DatabaseUnavailable, match=r"statement timeout.*statement_timeout_s") as raised,
        transaction() as s,
    ):
        s.execute(text("SELECT pg_sleep(30)"))
    assert status_of(raised.value) == 503


@pytest.mark.parametrize("state", ["53000", "53200", "53400", "58030"])
def test_what_the_server_lacks_is_no_fault_of_what_it_was_asked(database: Settings, state: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="there is none left"), transaction() as session:
        session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'there is none left' USING ERRCODE = '{state}'; END $$"))


def test_a_process_out_of_connections_says_so(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_DATABASE_POOL_SIZE", "1")
    forget_settings()
    monkeypatch.setattr(engine("pipeline").pool, "_timeout", 0.05)  # 30 s for people
    with transaction() as first, transaction() as overflow:
        first.execute(text("SELECT 1"))
        overflow.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match=r"in use.*database\.pool_size") as raised:
            ping()
    assert status_of(raised.value) == 503
    ping()
