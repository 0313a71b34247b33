"""A PDF that was cut short has lost the table and the trailer at its end. Its whole objects are still there."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OBJECT = re.compile(rb"(?<!\d)(\d{1,9})\s{1,9}\d{1,5}\s{1,9}obj\b")
_END = b"endobj"
_PAGE = re.compile(rb"/Type\s{0,9}/Page(?![A-Za-z])")
_PAGES = re.compile(rb"/Type\s{0,9}/Pages(?![A-Za-z])")
_CATALOGUE = re.compile(rb"/Type\s{0,9}/Catalog(?![A-Za-z])")
_SECURITY = re.compile(rb"/Filter\s{0,9}/Standard(?![A-Za-z])")
#: Of an object; page dictionaries are far shorter.
_LONGEST = 1 << 16


def mended(data: bytes) -> bytes | None:
    """The document up to its last whole object, with a new trailer; None where no page is left, or it is encrypted.

    Where the catalogue or the page tree lay beyond the cut, all pages become one tree, in the order in which they
    stand in the file. After them comes a page that is not there, so that the result says that something is missing.
    """
    whole = data[: data.rfind(_END) + len(_END)] if _END in data else b""
    heads = dict(_heads(whole))
    if not any(_PAGE.search(head) for head in heads.values()) or any(map(_SECURITY.search, heads.values())):
        return None
    catalogue = next((number for number, head in heads.items() if _CATALOGUE.search(head)), None)
    if catalogue is not None and any(map(_PAGES.search, heads.values())):
        return whole + _trailer(max(heads), catalogue)
    return whole + _new_tree(heads)


def _heads(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and dictionary, without a stream, of each object; of one that is there twice, the later one counts."""
    for found in _OBJECT.finditer(data):
        body = data[found.end() : found.end() + _LONGEST]
        yield int(found[1]), body.partition(_END)[0].partition(b"stream")[0]


def _new_tree(heads: dict[int, bytes]) -> bytes:
    pages = [number for number, head in heads.items() if _PAGE.search(head)]
    catalogue, tree, missing = range(max(heads) + 1, max(heads) + 4)
    kids = b" ".join(b"%d 0 R" % number for number in (*pages, missing))
    objects = b"\n%d 0 obj\n<</Type/Catalog/Pages %d 0 R>>\nendobj" % (catalogue, tree)
    objects += b"\n%d 0 obj\n<</Type/Pages/Kids[%s]/Count %d>>\nendobj" % (tree, kids, len(pages) + 1)
    return objects + _trailer(missing, catalogue)


def _trailer(highest: int, catalogue: int) -> bytes:
    return b"\ntrailer\n<</Size %d/Root %d 0 R>>\n%%%%EOF\n" % (highest + 1, catalogue)
