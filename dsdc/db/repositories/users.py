"""Accounts, their refresh tokens, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from dsdc.db.session import clock
from dsdc.db.tables import AuditLog, RefreshToken, User
from dsdc.errors import Conflict, NotFound

Role = Literal["viewer", "annotator", "model-admin", "admin", "service"]
ROLES: tuple[Role, ...] = ("viewer", "annotator", "model-admin", "admin", "service")

#: How an audited action went.
Outcome = Literal["ok", "refused", "failed"]

#: Audited actions after which the access tokens that an account holds are no longer good.
ENDS_ACCESS = ("user.disable", "user.role", "user.password")


class Users:
    """Accounts. Names are never given to somebody else: an account is disabled, not deleted."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def named(self, name: str) -> User | None:
        return self._session.scalar(select(User).where(User.name == name))

    def get(self, user_id: UUID) -> User | None:
        return self._session.get(User, user_id)

    def all(self) -> Sequence[User]:
        """Every account, by name."""
        return self._session.scalars(select(User).order_by(User.name)).all()

    def add(self, name: str, *, password_hash: str | None, role: str) -> User:
        """A new account; without a password it is a service account's.

        Raises:
            Conflict: the name is taken.
        """
        row = postgresql.insert(User).values(id=uuid4(), name=name, password_hash=password_hash, role=role)
        new = self._session.scalar(row.on_conflict_do_nothing(index_elements=["name"]).returning(User))
        if new is None:
            raise Conflict(f"There is a user {name} already.", hint="Choose another name; names are not given twice.")
        return new

    def set_password_hash(self, user_id: UUID, password_hash: str) -> None:
        """Replace the hash by another of the *same* password, made with other parameters."""
        self._session.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))

    def change_password(self, user_id: UUID, password_hash: str) -> User:
        """Give the account another password; everything signed in with the old one ends.

        Raises:
            NotFound: there is no such account.
            Conflict: it is a service account.
        """
        user = self._changing(user_id, leaves_admins=False)
        if user.kind == "service":
            raise Conflict(f"{user.name} is a service account, which has no password.", hint="Give it an API key.")
        user.password_hash, user.password_changed = password_hash, clock(self._session)
        RefreshTokens(self._session).revoke_user(user_id)
        return user

    def disable(self, user_id: UUID) -> User:
        """Shut an account out and end its sessions.

        Raises:
            NotFound: there is no such account.
            Conflict: it is the last admin.
        """
        user = self._changing(user_id, leaves_admins=True)
        if user.disabled is None:
            user.disabled = clock(self._session)
        RefreshTokens(self._session).revoke_user(user_id)
        return user

    def enable(self, user_id: UUID) -> User:
        user = self._changing(user_id, leaves_admins=False)
        user.disabled = None
        return user

    def set_role(self, user_id: UUID, role: str) -> User:
        """Change what an account may do; it has to sign in anew.

        Raises:
            NotFound: there is no such account.
            Conflict: it is the last admin, and would be none any more; or a service account, which cannot be admin.
        """
        user = self._changing(user_id, leaves_admins=role != "admin")
        if role == "admin" and user.kind == "service":
            raise Conflict(f"{user.name} is a service account: only people can be admin.")
        user.role = role
        RefreshTokens(self._session).revoke_user(user_id)
        return user

    def _changing(self, user_id: UUID, *, leaves_admins: bool) -> User:
        # All admins are locked, so that two that disable each other at once do not leave the platform without one.
        query = select(User).where((User.role == "admin") | (User.id == user_id)).order_by(User.id).with_for_update()
        rows = {user.id: user for user in self._session.scalars(query)}
        user = rows.get(user_id)
        if user is None:
            raise NotFound("There is no such user.")
        others = [u for u in rows.values() if u.role == "admin" and u.disabled is None and u.id != user_id]
        if leaves_admins and user.role == "admin" and user.disabled is None and not others:
            raise Conflict(f"{user.name} is the last admin.", hint="Make somebody else admin first.")
        return user


@dataclass(frozen=True)
class Redeemed:
    """What became of a presented refresh token; `user` only where it was good."""

    outcome: Literal["good", "unknown", "revoked", "replayed", "disabled"]
    user: User | None = None
    family: UUID | None = None


