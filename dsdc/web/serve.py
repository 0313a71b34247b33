"""Runs a service's application with uvicorn, on an address that is checked first."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dsdc.errors import DsdcError, PortTaken
from dsdc.log import configure, get_logger
from dsdc.settings import Settings, secrets, settings

log = get_logger(__name__)

MAX_HEAD = 64 * 1024  # of a request line and its headers together; uvicorn itself would take any number of bytes
MAX_FRAMING = 16  # bytes of chunk sizes and extensions for each byte of a body; the shortest chunk needs 6
HEADERS_S = 10.0  # a request's line and headers must be complete by then; uvicorn itself would wait for ever
LINGER_S = 5.0  # for the rest of a body whose answer is out already
BACKLOG = 256
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ImpatientProtocol(HttpToolsProtocol):
    """Closes connections whose request line and headers dribble in or have no end, or that send on after the answer."""

    _deadline: TimerHandle | None = None
    _receiving = False
    _in_head = True
    _body = 0  # bytes of this message's body
    _framing = 0  # bytes of this message around it: request line, headers, chunk sizes, trailers

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._set_deadline(HEADERS_S)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_HEAD):
            piece, body = data[start : start + MAX_HEAD], self._body
            super().data_received(piece)
            if self.transport.is_closing():
                return
            # A message that ends in the piece has set both counts to 0; its own bytes count for the next one then.
            self._framing += len(piece) - max(0, self._body - body)
            if self._framing > MAX_HEAD + MAX_FRAMING * self._body:
                self._refuse_head()
                return

    def _refuse_head(self) -> None:
        if self._in_head:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        else:
            self.transport.abort()  # trailers without an end: an answer may be on its way already

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving, self._in_head = True, True
        self._body = self._framing = 0
        self._set_deadline(HEADERS_S)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer is no header: who reads headers has read them
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._receiving = False
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._receiving:  # closing at once would reset the connection before the client reads the answer
            self._set_deadline(LINGER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """uvicorn as all services run it; they write their own access log."""
    return uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # anybody could name any address in them, and be throttled under that
        timeout_keep_alive=5,
        timeout_graceful_shutdown=30,
        backlog=BACKLOG,
    )


def listen(service: str, host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PortTaken: naming the setting that moves the service.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise
        hint = f"Stop it, or set {service}.port in config.local.yaml (DSDC_{service.upper()}_PORT)."
        raise PortTaken(f"Port {port}, which {service} needs, is taken.", hint=hint) from None
    return made


def run_service(service: str, build: Callable[[Settings], FastAPI], address: Callable[[Settings], Any]) -> None:
    """Serve until a signal ends it; exits 2 where the configuration has to be mended first.

    `address` gives the section of the settings that has `host` and `port`.
    """
    try:
        config = settings()
        configure(config.logging.level, config.logging.format, service=service)
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
        secrets()
        place = address(config)
        listening = listen(service, place.host, place.port)
        app = build(config)
    except DsdcError as error:
        log.critical("service.not_started", service=service, error=str(error))
        raise SystemExit(2) from None
    log.info("service.listening", host=place.host, port=place.port)
    uvicorn.Server(uvicorn_config(app)).run(sockets=[listening])
