"""What is attached to an e-mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from dsdc.errors import UnsupportedType
from dsdc.processors import media_type as types
from dsdc.processors.contract import Attachment, Unpacker
from dsdc.processors.mail import contents, message


class MailUnpacker(Unpacker):
    """Attachments in the order of the message; which parts are any, `contents` says."""

    name: ClassVar[str] = "mail-unpacker"
    version: ClassVar[str] = "1"

    @property
    def params(self) -> Mapping[str, Any]:
        """The limits: a message over one of them gives nothing."""
        return {
            "max_bytes": message.MAX_BYTES,
            "max_parts": message.MAX_PARTS,
            "max_depth": message.MAX_DEPTH,
            "max_field": message.MAX_FIELD,
            "max_nested": contents.MAX_NESTED,
            "max_text_bytes": contents.MAX_TEXT_BYTES,
            "max_name": contents.MAX_NAME,
        }

    def attachments(self, source: Path, media_type: str) -> Iterator[Attachment]:
        """The files within an e-mail.

        Raises:
            CorruptFile: no message can be read from the file.
            TooLarge: one of the limits.
            UnsupportedType: not an e-mail.
        """
        if media_type != types.EMAIL:
            raise UnsupportedType(f"There is no unpacker for {media_type}.", hint="Only e-mails hold attachments.")
        return contents.attachments(message.read(source))
