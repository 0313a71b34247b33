"""The whole check, in the order in which a repair of one part helps the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dsdc.db.repositories.consistency import Consistency
from dsdc.db.session import transaction
from dsdc.log import get_logger
from dsdc.pipeline.fsck.derived import check_derived
from dsdc.pipeline.fsck.forgotten import check_forgotten
from dsdc.pipeline.fsck.pages import PageCheck
from dsdc.pipeline.fsck.places import Places, Progress
from dsdc.pipeline.fsck.report import FsckReport
from dsdc.pipeline.fsck.set_aside import SetAside
from dsdc.pipeline.fsck.stored import StoredCheck
from dsdc.processors.contract import Renderer
from dsdc.processors.registry import configured
from dsdc.settings import Settings
from dsdc.storage import AREAS, Storage

log = get_logger(__name__)
T = TypeVar("T")
BLOCK = 1000  # rows at a time


def fsck(
    config: Settings,
    storage: Storage,
    *,
    repair: bool = False,
    hashes: bool = True,
    renderer: Renderer | None = None,
    progress: Progress | None = None,
) -> FsckReport:
    """Compare every row with its bytes, every file with its row, and rows with each other.

    Args:
        repair: do what is safe. Bytes of documents are never thrown away: those that no row knows go into quarantine.
            Page images are made again where that gives the same bytes, and work that left no row is queued again.
            Documents that are missing or changed are only reported: the same file, brought again, puts them right.
        hashes: read every file and compare its hash; without it, only whether it is there.
        renderer: makes page images again; by default the configured one.
        progress: called with (rows compared, rows still to come).
    """
    places = Places(config, storage, FsckReport(), repair=repair, hashes=hashes)
    with transaction() as session:
        sizes = Consistency(session).sizes()
    step = _steps(sum(sizes), progress)
    check_forgotten(places)
    stored = StoredCheck(places)
    for document in _blocks(lambda s, after: s.documents(after, BLOCK), lambda d: d.id, ""):
        stored.document(document)
        step()
    pages = PageCheck(places, renderer or configured(config).renderer)
    for sha256, key in _blocks(lambda s, after: s.images(after, BLOCK), lambda i: i[0], ""):
        pages.image(sha256, key)
        step()
    pages.finish()
    aside = SetAside(places)
    for row in _blocks(lambda s, after: s.rejections(after, BLOCK), lambda r: r.id, 0):
        aside.row(row)
        step()
    aside.files()
    for area in AREAS:
        stored.orphans(area)
    stored.drafts()
    check_derived(places)
    report = places.report
    log.info("fsck.finished", **{key: value for key, value in report.as_dict().items() if key != "findings"})
    return report


def _steps(total: int, progress: Progress | None) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, max(total - done, 0))

    return step


K = TypeVar("K", str, int)


def _blocks(look: Callable[[Consistency, K], Sequence[T]], key: Callable[[T], K], first: K) -> Iterator[T]:
    """Rows in blocks by their key, each block in a transaction of its own: none is open for hours."""
    after = first
    while True:
        with transaction() as session:
            rows = look(Consistency(session), after)
        if not rows:
            return
        yield from rows
        after = key(rows[-1])
