from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dsdc.errors import CorruptFile, TooLarge, UnsupportedType
from dsdc.processors.contract import DamagedPage
from dsdc.processors.render import PageRenderer
from dsdc.settings import Render

Save = Callable[[str, bytes], Path]
NOISE = np.random.default_rng(3)


def _noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(NOISE.integers(0, 256, (height, width), dtype=np.uint8))


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _fax(pages: int) -> bytes:
    """A multi-page G4 TIFF; page k is black up to row k."""
    frames = []
    for k in range(1, pages + 1):
        frame = Image.new("1", (64, 100), 1)
        frame.paste(0, (0, 0, 64, k))
        frames.append(frame)
    return _file(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="group4")


def test_every_frame_of_a_tiff_is_a_page_and_reading_resumes_at_any(save: Save, renderer: PageRenderer) -> None:
    source = save("fax.tif", _fax(7))
    assert renderer.page_count(source, "image/tiff") == 7
    pages = list(renderer.draw(source, "image/tiff"))
    assert [page.page for page in pages] == list(range(1, 8))
    assert [int((~np.asarray(page.image)).sum()) for page in pages] == [64 * k for k in range(1, 8)]
    resumed = list(renderer.draw(source, "image/tiff", first=6))
    assert [page.page for page in resumed] == [6, 7]
    assert resumed[0].image.tobytes() == pages[5].image.tobytes()


def test_a_preview_in_a_tiff_is_not_a_page(save: Save, renderer: PageRenderer) -> None:
    preview, page = Image.new("L", (8, 8), 0), Image.new("L", (80, 80), 200)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out) as writer:
        for image, options in ((page, {}), (preview, {"tiffinfo": tags})):
            image.save(writer, "TIFF", **options)
            writer.newFrame()
    source = save("t.tif", out.getvalue())
    assert renderer.page_count(source, "image/tiff") == 1
    assert [p.image.size for p in renderer.draw(source, "image/tiff")] == [(80, 80)]


def test_an_animation_is_one_page(save: Save, renderer: PageRenderer) -> None:
    data = _file(_noise(20, 20), "PNG", save_all=True, append_images=[_noise(20, 20), _noise(20, 20)])
    source = save("a.png", data)
    assert renderer.page_count(source, "image/png") == 1
    assert len(list(renderer.draw(source, "image/png"))) == 1


@pytest.mark.parametrize(
    ("form", "media_type", "options"),
    [
        ("JPEG", "image/jpeg", {}),
        ("JPEG", "image/jpeg", {"progressive": True}),
        ("PNG", "image/png", {}),
        ("BMP", "image/bmp", {}),
        ("WEBP", "image/webp", {}),
        ("TIFF", "image/tiff", {"compression": "raw"}),
        ("TIFF", "image/tiff", {"compression": "tiff_lzw"}),
        ("TIFF", "image/tiff", {"compression": "jpeg"}),
    ],
)
def test_a_truncated_file_is_corrupt_wherever_it_was_cut(
    save: Save, renderer: PageRenderer, form: str, media_type: str, options: dict[str, object]
) -> None:
    data = _file(_noise(200, 300), form, **options)
    assert len(list(renderer.draw(save("whole", data), media_type))) == 1
    for share in (0.02, 0.3, 0.5, 0.7, 0.9, 0.97):
        source = save("cut", data[: int(len(data) * share)])
        with pytest.raises(CorruptFile):
            list(renderer.draw(source, media_type))


def test_a_truncated_fax_gives_its_whole_pages_and_then_names_the_broken_one(
    save: Save, renderer: PageRenderer
) -> None:
    bits = NOISE.random((300, 400)) < 0.5
    frame = Image.fromarray(bits)
    out = io.BytesIO()
    frame.save(out, "TIFF", compression="group4", save_all=True, append_images=[frame, frame])
    data = bytearray(out.getvalue())
    with Image.open(io.BytesIO(bytes(data))) as image:
        image.seek(2)
        offset = image.tag_v2[273][0]
        # The last frame's strip now claims to lie beyond the end of the file, as after a broken copy.
        entry = bytes(data).rfind(struct.pack("<HH", 273, 4))
    assert offset > 0
    count = struct.unpack_from("<I", data, entry + 4)[0]
    where = entry + 8 if count == 1 else struct.unpack_from("<I", data, entry + 8)[0]
    struct.pack_into("<I", data, where, len(data) - 10)
    pages = renderer.draw(save("fax.tif", bytes(data)), "image/tiff")
    assert np.array_equal(np.asarray(next(pages).image), bits)
    assert np.array_equal(np.asarray(next(pages).image), bits)
    with pytest.raises(CorruptFile, match="Page 3"):
        next(pages)


