"""Small files that become enormous: refused from the header or by the limits, at a bounded cost."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from PIL import Image

from tests.faults.documents import (
    deflated,
    email,
    noise,
    page_objects,
    pdf,
    png,
    png_chunk,
    saved,
    stream,
    tiff,
    written,
)
from tests.faults.invariant import rows
from tests.faults.passage import Outcome, Passage, Watched

MEMORY_MB = 512
PAGE_CPU_S = 2
#: Forging a header takes no more than this of a process that has its engines loaded.
MODEST_MB = 300
#: By the clock on the wall: a few seconds of work, on a machine that may have much else to do.
SOON_S = 60


@pytest.fixture
def limited(passage: Passage) -> Passage:
    passage.configure(parsing_memory_mb=MEMORY_MB, parsing_page_cpu_s=PAGE_CPU_S)
    return passage


def outcomes(found: Mapping[str, Outcome]) -> dict[str, tuple[str, str | None, tuple[int, ...]]]:
    return {name: one.brief for name, one in found.items()}


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(saved(Image.new("L", (16, 16)), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    body = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def one_strip(width: int, height: int, compression: int = 1, **counts: int) -> bytes:
    """A grey TIFF whose strip is a thousand zeros; `offsets` and `sizes` are how many of each it declares."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    entries += [(273, 4, counts.get("offsets", 1), 200), (277, 3, 1, counts.get("samples", 1))]
    entries += [(278, 4, 1, counts.get("rows", height)), (279, 4, counts.get("sizes", 1), counts.get("bytes", 1000))]
    return tiff(entries, bytes(1000))


def test_sizes_that_no_page_has_are_refused_from_the_header(limited: Passage) -> None:
    files = {
        "12000.png": png(12_000, 12_000, data=zlib.compress(bytes(1000))),
        "most.png": png(2**31 - 1, 2**31 - 1, data=zlib.compress(bytes(1000))),
        "12000.bmp": bmp(12_000, 12_000),
        "upside down.bmp": bmp(12_000, -12_000),
        "most.bmp": bmp(2**31 - 1, 2**31 - 1),
        "12000.tif": one_strip(12_000, 12_000),
        "fax.tif": one_strip(400_000, 400_000, compression=4),
        "12000.jpg": jpeg(12_000, 12_000),
        "65500.jpg": jpeg(65_500, 65_500),
    }
    with Watched() as watched:
        found = limited.render(files)
    assert outcomes(found) == dict.fromkeys(files, ("rejected", "too_large", ()))
    assert all("pixels" in (one.message or "") for one in found.values())
    assert watched.peak_mb < MODEST_MB
    assert watched.seconds < SOON_S
    limited.check()


def test_a_webp_that_declares_a_giant_canvas_costs_no_memory(limited: Passage) -> None:
    """Its decoder asks for the canvas before anybody can look at the header; the limit of memory says no."""
    with Watched() as watched:
        found = limited.render({"most.webp": webp(16_384, 16_384), "12000.webp": webp(12_000, 12_000)})
    assert {one.state for one in found.values()} == {"rejected"}
    assert {one.category for one in found.values()} <= {"too_large", "corrupt"}
    assert watched.peak_mb < MODEST_MB
    limited.check()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
def test_a_real_picture_over_the_limit_is_refused_in_every_format(passage: Passage, form: str) -> None:
    passage.configure(render_max_pixels=40_000)
    files = {"fits": saved(noise(200, 200), form), "over": saved(noise(201, 200), form)}
    assert outcomes(passage.render(files)) == {
        "fits": ("stored", None, (1,)),
        "over": ("rejected", "too_large", ()),
    }
    passage.check()


def test_text_and_profiles_within_a_png_that_unfold_without_end(limited: Passage) -> None:
    unfolding = zlib.compress(bytes(50 << 20), 9)
    files = {
        "zTXt": png(20, 20, png_chunk(b"zTXt", b"key\0\0" + unfolding)),
        "iTXt": png(20, 20, png_chunk(b"iTXt", b"key\0\1\0\0\0" + unfolding)),
        "iCCP": png(20, 20, png_chunk(b"iCCP", b"key\0\0" + unfolding)),
        "after": png(20, 20)[:-12] + png_chunk(b"zTXt", b"key\0\0" + unfolding) + png_chunk(b"IEND", b""),
        "many": png(20, 20, *[png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20), 9))] * 200),
    }
    with Watched() as watched:
        found = limited.render(files)
    assert outcomes(found) == dict.fromkeys(files, ("rejected", "corrupt", ()))
    assert watched.peak_mb < MODEST_MB
    limited.check()


def test_pixels_beyond_those_declared_are_not_unfolded(limited: Passage) -> None:
    with Watched() as watched:
        found = limited.render({"more.png": png(20, 20, data=zlib.compress(bytes(100 << 20), 9))})
    assert outcomes(found) == {"more.png": ("stored", None, (1,))}
    assert watched.peak_mb < MODEST_MB
    limited.check()


