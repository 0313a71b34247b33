"""HTML -> text as it reads. Nothing is loaded, nothing runs: libxml2 only parses."""

from __future__ import annotations

import re

from lxml import etree

from dsdc.errors import TooLarge

#: Elements whose text nobody sees.
_UNSEEN = frozenset({"head", "title", "style", "script", "noscript", "template", "svg", "object", "iframe", "select"})
_LINES = frozenset(
    {"div", "tr", "li", "dt", "dd", "section", "article", "header", "footer", "address", "center", "form"}
)
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote", "pre", "hr"})
_CELLS = frozenset({"td", "th"})
_HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
_BLANK = re.compile(r"\s+")


def html_text(html: str) -> str:
    """The text of a page: blocks begin lines, paragraphs are set off by an empty line, cells by two blanks.

    Raises:
        TooLarge: nested deeper than libxml2 goes (2,048 elements).
    """
    # huge_tree: pictures within the page make attributes of megabytes; a tree deeper than 256 is a long thread.
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True, remove_comments=True, remove_pis=True)
    root = etree.fromstring(html.replace("\x00", "").encode("utf-8", "replace"), parser)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):
        raise TooLarge("The HTML of the e-mail is nested too deeply.", hint="Print it to PDF and send that.")
    return "" if root is None else _Text(root).read()


class _Text:
    """Walks a tree and keeps what is seen."""

    def __init__(self, root: etree._Element) -> None:
        self._root = root
        self._parts: list[str] = []
        self._breaks = 2  # line breaks at the end of what is written; the beginning needs none
        self._preformatted = 0

    def read(self) -> str:
        walk = etree.iterwalk(self._root, events=("start", "end"))
        for event, element in walk:
            if event == "end":
                self._end(element)
            elif _is_seen(element):
                self._begin(element)
            else:
                walk.skip_subtree()
        return "\n".join(line.rstrip() for line in "".join(self._parts).split("\n")).strip("\n")

    def _begin(self, element: etree._Element) -> None:
        tag = element.tag
        self._break(tag)
        self._preformatted += tag == "pre"
        if tag == "br":
            self._write("\n")
        elif tag == "li":
            self._write("- ")
        elif tag == "img":
            self._say(f" {element.get('alt') or ''} ")
        self._say(element.text)

    def _end(self, element: etree._Element) -> None:
        tag = element.tag
        if _is_seen(element):
            self._preformatted -= tag == "pre"
            self._break(tag)
            if tag in _CELLS:
                self._write("  ")
        self._say(element.tail)

    def _break(self, tag: object) -> None:
        """Be at the beginning of a line, or of a paragraph, if the element asks for it."""
        wanted = 2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0
        if wanted > self._breaks:
            self._write("\n" * (wanted - self._breaks))

    def _say(self, text: str | None) -> None:
        if not text or self._preformatted:
            self._write(text or "")
            return
        text = _BLANK.sub(" ", text)
        self._write(text.lstrip(" ") if self._breaks or self._parts[-1].endswith(" ") else text)

    def _write(self, text: str) -> None:
        if text:
            self._parts.append(text)
            ends = len(text) - len(text.rstrip("\n"))
            self._breaks = ends + (self._breaks if ends == len(text) else 0)


def _is_seen(element: etree._Element) -> bool:
    if element.tag in _UNSEEN or "hidden" in element.attrib:
        return False
    return _HIDDEN.search(element.get("style", "")) is None
