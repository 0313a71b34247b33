"""The processors that meet untrusted bytes, each doing its work in a child process; name, version and params stay."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dsdc.errors import CrashesParsers, DocumentError, ParserDied, ParserKilled, StorageError, TookTooLong, TooLarge
from dsdc.processors.contract import Attachment, DamagedPage, EncodedPage, PageSource, PageText
from dsdc.processors.mail import MailUnpacker
from dsdc.processors.ocr import PageReader
from dsdc.processors.render import PageRenderer
from dsdc.processors.sandbox import protocol
from dsdc.processors.sandbox.parsers import Parsers
from dsdc.processors.sandbox.wire import page_text_from_json
from dsdc.settings import Ocr, Render

#: Pages of a document in a row that may cost a process each before the rest is given up.
MOST_LOST = 3


def crashes(page: int, error: ParserDied) -> CrashesParsers:
    """A page that has cost two processes: it is no accident any more."""
    return CrashesParsers(
        f"Page {page} cannot be read: {error.message}", hint="Print the document to a new, simpler PDF and send that."
    )


class _Losses:
    """Pages in a row that have cost a process each."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._crashed_at = 0

    def note(self, page: EncodedPage | DamagedPage) -> None:
        if isinstance(page, EncodedPage):
            self._in_a_row = 0

    def count(self, error: DocumentError) -> None:
        """One more; raises `error` where that is one too many."""
        self._in_a_row += 1
        if self._in_a_row == MOST_LOST:
            raise error

    def of(self, page: int, error: DocumentError) -> DamagedPage:
        """The page as damaged; raises as `count`."""
        self.count(error)
        return DamagedPage(page, error)

    def is_second_crash(self, page: int) -> bool:
        before, self._crashed_at = self._crashed_at, page
        return before == page


class SandboxedUnpacker(MailUnpacker):
    def __init__(self, parsers: Parsers) -> None:
        super().__init__()
        self._parsers = parsers

    def attachments(self, source: Path, media_type: str) -> Iterator[Attachment]:
        request = {"kind": "attachments", "source": str(source), "media_type": media_type}
        for header, data in self._parsers.ask(request):
            yield Attachment(header["name"], data)


class SandboxedRenderer(PageRenderer):
    def __init__(self, config: Render, parsers: Parsers) -> None:
        super().__init__(config)
        self._parsers = parsers

    def page_count(self, source: Path, media_type: str) -> int:
        request = {"kind": "page_count", "source": str(source), "media_type": media_type}
        return sum(int(header["pages"]) for header, _ in self._parsers.ask(request))

    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
        """As the contract says; a page that costs its process, by time, memory or a crash, is damaged.

        The next one is tried in a fresh process. A crash counts when it happens twice over the same page.

        Raises:
            ParserKilled: from outside, which is no page's fault.
        """
        losses = _Losses()
        while True:
            reached = first
            try:
                for page in self._answers(source, media_type, first):
                    first = page.page + 1
                    losses.note(page)
                    yield page
            except TooLarge as error:
                if first == reached:
                    raise  # the document, not a page of it: that would have been told as damaged
                losses.count(error)
            except TookTooLong as error:
                yield losses.of(first, error)
                first += 1
            except ParserKilled:
                raise
            except ParserDied as error:
                if losses.is_second_crash(first):
                    yield losses.of(first, crashes(first, error))
                    first += 1
            else:
                return

    def _answers(self, source: Path, media_type: str, first: int) -> Iterator[EncodedPage | DamagedPage]:
        request = {"kind": "pages", "source": str(source), "media_type": media_type, "first": first}
        for header, data in self._parsers.ask(request):
            if "damaged" in header:
                yield DamagedPage(header["damaged"], _documents_fault(header))
            else:
                size = header["width"], header["height"]
                yield EncodedPage(header["page"], data, *size, header["mode"], header["dpi"], header["dhash"])


def _documents_fault(header: dict[str, object]) -> DocumentError:
    error = protocol.revive(header)
    return error if isinstance(error, DocumentError) else DocumentError(error.message, hint=error.hint)


class SandboxedReader(PageReader):
    """Reads as many pages at once as there may be children."""

    def __init__(self, config: Ocr, parsers: Parsers) -> None:
        super().__init__(config)
        self._parsers = parsers

    def read_page(self, page: PageSource) -> PageText:
        request = {
            "kind": "read",
            "document": str(page.document),
            "media_type": page.media_type,
            "page": page.page,
            "image": str(page.image),
        }
        answers = list(self._parsers.ask(request, patience_s=self._config.timeout_s))
        return page_text_from_json(answers[0][0])

    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        """Results in the order of `pages`, a few read ahead of whoever takes them."""
        at_once = self._parsers.at_once
        waiting: deque[Future[PageText | Exception]] = deque()
        with ThreadPoolExecutor(at_once, thread_name_prefix="read") as pool:
            try:
                for page in pages:
                    waiting.append(pool.submit(self._outcome, page))
                    if len(waiting) > 2 * at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _outcome(self, page: PageSource) -> PageText | Exception:
        try:
            return self.read_page(page)
        except (DocumentError, StorageError, ParserDied) as error:
            return error