def test_a_tiff_whose_strips_are_absurd(limited: Passage) -> None:
    files: dict[str, bytes] = {}
    for compression in (1, 4, 5, 7, 8, 32773, 50000):
        files[f"{compression}: two billion strips"] = one_strip(
            1000, 1000, compression, offsets=2**31 - 1, sizes=2**31 - 1
        )
        files[f"{compression}: a strip of 4 GB"] = one_strip(1000, 1000, compression, bytes=2**32 - 1)
        files[f"{compression}: strips for one row in ninety thousand"] = one_strip(1000, 90_000, compression, rows=1)
        files[f"{compression}: samples without end"] = one_strip(1000, 1000, compression, samples=65_535)
    with Watched() as watched:
        found = limited.render(files)
    assert outcomes(found) == dict.fromkeys(files, ("rejected", "corrupt", ()))
    assert watched.peak_mb < MODEST_MB
    assert watched.seconds < SOON_S
    limited.check()


def test_a_tiff_whose_frames_go_round_in_a_circle_has_each_of_them_once(limited: Passage) -> None:
    entries = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 122), (277, 3, 1, 1), (278, 4, 1, 10), (279, 4, 1, 100)]
    assert outcomes(limited.render({"round.tif": tiff(entries, bytes(100), following=8)})) == {
        "round.tif": ("stored", None, (1,))
    }
    limited.check()


def test_a_jpeg_whose_scans_never_end_runs_out_of_time(limited: Passage) -> None:
    white = saved(Image.new("L", (4000, 4000), 255), "JPEG", progressive=True)
    last_scan = white[white.rindex(b"\xff\xda") : -2]
    endless = white[:-2] + last_scan * 30_000 + white[-2:]
    with Watched() as watched:
        found = limited.render({"endless.jpg": endless})
    assert outcomes(found) == {"endless.jpg": ("rejected", "timeout", ())}
    assert watched.seconds < SOON_S
    assert watched.peak_mb < MEMORY_MB
    limited.check()


def second_page(content: bytes, page: bytes = b"", **objects: bytes) -> bytes:
    """A PDF of three pages; the second has this content, these entries and these objects (`o50=...`)."""
    made = page_objects([written(b"first"), content, written(b"third")])
    made[12] = made[12][:-2] + page + b">>"
    return pdf(made | {int(name[1:]): body for name, body in objects.items()})


def drawn_image(body: bytes) -> bytes:
    resources = b"/Resources<</XObject<</I 50 0 R>>>>"
    return second_page(stream(b"200 0 0 200 0 0 cm /I Do"), resources, o50=body)


def image_object(side: int, data: bytes, coding: bytes = b"/Filter/FlateDecode", bits: int = 8) -> bytes:
    size = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray/Width %d/Height %d/BitsPerComponent %d"
    return stream(data, size % (side, side, bits) + coding)


@pytest.mark.parametrize("box", [b"0 0 1000000000 1000000000", b"0 0 1000000000 1", b"-2000000000 0 2000000000 9"])
def test_a_pdf_page_of_any_size_is_drawn_within_the_limits(limited: Passage, box: bytes) -> None:
    data = second_page(written(b"x"), b"/MediaBox[%s]" % box)
    with Watched() as watched:
        found = limited.render({"giant.pdf": data})
    assert found["giant.pdf"].state == "stored"
    assert {1, 3} <= set(found["giant.pdf"].pages)
    assert rows("SELECT max(greatest(width, height)) <= 3500 FROM processed_images") == [(True,)]
    assert watched.peak_mb < MODEST_MB
    limited.check()


def twice_deflated() -> bytes:
    """Three hundred megabytes of blanks in a few kilobytes."""
    return zlib.compress(zlib.compress(b" " * (320 << 20), 1), 9)


PDF_BOMBS: dict[str, Callable[[], bytes]] = {
    "blanks": lambda: second_page(stream(twice_deflated(), b"/Filter[/FlateDecode/FlateDecode]")),
    "saved states": lambda: second_page(deflated(b"q " * 12_000_000)),
}


@pytest.mark.parametrize("kind", PDF_BOMBS)
def test_a_content_stream_that_unfolds_without_end_costs_its_page_alone(limited: Passage, kind: str) -> None:
    data = PDF_BOMBS[kind]()
    assert len(data) < 1 << 20
    with Watched() as watched:
        found = limited.render({"bomb.pdf": data})
    assert outcomes(found) == {"bomb.pdf": ("stored", "partial", (1, 3))}
    assert "page 2" in (found["bomb.pdf"].message or "")
    assert watched.peak_mb <= MEMORY_MB
    assert watched.own_growth_mb < 100
    assert watched.seconds < SOON_S
    limited.check()


