"""Which parts of a message are attachments, under which names, with which bytes."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsdc.errors import DocumentError, TooLarge, UnsupportedType
from dsdc.processors.mail import MailUnpacker, message
from dsdc.processors.mail.contents import MAX_NAME, MAX_NESTED, attachments
from dsdc.processors.mail.message import MAX_DEPTH, MAX_PARTS, parse
from dsdc.processors.media_type import EMAIL, detect
from tests.unit.processors.mail.conftest import HEAD, letter, multipart

PDF = b"%PDF-1.7\n\x00\xff\r\n binary \n"


def test_attachments_come_in_order_with_their_exact_bytes(unpack) -> None:
    message = letter()
    message.add_attachment(PDF, maintype="application", subtype="pdf", filename="invoice.pdf")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="scan.png")
    message.add_attachment(b"PK\x03\x04", maintype="application", subtype="octet-stream", filename="a.docx")
    found = unpack(message)
    assert [(a.name, a.data) for a in found] == [
        ("invoice.pdf", PDF),
        ("scan.png", b"\x89PNG"),
        ("a.docx", b"PK\x03\x04"),
    ]


def test_a_plain_message_has_none(unpack) -> None:
    assert unpack(letter()) == []


def test_a_message_that_is_nothing_but_a_file(unpack) -> None:
    (found,) = unpack(HEAD + b"Content-Type: application/pdf; name=fax.pdf\r\n\r\n%PDF-1.7 binary")
    assert (found.name, found.data) == ("fax.pdf", b"%PDF-1.7 binary")


def test_pictures_that_the_html_shows_are_part_of_the_body_and_others_are_not(unpack) -> None:
    message = letter()
    message.add_alternative('<p>Regards <img src="cid:logo%40x"><img src=CID:foot@x></p>', subtype="html")
    html = message.get_payload()[1]
    html.add_related(b"\x89PNG logo", "image", "png", cid="<logo@x>", filename="logo.png")
    html.add_related(b"\x89PNG foot", "image", "png", cid="<foot@x>", disposition="attachment", filename="f.png")
    html.add_related(b"\x89PNG scan", "image", "png", cid="<scan@x>", filename="scan.png")
    message.add_attachment(b"\x89PNG loose", maintype="image", subtype="png", filename="loose.png")
    assert [a.name for a in unpack(message)] == ["scan.png", "loose.png"]


def test_files_within_an_alternative_that_is_not_shown_are_attachments(unpack) -> None:
    rich = multipart(
        b"Content-Type: text/html\r\n\r\n<p>rich</p>",
        b"Content-Type: application/pdf; name=inside.pdf\r\n\r\n%PDF-1.7",
        head=b"",
    ).replace(b"edge", b"brim")
    found = unpack(multipart(b"\r\nplain", rich, kind=b"alternative"))
    assert [a.name for a in found] == ["inside.pdf"]


def test_signatures_are_envelope(unpack) -> None:
    signature = b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n\r\nMIIG'
    assert unpack(multipart(b"\r\nsigned text", signature, kind=b"signed")) == []


def test_a_text_is_an_attachment_only_where_it_is_marked_as_one(unpack) -> None:
    found = unpack(
        multipart(
            b"\r\nbody",
            b"Content-Disposition: attachment; filename=a.txt\r\n\r\nattached",
            b"Content-Type: text/csv; name=t.csv\r\n\r\n1,2",
            b"Content-Disposition: inline; filename=b.txt\r\n\r\nshown",
        )
    )
    assert [(a.name, a.data) for a in found] == [("a.txt", b"attached"), ("t.csv", b"1,2")]


class TestMessagesWithin:
    def test_they_are_files_with_the_very_bytes(self, unpack) -> None:
        inner = bytes(letter("inner\n", subject="Grüße / 1")).replace(b"\n", b"\r\n") + b"odd  line\x00\r\nlast"
        found = unpack(multipart(b"\r\nsee below", b"Content-Type: message/rfc822\r\n\r\n" + inner))
        assert [(a.name, a.data) for a in found] == [("Grüße / 1.eml", inner)]
        assert detect(found[0].data) == EMAIL

    def test_what_is_attached_to_them_is_not_ours(self, unpack) -> None:
        inner = letter(subject="inner")
        inner.add_attachment(PDF, maintype="application", subtype="pdf", filename="deep.pdf")
        outer = letter()
        outer.add_attachment(inner)
        (found,) = unpack(outer)
        assert found.name == "inner.eml"
        assert [a.data for a in unpack(found.data)] == [PDF]

    def test_those_of_a_digest_need_no_type(self, unpack) -> None:
        found = unpack(multipart(b"\r\n" + HEAD + b"\r\none", b"\r\n" + HEAD + b"\r\ntwo", kind=b"digest"))
        assert [a.name for a in found] == ["Rent.eml", "Rent.eml"]
        assert found[1].data == HEAD + b"\r\ntwo"

    def test_a_few_levels_are_fine_and_a_chain_is_refused(self, unpack) -> None:
        assert len(unpack(_chain(MAX_NESTED))) == 1
        with pytest.raises(TooLarge, match="within e-mails") as caught:
            unpack(_chain(MAX_NESTED + 1))
        assert caught.value.hint
        with pytest.raises(TooLarge):
            unpack(_chain(20_000))


def _chain(links: int) -> bytes:
    return (HEAD + b"Content-Type: message/rfc822\r\n\r\n") * links + HEAD + b"\r\nat last"


class TestNames:
    @pytest.mark.parametrize(
        ("header", "name"),
        [
            (b"attachment; filename=plain.pdf", "plain.pdf"),
            (b'attachment; filename="../../etc/passwd"', "../../etc/passwd"),
            (b'attachment; filename="C:\\\\Users\\\\x.pdf"', "C:\\Users\\x.pdf"),
            (b"attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
            (b"attachment; filename*0*=utf-8''Gr%C3%BC; filename*1=sse.pdf", "Grüsse.pdf"),
            (b"attachment; filename*=utf-8''a%00b%0Ac.pdf", "a\x00b\nc.pdf"),
            (b'attachment; filename="=?utf-8?B?R3LDvMOfZS5wZGY=?="', "Grüße.pdf"),
            (b'attachment; filename="=?utf-8?Q?Gr=C3=BC?=\r\n =?utf-8?Q?=C3=9Fe.pdf?="', "Grüße.pdf"),
            ('attachment; filename="Grüße.pdf"'.encode(), "Grüße.pdf"),
            ('attachment; filename="Grüße.pdf"'.encode("windows-1252"), "Grüße.pdf"),
            (b"attachment; filename*=no-such-charset''x%E9.pdf", "xé.pdf"),
            (b"attachment; filename*=utf-7''+2AA-.pdf", "\ufffd.pdf"),
            (b'attachment; filename=""', "attachment-1.pdf"),
            (b"attachment", "attachment-1.pdf"),
            (b"attachment; filename*99999999999999999999=x; filename*=\x00", "attachment-1.pdf"),
        ],
    )
    def test_are_what_the_sender_called_it(self, unpack, header: bytes, name: str) -> None:
        part = b"Content-Type: application/pdf\r\nContent-Disposition: " + header + b"\r\n\r\n%PDF-1.7"
        (found,) = unpack(multipart(part))
        assert found.name == name

    def test_endless_ones_are_cut_in_the_middle(self, unpack) -> None:
        part = b"Content-Type: application/pdf; name=" + b"x" * 5000 + b".pdf\r\n\r\n%PDF"
        (found,) = unpack(multipart(part))
        assert len(found.name) == MAX_NAME
        assert found.name.endswith("xxx.pdf")


class TestBrokenEncodings:
    def test_base64_with_rubbish_in_it(self, unpack) -> None:
        part = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBE\r\n!!Ri0x\r\nLjc"
        (found,) = unpack(multipart(part))
        assert found.data == b"%PDF-1.7"

    def test_base64_that_is_none_is_left_as_it_was_sent(self, unpack) -> None:
        part = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nabcde"
        assert unpack(multipart(part))[0].data == b"abcde"

    def test_an_attachment_of_no_bytes(self, unpack) -> None:
        assert unpack(multipart(b"Content-Type: application/pdf\r\n\r\n"))[0].data == b""

    def test_uuencoded(self, unpack) -> None:
        part = b"Content-Type: image/png\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a\n#0V%T\n`\nend\n"
        assert unpack(multipart(part))[0].data == b"Cat"


class TestLimits:
    def test_a_thousand_parts(self, unpack) -> None:
        with pytest.raises(TooLarge, match=f"more than {MAX_PARTS} parts") as caught:
            unpack(multipart(*[b"\r\nx"] * 1000))
        assert caught.value.hint

    def test_just_as_many_as_allowed(self, unpack) -> None:
        parts = [b"Content-Type: application/pdf\r\n\r\n%PDF"] * (MAX_PARTS - 1)  # the whole is a part too
        assert len(unpack(multipart(*parts))) == MAX_PARTS - 1

    @pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5000])
    def test_multiparts_in_multiparts(self, unpack, depth: int) -> None:
        nested = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(depth)
        )
        with pytest.raises(TooLarge, match=f"more than {MAX_DEPTH} deep"):
            unpack(HEAD + nested + b"\r\nx")

    def test_a_message_of_too_many_bytes_is_not_even_read(self, unpack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(message, "MAX_BYTES", 1 << 20)
        with pytest.raises(TooLarge, match="1 MB"):
            unpack(HEAD + b"\r\n" + b"x" * (1 << 20))

    def test_are_among_the_parameters(self) -> None:
        assert MailUnpacker().params["max_parts"] == MAX_PARTS


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(UnsupportedType, match="image/png"):
        MailUnpacker().attachments(tmp_path / "a.png", "image/png")


def _sample() -> bytes:
    message = letter("Plain tëxt\n", subject="fïgures")
    message.add_alternative("<p>Hï <img src='cid:a'></p>", subtype="html")
    message.get_payload()[1].add_related(b"\x89PNG", "image", "png", cid="<a>")
    message.add_attachment(PDF * 9, maintype="application", subtype="pdf", filename="Grüße.pdf")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inner")
    message.add_attachment(inner)
    return bytes(message)


_SAMPLE = _sample()
_SNIPPETS = [
    *(b"\x00", b"\xff\xfe", b"=?utf-8?B?", b"?=", b"base64", b"\r", b"\n\n", b"--", b";", b'"', b"charset=utf-7"),
    *(b"filename*0*=", b"filename*=utf-8''%ff%00", b"multipart/mixed", b"message/rfc822", b"x-uuencode", b"boundary="),
    *(b"message/delivery-status", b"multipart/alternative", b"text/html", b"<td>", b"*99999999999=", b"\xed\xa0\x80"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(_SAMPLE)), st.integers(0, 40), st.sampled_from(_SNIPPETS) | st.binary(max_size=8)),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_is_broken_the_message_is_read_or_refused(edits: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(_SAMPLE)
    for at, length, put in edits:
        data[at : at + length] = put
    try:
        for found in attachments(parse(bytes(data))):
            found.name.encode()
    except DocumentError as error:
        assert error.hint
