"""Each conversion against a reference computed another way, pixel by pixel."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dsdc.processors.render import PageRenderer, decode, encode
from dsdc.settings import Render

Save = Callable[[str, bytes], Path]
RNG = np.random.default_rng(7)


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def page_of(save: Save, renderer: PageRenderer) -> Callable[[bytes, str], Image.Image]:
    def read(data: bytes, media_type: str) -> Image.Image:
        (page,) = renderer.draw(save("document", data), media_type)
        return page.image

    return read


def test_one_bit_stays_one_bit_in_every_photometric(page_of: Callable) -> None:
    bits = RNG.random((40, 56)) < 0.5
    image = Image.fromarray(bits)
    for compression in ("group4", "group3", "raw", "tiff_lzw"):
        for white_is_zero in (0, 1):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[262] = white_is_zero
            page = page_of(_file(image, "TIFF", compression=compression, tiffinfo=tags), "image/tiff")
            assert page.mode == "1"
            assert np.array_equal(np.asarray(page), bits), (compression, white_is_zero)


def test_grey_stays_grey(page_of: Callable) -> None:
    values = RNG.integers(0, 256, (30, 40), dtype=np.uint8)
    page = page_of(_file(Image.fromarray(values), "PNG"), "image/png")
    assert page.mode == "L"
    assert np.array_equal(np.asarray(page), values)


@pytest.mark.parametrize(("form", "media_type"), [("PNG", "image/png"), ("TIFF", "image/tiff")])
def test_sixteen_bits_are_divided_by_256_not_clipped(page_of: Callable, form: str, media_type: str) -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    page = page_of(_file(Image.fromarray(values), form), media_type)
    assert page.mode == "L"
    assert np.array_equal(np.asarray(page), values // 256)


def _raw_tiff(values: np.ndarray, photometric: int, order: str) -> bytes:
    """An uncompressed 16-bit grey TIFF, written by hand."""
    height, width = values.shape
    data = values.astype(f"{order}u2").tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 3, height), (279, 4, len(data))]
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        out += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return out + b"\0\0\0\0" + data


@pytest.mark.parametrize(("order", "photometric"), [("<", 0), ("<", 1), (">", 1)])
def test_sixteen_bit_tiff_in_both_byte_orders_and_both_photometrics(
    page_of: Callable, order: str, photometric: int
) -> None:
    values = RNG.integers(0, 65536, (9, 11)).astype(np.uint16)
    expected = values // 256 if photometric else 255 - values // 256
    assert np.array_equal(np.asarray(page_of(_raw_tiff(values, photometric, order), "image/tiff")), expected)


def test_cmyk(page_of: Callable) -> None:
    inks = RNG.integers(0, 256, (20, 20, 4), dtype=np.uint8)
    page = page_of(_file(Image.fromarray(inks, "CMYK"), "TIFF"), "image/tiff")
    assert page.mode == "RGB"
    exact = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(np.asarray(page) - exact).max() <= 1  # the reference is in real numbers


def test_alpha_is_laid_on_white(page_of: Callable) -> None:
    rgba = RNG.integers(0, 256, (20, 20, 4), dtype=np.uint8)
    rgba[:5, ..., 3], rgba[5:10, ..., 3] = 0, 255
    page = np.asarray(page_of(_file(Image.fromarray(rgba), "PNG"), "image/png"))
    share = rgba[..., 3:] / 255
    assert np.abs(page - (rgba[..., :3] * share + 255 * (1 - share))).max() <= 1
    assert (page[:5] == 255).all()
    assert np.array_equal(page[5:10], rgba[5:10, ..., :3])


def test_grey_with_alpha_stays_grey_on_white(page_of: Callable) -> None:
    image = Image.merge("LA", (Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 0)))
    page = page_of(_file(image, "PNG"), "image/png")
    assert page.mode == "L"
    assert page.getextrema() == (255, 255)


def test_palette_is_looked_up_and_its_transparent_entry_is_white(page_of: Callable) -> None:
    indices = RNG.integers(0, 3, (10, 10), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    image.frombytes(indices.tobytes())
    palette = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0]], dtype=np.uint8)
    assert np.array_equal(np.asarray(page_of(_file(image, "PNG"), "image/png")), palette[indices])
    palette[2] = 255
    assert np.array_equal(np.asarray(page_of(_file(image, "PNG", transparency=2), "image/png")), palette[indices])


def test_lab_white_and_black(page_of: Callable) -> None:
    lab = Image.new("LAB", (2, 1), (255, 128, 128))
    lab.putpixel((1, 0), (0, 128, 128))
    page = page_of(_file(lab, "TIFF"), "image/tiff")
    assert page.mode == "RGB"
    assert min(page.getpixel((0, 0))) > 250
    assert max(page.getpixel((1, 0))) < 5


_TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "media_type"), [("PNG", "image/png"), ("TIFF", "image/tiff"), ("WEBP", "image/webp")])
def test_orientation_is_applied(page_of: Callable, form: str, media_type: str, orientation: int) -> None:
    values = RNG.integers(0, 256, (12, 20), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(values)
    if form == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        data = _file(image, form, tiffinfo=tags)
    else:
        data = _file(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    page = page_of(data, media_type).convert("L")
    assert np.array_equal(np.asarray(page), _TURNS[orientation](values))


def test_a_camera_jpeg_is_turned_upright(page_of: Callable) -> None:
    image = Image.new("L", (64, 32), 255)
    image.paste(0, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[274] = 6
    page = page_of(_file(image, "JPEG", exif=exif, quality=95), "image/jpeg")
    assert page.size == (32, 64)
    assert page.getpixel((28, 4)) < 30  # the dark corner is now at the top right
    assert page.getpixel((4, 4)) > 220


def test_a_coarse_fax_gets_the_papers_shape_and_stays_one_bit(save: Save, renderer: PageRenderer) -> None:
    bits = RNG.random((110, 172)) < 0.5
    data = _file(Image.fromarray(bits), "TIFF", compression="group4", dpi=(200, 100))
    (page,) = renderer.draw(save("fax", data), "image/tiff")
    assert (page.image.mode, page.image.size, page.dpi) == ("1", (172, 220), 200)
    assert np.array_equal(np.asarray(page.image), np.repeat(bits, 2, axis=0))


def test_large_pages_are_reduced_and_keep_their_aspect_ratio(save: Save) -> None:
    renderer = PageRenderer(Render(max_side=500))
    for size, expected in [((2000, 1000), (500, 250)), ((333, 1000), (166, 500)), ((5000, 3), (500, 1))]:
        data = _file(Image.new("L", size, 77), "PNG", dpi=(300, 300))
        (page,) = renderer.draw(save("big", data), "image/png")
        assert page.image.size == expected
        assert page.image.getextrema() == (77, 77)
        assert page.dpi == round(300 * expected[0] / size[0])


def test_a_reduced_one_bit_page_turns_grey_instead_of_losing_its_thin_lines(save: Save) -> None:
    image = Image.new("1", (1000, 1000), 1)
    for x in range(0, 1000, 10):
        image.paste(0, (x, 0, x + 1, 1000))
    (page,) = PageRenderer(Render(max_side=250)).draw(save("lines", _file(image, "PNG")), "image/png")
    assert page.image.mode == "L"
    assert 220 < np.asarray(page.image).mean() < 236  # a tenth of the page is black


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_stored_images_come_back_exactly_and_equal_pixels_give_equal_bytes(mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (50, 37, 3), dtype=np.uint8)).convert(mode)
    data = encode(image, 200)
    noisy = image.copy()
    noisy.info.update(icc_profile=b"x" * 200, comment="scanned by somebody")
    assert encode(noisy, 200) == data
    back = decode(data)
    assert (back.mode, back.size, back.tobytes()) == (mode, image.size, image.tobytes())
    assert round(back.info["dpi"][0]) == 200


def test_only_page_modes_are_stored() -> None:
    with pytest.raises(ValueError, match="CMYK"):
        encode(Image.new("CMYK", (1, 1)))