def test_images_within_a_pdf_that_unfold_without_end(limited: Passage) -> None:
    zeros = zlib.compress(bytes(144 << 20), 9)
    declared = saved(Image.new("L", (16, 16)), "JPEG")
    fax = b"/Filter/CCITTFaxDecode/DecodeParms<</K -1/Columns 20000/Rows 20000>>"
    files = {
        "flate.pdf": drawn_image(image_object(12_000, zeros)),
        "most.pdf": drawn_image(image_object(2**31 - 1, zeros)),
        "dct.pdf": drawn_image(image_object(20_000, declared, b"/Filter/DCTDecode")),
        "ccitt.pdf": drawn_image(image_object(20_000, bytes(1000), fax, bits=1)),
        "run-length.pdf": drawn_image(image_object(12_000, b"\x81\0" * (1 << 20), b"/Filter/RunLengthDecode")),
        "lzw.pdf": drawn_image(image_object(12_000, b"\x80" * (1 << 20), b"/Filter/LZWDecode")),
    }
    with Watched() as watched:
        found = limited.render(files)
    for name, one in found.items():
        assert one.state == "stored", name
        assert {1, 3} <= set(one.pages), name
        assert one.category == (None if 2 in one.pages else "partial"), name
    assert watched.peak_mb <= MEMORY_MB
    limited.check()


def test_a_page_tree_that_declares_more_pages_than_it_has(limited: Passage) -> None:
    boast = pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[]/Count 9000>>"})
    most = boast.replace(b"9000", b"2000000000")
    with Watched() as watched:
        found = limited.render({"9000.pdf": boast, "most.pdf": most})
    assert outcomes(found) == dict.fromkeys(["9000.pdf", "most.pdf"], ("rejected", "corrupt", ()))
    assert watched.seconds < SOON_S
    limited.check()


def nested(depth: int) -> bytes:
    """A multipart within a multipart within ..."""
    head = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    return email(head, b"multipart/mixed; boundary=0")


def forwarded(depth: int) -> bytes:
    """A message within a message within ..."""
    data = email()
    for n in range(depth):
        body = b"--b%d\r\nContent-Type: message/rfc822\r\n\r\n" % n + data + b"\r\n--b%d--\r\n" % n
        data = email(body, b"multipart/mixed; boundary=b%d" % n)
    return data


def test_messages_that_are_too_much_are_refused(limited: Passage) -> None:
    base64_text = base64.encodebytes(b"x" * (33 << 20))
    files = {
        "giant.eml": email(base64_text, b"text/plain", b"Content-Transfer-Encoding: base64"),
        "long.eml": email(b"a line of a letter\r\n" * 60_000),
        "nested.eml": nested(1000),
        "many.eml": email(b"--x\r\n\r\nhello\r\n" * 2000, b"multipart/mixed; boundary=x"),
        "deep.eml": email(b"<div>" * 100_000 + b"hello", b"text/html"),
    }
    with Watched() as watched:
        found = limited.render(files)
    assert outcomes(found) == dict.fromkeys(files, ("rejected", "too_large", ()))
    assert watched.peak_mb <= MEMORY_MB
    assert watched.seconds < SOON_S
    limited.check()


def test_messages_within_messages_without_end_are_not_unpacked(limited: Passage) -> None:
    data = forwarded(40)
    limited.bring({"matryoshka.eml": data})
    report = limited.run("unpack")
    assert (report.failed, report.categories) == (1, {"too_large": 1})
    assert rows("SELECT count(*) FROM original_documents") == [(1,)]
    limited.run("render")
    assert limited.outcome(data).brief == ("stored", None, (1,))
    limited.check()


def test_a_bomb_that_comes_by_post_is_as_harmless_as_any_other(limited: Passage) -> None:
    bomb = png(12_000, 12_000, data=zlib.compress(bytes(1000)))
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\nContent-Type: image/png; name=bomb.png\r\n"
    body += b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(bomb) + b"--x--\r\n"
    message = email(body, b"multipart/mixed; boundary=x")
    limited.bring({"bomb.eml": message})
    limited.run("unpack", "render")
    assert limited.outcome(message).brief == ("stored", None, (1,))
    assert limited.outcome(bomb).brief == ("rejected", "too_large", ())
    limited.check()


def test_a_page_that_needs_more_memory_than_allowed_costs_that_page_alone(passage: Passage) -> None:
    """Within the limit of pixels, but deep ones: 24 million numbers of 32 bits, converted more than once."""
    passage.configure(parsing_memory_mb=512)
    small, deep = noise(30, 20), Image.fromarray(np.zeros((4000, 6000), dtype=np.float32))
    data = saved(small, "TIFF", save_all=True, append_images=[deep, small], compression="tiff_adobe_deflate")
    with Watched() as watched:
        found = passage.render({"deep.tif": data})
    assert outcomes(found) == {"deep.tif": ("stored", "partial", (1, 3))}
    assert "parsing.memory_mb" in (found["deep.tif"].message or "")
    assert watched.peak_mb <= 512
    passage.check()
