"""The nearest-neighbour indexes of one embedder's vectors: one of images, one of texts."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

# Whoever writes vectors waits behind a build that waits, under a statement_timeout of 120 s.
_LOCK_TIMEOUT = "60s"
# As the platform's own servers have it: enough for the graph of some 90,000 vectors of 512 numbers.
_MEMORY_MB = 256


class VectorIndex:
    def __init__(self, session: Session, processor_id: int) -> None:
        self._session = session
        self._processor = {"processor": processor_id}

    def exists(self) -> bool:
        """Whether both are there. To ask `ensure_embedding_index` instead would lock the table."""
        query = text(
            "SELECT to_regclass('ix_embeddings_hnsw_image_' || :processor) IS NOT NULL"
            " AND to_regclass('ix_embeddings_hnsw_text_' || :processor) IS NOT NULL"
        )
        return bool(self._session.scalar(query, self._processor))

    def vectors(self) -> int:
        """How many vectors the embedder has made."""
        query = text("SELECT count(*) FROM embeddings WHERE processor_id = :processor")
        return int(self._session.execute(query, self._processor).scalar_one())

    def build(self, width: int) -> bool:
        """Build what is missing; False where somebody else is building it.

        Until the transaction ends, nobody writes vectors, of whatever model: a moment while there are few of this one,
        about a minute for each 50,000.
        """
        lock = text("SELECT pg_try_advisory_xact_lock(hashtext('dsdc.embedding_index'), :processor)")
        if not self._session.scalar(lock, self._processor):
            return False
        # However long it takes: what is cancelled would be begun, and cancelled, again and again.
        self._session.execute(text("SET LOCAL statement_timeout = 0"))
        self._session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        self._make_room()
        self._session.execute(
            text("SELECT ensure_embedding_index(:processor, :width)"), self._processor | {"width": width}
        )
        return True

    def _make_room(self) -> None:
        """Memory for the graph where the server gives less; beyond it the build is several times slower.

        Without parallel workers, for they would share it in /dev/shm, of which a container has 64 MB.
        """
        query = text(
            "SELECT set_config('maintenance_work_mem', :mb || 'MB', true),"
            " set_config('max_parallel_maintenance_workers', '0', true)"
            " FROM pg_settings WHERE name = 'maintenance_work_mem' AND CAST(setting AS bigint) < 1024 * :mb"
        )
        self._session.execute(query, {"mb": _MEMORY_MB})
