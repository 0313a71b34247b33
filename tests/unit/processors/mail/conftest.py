"""E-mails made for the tests, by the standard library and by hand."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from dsdc.processors.contract import Attachment
from dsdc.processors.mail import MailUnpacker
from dsdc.processors.media_type import EMAIL
from dsdc.processors.ocr.layer import Layers
from dsdc.processors.render import PageRenderer
from dsdc.settings import Render

HEAD = b"From: ann@example.org\r\nTo: bob@example.org\r\nSubject: Rent\r\nMIME-Version: 1.0\r\n"

Save = Callable[[bytes | EmailMessage], Path]


def letter(text: str = "Dear Bob,\n\nthe rent is due.\n", subject: str = "Rent") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann Example <ann@example.org>"
    message["To"] = "bob@example.org"
    message["Date"] = "Mon, 03 Mar 2025 10:00:00 +0100"
    message["Subject"] = subject
    message["Message-ID"] = "<1@example.org>"
    message.set_content(text)
    return message


def multipart(*parts: bytes, kind: bytes = b"mixed", head: bytes = HEAD) -> bytes:
    """A message of parts that bring their own headers."""
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts)
    return head + b"Content-Type: multipart/" + kind + b"; boundary=edge\r\n\r\n" + body + b"--edge--\r\n"


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a message; gives the path."""

    def write(message: bytes | EmailMessage) -> Path:
        path = tmp_path / "message.eml"
        path.write_bytes(message if isinstance(message, bytes) else bytes(message))
        return path

    return write


@pytest.fixture
def unpack(save: Save) -> Callable[[bytes | EmailMessage], list[Attachment]]:
    return lambda message: list(MailUnpacker().attachments(save(message), EMAIL))


@pytest.fixture
def texts(save: Save) -> Callable[[bytes | EmailMessage], list[str]]:
    """The text layer of each page, as the text stage gets it."""

    def read(message: bytes | EmailMessage) -> list[str]:
        source = save(message)
        found = []
        with Layers() as layers:
            for page in PageRenderer(Render()).draw(source, EMAIL):
                layer = layers.read(source, page.page, page.image.size, EMAIL)
                assert layer is not None
                assert layer.stripped == 0
                found.append(layer.text.replace("\r\n", "\n"))
        return found

    return read
