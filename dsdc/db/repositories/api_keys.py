"""API keys of service accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dsdc.db.repositories.users import Users
from dsdc.db.session import clock
from dsdc.db.tables import ApiKey, User
from dsdc.errors import Conflict, NotFound


class ApiKeys:
    """Keys by the SHA-256 of the whole of them: the table alone opens nothing. A revoked key keeps its row."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self, user_id: UUID, *, prefix: str, key_sha256: str, note: str, created_by: str, expires: datetime | None
    ) -> ApiKey:
        """A new key of a service account.

        Raises:
            NotFound: there is no such account.
            Conflict: it is a person's.
        """
        user = self._owner(user_id)
        if user.kind != "service":
            raise Conflict(f"{user.name} is a person and signs in with a password.", hint="Make a service account.")
        key = ApiKey(
            id=uuid4(),
            user_id=user_id,
            prefix=prefix,
            key_sha256=key_sha256,
            note=note,
            created_by=created_by,
            expires=expires,
        )
        self._session.add(key)
        self._session.flush()
        return key

    def of_user(self, user_id: UUID) -> Sequence[ApiKey]:
        """All keys that an account ever had, the newest first; raises NotFound."""
        self._owner(user_id)
        query = select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.created.desc(), ApiKey.id)
        return self._session.scalars(query).all()

    def with_prefix(self, prefix: str) -> ApiKey | None:
        return self._session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))

    def get(self, key_id: UUID) -> ApiKey | None:
        return self._session.get(ApiKey, key_id)

    def use(self, key: ApiKey) -> bool:
        """Note that a key was presented; False where it has been revoked, or has expired by the database's clock."""
        query = select(ApiKey).where(ApiKey.id == key.id).with_for_update().execution_options(populate_existing=True)
        row, now = self._session.execute(query).scalar_one(), clock(self._session)
        if row.revoked is not None or (row.expires is not None and row.expires <= now):
            return False
        row.last_used = now
        return True

    def revoke(self, user_id: UUID, key_id: UUID) -> ApiKey:
        """End a key; one that was ended before stays so. Raises NotFound."""
        key = self._session.get(ApiKey, key_id, with_for_update=True)
        if key is None or key.user_id != user_id:
            raise NotFound("There is no such API key.")
        key.revoked = key.revoked or clock(self._session)
        return key

    def revoked_within(self, last: timedelta) -> set[UUID]:
        """Keys that were revoked not longer ago than that, by the database's clock."""
        return set(self._session.scalars(select(ApiKey.id).where(ApiKey.revoked >= func.clock_timestamp() - last)))

    def _owner(self, user_id: UUID) -> User:
        user = Users(self._session).get(user_id)
        if user is None:
            raise NotFound("There is no such user.")
        return user
