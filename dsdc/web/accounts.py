"""Administration of accounts, by `auth` and by the CLI; each change has its line in the audit log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from dsdc.db.repositories.users import ROLES, Audit, Outcome, Users
from dsdc.db.session import transaction
from dsdc.db.tables import User
from dsdc.errors import DsdcError
from dsdc.web.origin import Origin

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}", re.ASCII)


class Unacceptable(DsdcError):
    """The account cannot be like that."""

    category = "account"


def _record(log: Audit, action: str, actor: str, user: User, origin: Origin, **details: Any) -> None:
    log.record(
        action,
        actor=actor,
        subject=str(user.id),
        request_id=origin.request_id,
        address=origin.address,
        details={"name": user.name, **details},
    )


def record(action: str, actor: str, outcome: Outcome, origin: Origin) -> None:
    """A line of the audit log about something that is no row: the service itself, its model."""
    with transaction() as session:
        Audit(session).record(
            action,
            actor=actor,
            subject="service",
            outcome=outcome,
            request_id=origin.request_id,
            address=origin.address,
        )


def everybody() -> Sequence[User]:
    with transaction("auth") as session:
        return Users(session).all()


def get(user_id: UUID) -> User | None:
    with transaction("auth") as session:
        return Users(session).get(user_id)


def named(name: str) -> User | None:
    if not NAME.fullmatch(name):
        return None
    with transaction("auth") as session:
        return Users(session).named(name)


def check_name(name: str) -> None:
    """Raises Unacceptable unless it can be the name of an account."""
    if not NAME.fullmatch(name):
        raise Unacceptable(
            f"{name[:80]!r} cannot be a name.", hint="Use small letters, digits and . _ @ -; at most 63."
        )


def check_role(role: str) -> None:
    """Raises Unacceptable unless there is such a role."""
    if role not in ROLES:
        raise Unacceptable(f"There is no role {role[:80]!r}.", hint=f"Roles: {', '.join(ROLES)}.")


def create(name: str, password_hash: str | None, role: str, *, actor: str, origin: Origin) -> User:
    """An account; without a password a service account, which signs in with API keys.

    Raises:
        Conflict: the name is taken.
        Unacceptable: a service account is to be admin: a key lies in files, and must not open everything.
    """
    if password_hash is None and role == "admin":
        raise Unacceptable("A service account cannot be admin.", hint="Give it the role that its work needs.")
    with transaction("auth") as session:
        user = Users(session).add(name, password_hash=password_hash, role=role)
        _record(Audit(session), "user.create", actor, user, origin, role=role, kind=user.kind)
        return user


def disable(user_id: UUID, *, actor: str, origin: Origin) -> User:
    """Raises NotFound, and Conflict for the last admin."""
    with transaction("auth") as session:
        user = Users(session).disable(user_id)
        _record(Audit(session), "user.disable", actor, user, origin)
        return user


def enable(user_id: UUID, *, actor: str, origin: Origin) -> User:
    with transaction("auth") as session:
        user = Users(session).enable(user_id)
        _record(Audit(session), "user.enable", actor, user, origin)
        return user


def set_role(user_id: UUID, role: str, *, actor: str, origin: Origin) -> User:
    """Raises NotFound, and Conflict for the last admin."""
    with transaction("auth") as session:
        user = Users(session).set_role(user_id, role)
        _record(Audit(session), "user.role", actor, user, origin, role=role)
        return user


def change_password(user_id: UUID, password_hash: str, *, actor: str, origin: Origin) -> None:
    """Everything signed in with the old password ends; raises NotFound."""
    with transaction("auth") as session:
        user = Users(session).change_password(user_id, password_hash)
        _record(Audit(session), "user.password", actor, user, origin)