class RefreshTokens:
    """Refresh tokens by the SHA-256 of their `jti`: the table alone gives nobody a token."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def issue(self, jti_sha256: str, *, family: UUID, user_id: UUID, expires: datetime) -> None:
        values = {"jti_sha256": jti_sha256, "family": family, "user_id": user_id, "expires": expires}
        self._session.execute(insert(RefreshToken).values(**values))

    def redeem(self, jti_sha256: str) -> Redeemed:
        """Use a token up. One that was used before was stolen, or its successor was: the family ends.

        The row is locked, so of two that present one token at once exactly one is first.
        """
        query = select(RefreshToken).where(RefreshToken.jti_sha256 == jti_sha256).with_for_update()
        token = self._session.scalar(query)
        if token is None:
            return Redeemed("unknown")
        user = self._session.get(User, token.user_id)
        if token.revoked is not None or user is None:
            return Redeemed("revoked", user, token.family)
        if token.used is not None:
            self.revoke_family(token.family)
            return Redeemed("replayed", user, token.family)
        if user.disabled is not None:
            return Redeemed("disabled", user, token.family)
        token.used = clock(self._session)
        return Redeemed("good", user, token.family)

    def revoke_family(self, family: UUID) -> int:
        """End one sign-in; returns how many tokens that touched."""
        return self._revoke(RefreshToken.family == family)

    def revoke_user(self, user_id: UUID) -> int:
        """End all sign-ins of an account."""
        return self._revoke(RefreshToken.user_id == user_id)

    def is_revoked(self, family: UUID) -> bool:
        """Whether this sign-in was ended."""
        query = select(RefreshToken.family).where(RefreshToken.family == family, RefreshToken.revoked.is_not(None))
        return self._session.scalar(query.limit(1)) is not None

    def families_revoked_within(self, last: timedelta) -> set[UUID]:
        """Sign-ins that were ended not longer ago than that, by the database's clock."""
        query = select(RefreshToken.family).where(RefreshToken.revoked >= func.clock_timestamp() - last).distinct()
        return set(self._session.scalars(query))

    def _revoke(self, which: Any) -> int:
        rows = update(RefreshToken).where(which, RefreshToken.revoked.is_(None))
        done: Any = self._session.execute(rows.values(revoked=func.clock_timestamp()))
        return int(done.rowcount)


class Audit:
    """The audit log: who did what to whom, and how it went. Append-only; several roles may only append."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def record(
        self,
        action: str,
        *,
        actor: str,
        subject: str,
        outcome: Outcome = "ok",
        request_id: str | None = None,
        address: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        values = {
            "action": action,
            "actor": actor,
            "subject": subject,
            "outcome": outcome,
            "request_id": request_id,
            "address": address,
            "details": dict(details or {}),
        }
        # Inline: RETURNING the id would need SELECT, which those who only append do not have.
        self._session.execute(insert(AuditLog).values(**values).inline())

    def access_ended_within(self, last: timedelta) -> dict[str, datetime]:
        """Ids of accounts whose access was ended not longer ago than that, and when; by the database's clock."""
        query = (
            select(AuditLog.subject, func.max(AuditLog.at).label("at"))
            .where(AuditLog.at >= func.clock_timestamp() - last)
            .where(AuditLog.action.in_(ENDS_ACCESS), AuditLog.outcome == "ok")
            .group_by(AuditLog.subject)
        )
        return {row.subject: row.at for row in self._session.execute(query)}

    def entries(self, *, before: int | None = None, limit: int = 100, **wanted: str | None) -> Sequence[AuditLog]:
        """The newest entries first; `before` an id goes on where a page ended.

        `wanted` holds what `action`, `actor`, `subject` or `outcome` must be; None takes any.
        """
        query = select(AuditLog).order_by(AuditLog.id.desc()).limit(limit)
        for name, value in wanted.items():
            query = query if value is None else query.where(getattr(AuditLog, name) == value)
        return self._session.scalars(query if before is None else query.where(AuditLog.id < before)).all()
