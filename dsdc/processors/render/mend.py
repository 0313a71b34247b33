"""A PDF that was cut short has lost the table and the trailer at its end. Its whole objects are still there."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OBJECT = re.compile(rb"(?<!\d)(\d{1,9})\s{1,9}\d{1,5}\s{1,9}obj\b")
_END = b"endobj"
_KIND = re.compile(rb"/(?:Type|Filter)\s{0,9}/(Pages|Page|Catalog|Standard)(?![A-Za-z])")
#: Of an object; page dictionaries are far shorter.
_LONGEST = 1 << 16


def mended(data: bytes) -> bytes | None:
    """The document up to its last whole object, with a new trailer; None where no page is left, or it is encrypted.

    Where the catalogue or the page tree lay beyond the cut, all pages become one tree, in the order in which they
    stand in the file. After them comes a page that is not there, so that the result says that something is missing.
    """
    whole = data[: data.rfind(_END) + len(_END)] if _END in data else b""
    kinds = dict(_objects(whole))
    if b"Page" not in kinds.values() or b"Standard" in kinds.values():
        return None
    if b"Catalog" in kinds.values() and b"Pages" in kinds.values():
        return whole + _trailer(max(kinds), next(n for n, kind in kinds.items() if kind == b"Catalog"))
    return whole + _new_tree([n for n, kind in kinds.items() if kind == b"Page"], max(kinds))


def _objects(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Number and kind of each object in its order; of one that is there twice, the later one counts."""
    for found in _OBJECT.finditer(data):
        body = data[found.end() : found.end() + _LONGEST]
        kind = _KIND.search(body.partition(_END)[0].partition(b"stream")[0])
        yield int(found[1]), kind[1] if kind else None


def _new_tree(pages: list[int], highest: int) -> bytes:
    catalogue, tree, missing = range(highest + 1, highest + 4)
    kids = b" ".join(b"%d 0 R" % number for number in (*pages, missing))
    objects = b"\n%d 0 obj\n<</Type/Catalog/Pages %d 0 R>>\nendobj" % (catalogue, tree)
    objects += b"\n%d 0 obj\n<</Type/Pages/Kids[%s]/Count %d>>\nendobj" % (tree, kids, len(pages) + 1)
    return objects + _trailer(missing, catalogue)


def _trailer(highest: int, catalogue: int) -> bytes:
    return b"\ntrailer\n<</Size %d/Root %d 0 R>>\n%%%%EOF\n" % (highest + 1, catalogue)
