"""Who may do what, their refresh tokens, and what they did."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Json, Now, Sha256, When


class User(Base):
    """An account; the password as an argon2id hash."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'annotator', 'model-admin', 'admin', 'service')", name="role_known"),
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name="name_plain"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    disabled: Mapped[When | None]
    created: Mapped[Now]
    password_changed: Mapped[Now]


class RefreshToken(Base):
    """One refresh token by the hash of its `jti`; tokens that rotated from one sign-in share a family."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_family", "family"),)

    jti_sha256: Mapped[Sha256] = mapped_column(primary_key=True)
    family: Mapped[UUID]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    issued: Mapped[Now]
    expires: Mapped[When]
    used: Mapped[When | None]
    revoked: Mapped[When | None]


class AuditLog(Base):
    """What somebody did that matters: sign-ins, users, keys, promotions, erasures. Append-only."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_at", "at"),)

    id: Mapped[BigId]
    at: Mapped[Now]
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(INET)
    details: Mapped[Json]
