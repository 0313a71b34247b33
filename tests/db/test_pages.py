"""Fingerprints of first pages, and the migration that makes room for them."""

from __future__ import annotations

from alembic import command
from sqlalchemy import text

from dsdc.db.repositories.documents import Documents, NewDocument
from dsdc.db.repositories.pages import PageRow, ProcessedImages
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.db.setup import alembic_config
from dsdc.settings import Settings

LOWEST = -(2**63)


def page(number: int, dhash: int | None) -> PageRow:
    return PageRow(number, f"processed/{number}", "e" * 64, 1, 10, 20, "L", None, dhash)


def test_first_pages_by_the_renderer_that_made_them(database: Settings) -> None:
    documents = {name: name * 64 for name in "abc"}
    with transaction() as session:
        Documents(session).add([NewDocument(i, f"raw/{i}", "x.png", "image/png", 1) for i in documents.values()])
        old, new = (Processors(session).register("render", "r", version, "0" * 64, {}) for version in ("1", "2"))
        images = ProcessedImages(session)
        images.add(documents["a"], new, [page(1, LOWEST), page(2, 5)])
        images.add(documents["a"], old, [page(1, 7)])
        images.add(documents["b"], new, [page(2, 6)])  # its first page is damaged
        images.add(documents["c"], new, [page(1, None)])  # from before there were any
        assert images.first_page_hashes(list(documents.values()), new) == {documents["a"]: LOWEST}
        assert images.first_page_hashes([documents["b"]], old) == {}


def test_the_column_comes_and_goes(database: Settings) -> None:
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'processed_images'"
    with transaction() as session:
        before = session.execute(text(columns)).scalar_one()
    command.downgrade(alembic_config(), "0003")
    with transaction() as session:
        assert session.execute(text(columns)).scalar_one() == before - 1
    command.upgrade(alembic_config(), "head")
    command.check(alembic_config())
