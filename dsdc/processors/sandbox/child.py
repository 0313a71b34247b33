"""The child process: takes one request after the other, and parses.

Started as `python -m dsdc.processors.sandbox.child`; requests come by standard input, answers go to what was standard
output. It ends when its parent does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dsdc.errors import DsdcError, StorageError, TooLarge
from dsdc.processors.contract import DamagedPage, EncodedPage, PageSource
from dsdc.processors.sandbox import protocol
from dsdc.processors.sandbox.limits import allow_cpu, confine
from dsdc.processors.sandbox.wire import page_text_to_json
from dsdc.settings import Ocr, Parsing, Render

Answers = Iterator[protocol.Message]


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    start, _ = protocol.read(0)
    parsing = Parsing(**start["parsing"])
    confine(parsing)
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    work = _Work(parsing, Render(**start["render"]), Ocr(**start["ocr"]))
    if start["warm"]:
        work.warm_up()
    while True:
        request = requests.get()
        try:
            for header, data in work.answer(request):
                protocol.write(answers, header, data)
            protocol.write(answers, {"end": True})
        except BrokenPipeError:
            return
        except MemoryError:
            protocol.write(answers, protocol.describe(_needs_memory(parsing)))
            return  # what was allocated may be in pieces: a fresh process goes on
        except DsdcError as error:
            protocol.write(answers, protocol.describe(error))
        except OSError as error:
            protocol.write(answers, protocol.describe(StorageError(f"A parser could not read or write: {error}.")))
        except Exception as error:  # noqa: BLE001 - a bug of a parser, told to the parent, who tries again or gives up
            protocol.write(answers, {"error": "ParserDied", "message": _brief(error), "hint": None})


def _needs_memory(parsing: Parsing) -> TooLarge:
    return TooLarge(
        f"Reading it needs more memory than parsing.memory_mb ({parsing.memory_mb}).",
        hint="Send it at a lower resolution, or raise parsing.memory_mb in config.local.yaml.",
    )


def _brief(error: Exception) -> str:
    return f"The parser failed: {type(error).__name__}: {error}"


def _listen(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Read requests; when the parent is gone, whatever is being parsed is of no use to anybody."""
    while True:
        try:
            requests.put(protocol.read(0)[0])
        except EOFError:
            os._exit(0)


class _Work:
    def __init__(self, parsing: Parsing, render: Render, ocr: Ocr) -> None:
        self._parsing = parsing
        self._page_cpu_s = parsing.page_cpu_s
        self._read_cpu_s = parsing.page_cpu_s + ocr.timeout_s
        from dsdc.processors.mail import MailUnpacker
        from dsdc.processors.ocr import PageReader
        from dsdc.processors.render import PageRenderer

        self._renderer, self._reader, self._unpacker = PageRenderer(render), PageReader(ocr), MailUnpacker()
        self._kinds: dict[str, Callable[[dict[str, Any]], Answers]] = {
            "pages": self._pages,
            "page_count": self._page_count,
            "read": self._read,
            "attachments": self._attachments,
        }

    def warm_up(self) -> None:
        """Load what is loaded at the first use; what fails now fails again, and is told, when it is asked for."""
        with suppress(DsdcError, OSError):
            self._reader.warm_up()

    def answer(self, request: dict[str, Any]) -> Answers:
        """The answers to a request, which say nothing of its end."""
        allow_cpu(self._page_cpu_s)
        return self._kinds[request["kind"]](request)

    def _pages(self, request: dict[str, Any]) -> Answers:
        number = request["first"]
        try:
            for page in self._renderer.pages(Path(request["source"]), request["media_type"], first=number):
                number = page.page + 1
                yield _page_message(page)
                allow_cpu(self._page_cpu_s)
        except MemoryError:
            yield _page_message(DamagedPage(number, _needs_memory(self._parsing)))
            raise

    def _page_count(self, request: dict[str, Any]) -> Answers:
        yield {"pages": self._renderer.page_count(Path(request["source"]), request["media_type"])}, b""

    def _read(self, request: dict[str, Any]) -> Answers:
        allow_cpu(self._read_cpu_s)
        source = PageSource(Path(request["document"]), request["media_type"], request["page"], Path(request["image"]))
        yield page_text_to_json(self._reader.read_page(source)), b""

    def _attachments(self, request: dict[str, Any]) -> Answers:
        for attachment in self._unpacker.attachments(Path(request["source"]), request["media_type"]):
            yield {"name": attachment.name}, attachment.data
            allow_cpu(self._page_cpu_s)


def _page_message(page: EncodedPage | DamagedPage) -> protocol.Message:
    if isinstance(page, DamagedPage):
        return protocol.describe(page.error) | {"damaged": page.page}, b""
    size = {"page": page.page, "width": page.width, "height": page.height}
    return size | {"mode": page.mode, "dpi": page.dpi, "dhash": page.dhash}, page.data


if __name__ == "__main__":
    try:
        main()
    except (EOFError, BrokenPipeError):
        sys.exit(0)
