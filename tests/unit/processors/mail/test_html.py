from __future__ import annotations

import pytest

from dsdc.errors import TooLarge
from dsdc.processors.mail.html import html_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<div>one</div><div>two<br>three</div>", "one\ntwo\nthree"),
        ("<div><div><div>deep</div></div></div><div>next</div>", "deep\nnext"),
        ("in <b>one</b> <i>line</i>\n   of\ttext&nbsp;&euro;", "in one line of text €"),
        ("<table><tr><td>Item</td><td>Price</td></tr><tr><td>Pen</td><td>2</td></tr></table>", "Item  Price\nPen  2"),
        ("<ul><li>one</li><li>two</li></ul>after", "- one\n- two\n\nafter"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("before<img src='http://example.org/x.png' alt='a logo'>after", "before a logo after"),
        ("a<script>alert(1)</script>b<style>p {}</style>c<!-- d -->e", "abce"),
        ("<html><head><title>T</title></head><body>B</body></html>", "B"),
        ("<span style='display:none'>hidden</span>seen <i hidden>no</i>tail", "seen tail"),
        ("<p>unclosed <b>tags<p>everywhere", "unclosed tags\n\neverywhere"),
        ("&lt;b&gt; &amp;amp; &#x20AC;&#0;", "<b> &amp; €\ufffd"),
        ("<?xml version='1.0' encoding='utf-16'?><p>Grüße</p>", "Grüße"),
        ("", ""),
        ("<!-- never closed", ""),
        ("nul\x00byte", "nulbyte"),
    ],
)
def test_html_becomes_the_text_that_one_reads(html: str, text: str) -> None:
    assert html_text(html) == text


def test_long_threads_are_deep_and_are_read_to_the_end() -> None:
    assert html_text("<div><blockquote>" * 900 + "the first message").endswith("the first message")


def test_a_bomb_of_elements_is_refused() -> None:
    with pytest.raises(TooLarge, match="nested too deeply"):
        html_text("<div>" * 50_000 + "x")


def test_a_picture_of_megabytes_within_the_page_is_no_obstacle() -> None:
    assert html_text(f"<p>above</p><img src='data:image/png;base64,{'A' * 12_000_000}'><p>below") == "above\n\nbelow"
