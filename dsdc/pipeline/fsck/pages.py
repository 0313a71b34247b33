"""Page images' rows against their bytes; what is missing or changed is rendered again, if that gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from dsdc.db.repositories.consistency import Consistency, Hole
from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.pages import ProcessedImages
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, DocumentError, DsdcError
from dsdc.log import get_logger
from dsdc.pipeline.fsck.places import Places
from dsdc.pipeline.fsck.report import Kind
from dsdc.pipeline.stages.render import store_page
from dsdc.processors.contract import EncodedPage, Renderer

log = get_logger(__name__)


@dataclass
class _Broken:
    """Page images that are not as their rows say, by SHA-256, and those that came back."""

    faults: dict[str, tuple[str, Kind, str]] = field(default_factory=dict)  # SHA-256 -> key, kind, detail
    restored: set[str] = field(default_factory=set)


class PageCheck:
    def __init__(self, places: Places, renderer: Renderer) -> None:
        self._places = places
        self._renderer = renderer
        self._broken = _Broken()

    def image(self, sha256: str, key: str) -> None:
        """The page image is there and whole."""
        self._places.report.images += 1
        fault = self._places.fault(key, sha256)
        if fault is not None:
            self._broken.faults[sha256] = (key, *fault)

    def finish(self) -> None:
        """Mend what can be mended, document by document, and report; then look for pages without a row."""
        if self._places.repair:
            self._mend()
        for sha256, (key, kind, detail) in sorted(self._broken.faults.items()):
            repaired = sha256 in self._broken.restored
            advice = "" if repaired or not self._places.repair else " It does not come out of its document again."
            self._places.report.found(kind, key, detail + advice, repaired=repaired)
        self._holes()

    def _mend(self) -> None:
        for sha256 in sorted(self._broken.faults):
            with transaction() as session:
                documents = Consistency(session).documents_showing(sha256)
            for document_id in documents:
                if sha256 not in self._broken.restored:
                    self._restore(document_id)

    def _restore(self, document_id: str) -> None:
        for page in self._rendered(document_id):
            sha256 = hashlib.sha256(page.data).hexdigest()
            if sha256 in self._broken.faults:
                self._places.storage.put_bytes("processed", page.data)
                self._broken.restored.add(sha256)

    def _rendered(self, document_id: str) -> Iterator[EncodedPage]:
        """The document's good pages, as far as they can be had."""
        with transaction() as session:
            document = Documents(session).get(document_id)
        if document is None:
            return
        try:
            with self._places.storage.local(document.file_path) as path:
                for page in self._renderer.pages(path, document.media_type):
                    if isinstance(page, EncodedPage):
                        yield page
        except (BytesMissing, DocumentError) as error:
            log.warning("fsck.cannot_render", document=document_id, error=str(error))

    def _holes(self) -> None:
        with transaction() as session:
            found = [
                hole
                for block in Consistency(session).blocks_of_attempts()
                for hole in Consistency(session).holes(block)
            ]
        for hole in found:
            repaired = self._places.repair and self._fill(hole)
            detail = f"{hole.pages} of {hole.expected} pages are there, by processor {hole.processor_id}."
            self._places.report.found("hole", f"document {hole.document_id}", detail, repaired=repaired)

    def _fill(self, hole: Hole) -> bool:
        """Render all pages again and record those without a row; only the very processor that made the others may."""
        r = self._renderer
        with transaction() as session:
            known = Processors(session).find(r.stage, r.name, r.version, r.params_hash)
            if known is None or known.id != hole.processor_id:
                return False
        try:
            rows = [store_page(self._places.storage, page) for page in self._rendered(hole.document_id)]
        except DsdcError as error:
            log.warning("fsck.cannot_fill", document=hole.document_id, error=str(error))
            return False
        with transaction() as session:
            images, highest = ProcessedImages(session), max((row.page for row in rows), default=0)
            images.add(hole.document_id, hole.processor_id, rows)
            if len(rows) == highest > 0:
                Documents(session).set_page_count(hole.document_id, highest)
            return len(rows) == highest == images.count(hole.document_id, hole.processor_id)
