"""Who may do what, their refresh tokens, and what they did."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Json, Now, Sha256, When


class User(Base):
    """A person, with the argon2id hash of a password; or a service account, which has API keys and no password."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'annotator', 'model-admin', 'admin', 'service')", name="role_known"),
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name="name_plain"),
        CheckConstraint("password_hash IS NOT NULL OR role <> 'admin'", name="admin_is_a_person"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    disabled: Mapped[When | None]
    created: Mapped[Now]
    password_changed: Mapped[Now]

    @property
    def kind(self) -> Literal["person", "service"]:
        return "person" if self.password_hash else "service"


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


class ApiKey(Base):
    """A key of a service account, by its hash; `prefix` is how it begins, by which people tell it from others."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_user_id", "user_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    prefix: Mapped[str] = mapped_column(Text, unique=True)
    key_sha256: Mapped[Sha256]
    note: Mapped[str] = mapped_column(Text)
    created: Mapped[Now]
    created_by: Mapped[str] = mapped_column(Text)
    expires: Mapped[When | None]
    last_used: Mapped[When | None]
    revoked: Mapped[When | None]


class AuditLog(Base):
    """What somebody did that matters: sign-ins, users, keys, promotions, erasures. Append-only."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_at", "at"),
        # What is part of a document's life.
        Index("ix_audit_log_of_documents", "subject", postgresql_where=text("action LIKE 'document.%'")),
    )

    id: Mapped[BigId]
    at: Mapped[Now]
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(INET)
    details: Mapped[Json]
