"""Runs last in its folder: what all the tests before it made the services write down holds nothing secret."""

from __future__ import annotations

import re

from sqlalchemy import text

from dsdc.db.session import transaction
from dsdc.settings import secrets
from tests.services.platforms import Platform


def test_no_log_holds_a_secret_a_token_or_a_password(platform: Platform) -> None:
    with platform.here():
        kept = [value.get_secret_value() for value in secrets().values.values()]
    hidden = kept + list(platform.passwords.values())
    logs = {path.name: path.read_text() for path in (platform.root / "logs").glob("*.log")}
    assert {"auth.log", "predict.log"} <= set(logs)
    assert sum(len(log) for log in logs.values()) > 1000
    for name, log in logs.items():
        assert [value for value in hidden if value in log] == [], name
        assert re.findall(r"eyJ[A-Za-z0-9_-]{10,}\.", log) == [], name
        assert re.findall(r"dsdc_[0-9a-f]{12}_[0-9a-f]", log) == [], name  # an API key
        assert "argon2id" not in log, name
        assert "hunter2" not in log, name


def test_no_service_failed_inside(platform: Platform) -> None:
    """No probe of this folder made a service fail in a way that nobody foresaw."""
    for path in (platform.root / "logs").glob("*.log"):
        log = path.read_text()
        assert "http.unexpected" not in log, log[log.index("http.unexpected") - 4000 :][:8000]
        assert "Traceback" not in re.sub(r'.*"event": "http.failed".*', "", log), path.name


def test_the_audit_log_holds_no_secret_either(platform: Platform) -> None:
    with platform.here(), transaction("owner") as session:
        rows = " ".join(str(row) for row in session.execute(text("SELECT audit_log::text FROM audit_log")))
    assert "session.begin" in rows
    assert [value for value in platform.passwords.values() if value in rows] == []
    assert re.findall(r"dsdc_[0-9a-f]{12}_[0-9a-f]|eyJ[A-Za-z0-9_-]{10,}\\.", rows) == []
    assert "DROP TABLE" not in rows  # names that nobody has are not written down
