"""SHA-256 of weights files, with a cache so that asking for it again does not read hundreds of megabytes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from dsdc.log import get_logger

log = get_logger(__name__)


def sha256(file: Path) -> str:
    """Read the whole file. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cached_sha256(file: Path, cache: Path) -> str:
    """The hash, from `cache` where the file's path, size and modification time are the ones hashed before.

    A cache that cannot be read or written costs time and nothing else.
    """
    state = file.stat()
    key = f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    known = read_json(cache)
    if key not in known:
        known = {k: v for k, v in known.items() if not k.startswith(f"{file.resolve()}|")} | {key: sha256(file)}
        try:
            write_json(cache, known)
        except OSError as error:
            log.debug("embed.hash_cache_not_written", file=str(cache), reason=str(error))
    return known[key]


def read_json(file: Path) -> dict[str, str]:
    """A JSON object of strings; empty where the file is missing or is none."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(file: Path, content: dict[str, str]) -> None:
    """Write beside and rename, so that another process reads the old or the new. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    draft.replace(file)
