"""Small files, and drops of them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def picture(shade: int, side: int = 20) -> bytes:
    """A grey PNG; another shade, other bytes."""
    data = io.BytesIO()
    Image.new("L", (side, side), shade).save(data, "PNG")
    return data.getvalue()


def large_picture(shade: int, megabytes: int = 8) -> bytes:
    """A picture with so many bytes behind it."""
    return picture(shade) + bytes([shade]) * (megabytes << 20)


def arrive(inbox: Path, name: str, data: bytes) -> Path:
    """A file that arrives in one piece, by a rename."""
    target = inbox / name
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = inbox / ".arriving"
    draft.write_bytes(data)
    draft.replace(target)
    return target
