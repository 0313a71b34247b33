"""Pillow's many ways to say that a file is damaged -> `CorruptFile`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from dsdc.errors import CorruptFile, TooLarge

#: What Pillow's readers raise on hostile or damaged bytes. MemoryError is not among them: that is the machine's.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)
_HINT = "Check that it opens where it came from, and send it again."


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Within, anything that Pillow raises over the bytes becomes a `CorruptFile` about `what`.

    An OSError with an `errno` (no space, no permission) is the machine's fault and passes.
    """
    try:
        yield
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{what} has more pixels than can be decoded safely ({error}).") from error
    except UnidentifiedImageError as error:  # its message holds the file's path
        raise CorruptFile(
            f"{what} is damaged, or of a variant that nothing here reads.", hint="Save it as PNG or PDF and send that."
        ) from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptFile(f"{what} is damaged ({error}).", hint=_HINT) from error