def test_the_pages_of_a_fax_whose_chain_is_broken_are_kept_and_the_break_is_a_damaged_page(save: Save) -> None:
    data = bytearray(_fax(4))
    offset = struct.unpack_from("<I", data, 4)[0]
    for _ in range(2):  # to the directory of page 3, whose link to page 4 is then bent
        offset = struct.unpack_from("<I", data, offset + 2 + 12 * struct.unpack_from("<H", data, offset)[0])[0]
    link = offset + 2 + 12 * struct.unpack_from("<H", data, offset)[0]
    struct.pack_into("<I", data, link, 13)
    pages = list(PageRenderer(Render()).draw(save("bent.tif", bytes(data)), "image/tiff"))
    assert [page.page for page in pages] == [1, 2, 3, 4]
    assert [isinstance(page, DamagedPage) for page in pages] == [False, False, False, True]


def test_a_damaged_frame_does_not_cost_the_ones_after_it(save: Save) -> None:
    data = bytearray(_fax(3))
    offset = struct.unpack_from("<I", data, 4)[0]
    second = struct.unpack_from("<I", data, offset + 2 + 12 * struct.unpack_from("<H", data, offset)[0])[0]
    for number in range(struct.unpack_from("<H", data, second)[0]):
        entry = second + 2 + 12 * number
        if struct.unpack_from("<H", data, entry)[0] == 273:
            struct.pack_into("<I", data, entry + 8, len(data) + 999)  # its strip lies beyond the end
    pages = list(PageRenderer(Render()).draw(save("hole.tif", bytes(data)), "image/tiff"))
    assert [isinstance(page, DamagedPage) for page in pages] == [False, True, False]


def test_garbage_behind_a_good_signature_is_corrupt(save: Save, renderer: PageRenderer) -> None:
    garbage = NOISE.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    magics = {
        "image/jpeg": b"\xff\xd8\xff\xe0",
        "image/png": b"\x89PNG\r\n\x1a\n",
        "image/tiff": b"II*\x00",
        "image/bmp": b"BM" + b"\0" * 12 + b"\x28\0\0\0",
        "image/webp": b"RIFF\xff\0\0\0WEBPVP8 ",
    }
    for media_type, magic in magics.items():
        with pytest.raises(CorruptFile):
            list(renderer.draw(save("x", magic + garbage), media_type))


def _png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` x `height` and whose data is a few zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def _tiff_header(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 1), (259, 3, 4), (262, 3, 0), (273, 4, 8), (279, 4, 10)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + b"\0" * 4


def _jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(_file(Image.new("L", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


def _webp_header(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    body = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("image/png", _png_header(12_000, 12_000)),
        ("image/png", _png_header(1_000_000, 1_000_000)),
        ("image/bmp", _bmp_header(12_000, 12_000)),
        ("image/bmp", _bmp_header(200_000, 200_000)),
        ("image/tiff", _tiff_header(12_000, 12_000)),
        ("image/tiff", _tiff_header(400_000, 400_000)),
        ("image/jpeg", _jpeg_header(12_000, 12_000)),
        ("image/jpeg", _jpeg_header(65_000, 65_000)),
        ("image/webp", _webp_header(12_000, 12_000)),
    ],
    ids=["png", "png-huge", "bmp", "bmp-huge", "tiff", "tiff-huge", "jpeg", "jpeg-huge", "webp"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_from_the_header(save: Save, renderer: PageRenderer, media_type: str, data: bytes) -> None:
    source = save("bomb", data)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(TooLarge):
        list(renderer.draw(source, media_type))
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 1
    assert peak < 5_000_000


def test_the_limit_counts_pixels_exactly(save: Save, renderer: PageRenderer) -> None:
    renderer = type(renderer)(Render(max_pixels=10_000))
    assert len(list(renderer.draw(save("a", _file(Image.new("L", (100, 100)), "PNG")), "image/png"))) == 1
    with pytest.raises(TooLarge, match=r"100 x 101 pixels.*render\.max_pixels"):
        list(renderer.draw(save("b", _file(Image.new("L", (100, 101)), "PNG")), "image/png"))


def test_too_many_pages(save: Save) -> None:
    source = save("fax.tif", _fax(4))
    assert PageRenderer(Render(max_pages=4)).page_count(source, "image/tiff") == 4
    for read in (PageRenderer.page_count, lambda *a: list(PageRenderer.draw(*a))):
        with pytest.raises(TooLarge, match="more than 3 pages"):
            read(PageRenderer(Render(max_pages=3)), source, "image/tiff")


def test_a_type_without_a_renderer(save: Save, renderer: PageRenderer) -> None:
    with pytest.raises(UnsupportedType, match="text/plain"):
        renderer.page_count(save("x", b"x"), "text/plain")


def test_a_missing_file_is_the_stores_fault_not_the_documents(renderer: PageRenderer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        renderer.page_count(tmp_path / "gone.png", "image/png")


def test_a_claimed_type_never_opens_another_reader(save: Save, renderer: PageRenderer) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    with pytest.raises(CorruptFile):
        list(renderer.draw(save("x.jpg", eps), "image/jpeg"))


def test_parameters_say_what_shapes_pixels() -> None:
    one, other = PageRenderer(Render(dpi=150)), PageRenderer(Render(dpi=200))
    assert one.params_hash != other.params_hash
    assert {"dpi", "max_side", "max_pixels", "pdfium", "pillow"} <= set(one.params)
    assert PageRenderer(Render(max_pages=5)).params_hash == PageRenderer(Render()).params_hash
