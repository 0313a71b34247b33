"""Whatever way a file keeps its pixels, the stored page shows what it means; references are worked out with numpy."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dsdc.settings import settings
from tests.faults.documents import PNG_SIGNATURE, png_chunk, saved, tiff
from tests.faults.passage import Passage

Pixels = np.ndarray
RNG = np.random.default_rng(16)

#: Entries of a bitmap's palette.
BLACK, WHITE = b"\0\0\0\0", b"\xff\xff\xff\0"

#: EXIF orientation -> what has to be done to the stored rows so that the page stands upright.
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def on_white(colour: Pixels, alpha: Pixels) -> Pixels:
    """Real numbers: `colour` `[h, w, 3]` seen through `alpha` `[h, w]`, both 0 to 255."""
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def stored(passage: Passage, data: bytes) -> Pixels:
    with Image.open(io.BytesIO(passage.image(data))) as image:
        return np.asarray(image.convert("L") if image.mode == "1" else image)


def compare(passage: Passage, cases: Mapping[str, tuple[bytes, Pixels]], *, within: float = 0) -> None:
    """All files through the stage; each stored page against its reference."""
    found = passage.render({name: data for name, (data, _) in cases.items()})
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(cases, ("stored", None, (1,)))
    for name, (data, expected) in cases.items():
        page = stored(passage, data).astype(float)
        assert page.shape == expected.shape, name
        assert np.abs(page - expected).max() <= within, (name, np.abs(page - expected).max())
    passage.check()


def raw_png(rows: Pixels, width: int, height: int, bits: int, kind: int, *chunks: bytes) -> bytes:
    """A PNG by hand: `rows` `[height, bytes]` as they stand in the file."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(body)), png_chunk(b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(parts)


def raw_tiff(samples: Pixels, photometric: int, *extra: tuple[int, int, int, int]) -> bytes:
    """An uncompressed little-endian TIFF by hand: `samples` `[h, w]` or `[h, w, n]`, uint8 or uint16."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8 * samples.itemsize), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, 0), (277, 3, 1, channels), (278, 4, 1, height)]
    entries += [(279, 4, 1, samples.nbytes), *extra]
    after = 8 + 2 + 12 * len(entries) + 4
    depths = struct.pack(f"<{channels}H", *[8 * samples.itemsize] * channels)
    at = {273: after + len(depths), 258: after if channels > 2 else entries[2][3] * (0x10001 if channels == 2 else 1)}
    entries = [(tag, kind, count, at.get(tag, value)) for tag, kind, count, value in entries]
    return tiff(entries, depths + samples.astype(samples.dtype.newbyteorder("<")).tobytes())


def blocks(height: int, width: int, channels: int) -> Pixels:
    """Random colours in squares of 16: what a JPEG of the best quality keeps to the last digit or two."""
    small = RNG.integers(0, 256, (height // 16, width // 16, channels), dtype=np.uint8)
    return small.repeat(16, axis=0).repeat(16, axis=1)


def test_cmyk_in_its_two_adobe_codings_and_as_tiff(passage: Passage) -> None:
    inks = blocks(64, 96, 4)
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    plain = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in plain
    compare(passage, {"cmyk.jpg": (plain, expected), "ycck.jpg": (ycck(inks), expected)}, within=6)
    compare(passage, {"cmyk.tif": (raw_tiff(inks, 5), expected)}, within=1)


def ycck(inks: Pixels) -> bytes:
    """A CMYK JPEG as Photoshop writes it: inverted, with cyan, magenta and yellow as luminance and colour."""
    c, m, y = (inks[..., n].astype(float) for n in range(3))
    luminance = 0.299 * c + 0.587 * m + 0.114 * y
    blue, red = 128 + (y - luminance) * 0.564, 128 + (c - luminance) * 0.713
    stored_as = np.stack([luminance, blue, red, 255.0 - inks[..., 3]], axis=-1)
    raw = np.rint(np.clip(stored_as, 0, 255)).astype(np.uint8)
    # Pillow inverts what it writes; the marker's last byte says how the first three channels are meant.
    data = bytearray(saved(Image.fromarray(255 - raw, "CMYK"), "JPEG", quality=100, subsampling=0))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2
    return bytes(data)


def test_sixteen_bits_lose_their_lower_half_and_nothing_else(passage: Passage) -> None:
    grey = np.arange(0, 65536, 23, dtype=np.uint16)[: 48 * 59].reshape(48, 59)
    colour = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    big = lambda a: a.astype(">u2").reshape(len(a), -1)  # noqa: E731
    compare(
        passage,
        {
            "grey.png": (raw_png(big(grey), 59, 48, 16, 0), grey // 256),
            "grey.tif": (raw_tiff(grey, 1), grey // 256),
            "white is zero.tif": (raw_tiff(grey, 0), 255 - grey // 256),
            "colour.png": (raw_png(big(colour), 30, 20, 16, 2), colour // 256),
            "colour.tif": (raw_tiff(colour, 2), colour // 256),
        },
    )


def test_alpha_is_laid_on_white_in_every_format_that_has_it(passage: Passage) -> None:
    rgba = RNG.integers(0, 256, (24, 20, 4), dtype=np.uint8)
    rgba[:6, :, 3], rgba[6:12, :, 3] = 0, 255
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3].astype(float)
    grey = rgba[..., [0, 3]]
    premultiplied = rgba.copy()
    premultiplied[..., :3] = np.rint(colour * alpha[..., None] / 255)
    lossless = saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)
    compare(
        passage,
        {
            "rgba.png": (raw_png(rgba.reshape(24, -1), 20, 24, 8, 6), on_white(colour, alpha)),
            "rgba.webp": (lossless, on_white(colour, alpha)),
            "rgba.tif": (raw_tiff(rgba, 2, (338, 3, 1, 2)), on_white(colour, alpha)),
            "grey.png": (
                raw_png(grey.reshape(24, -1), 20, 24, 8, 4),
                on_white(grey[..., :1].astype(float), grey[..., 1].astype(float))[..., 0],
            ),
        },
        within=1,
    )
    # What was multiplied in eight bits already has lost a little where it is nearly transparent.
    compare(
        passage,
        {"premultiplied.tif": (raw_tiff(premultiplied, 2, (338, 3, 1, 1)), on_white(colour, alpha))},
        within=2,
    )


def test_one_colour_declared_transparent_becomes_white(passage: Passage) -> None:
    grey = RNG.integers(0, 4, (10, 12), dtype=np.uint8) * 60
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    through_grey = np.where(grey == 60, 255, grey)
    through_colour = np.where((grey == 120)[..., None], 255, colour)
    compare(
        passage,
        {
            "grey.png": (raw_png(grey, 12, 10, 8, 0, png_chunk(b"tRNS", b"\0\x3c")), through_grey),
            "colour.png": (
                raw_png(colour.reshape(10, -1), 12, 10, 8, 2, png_chunk(b"tRNS", struct.pack(">3H", 120, 60, 135))),
                through_colour,
            ),
        },
    )


def test_palettes_with_and_without_transparency(passage: Passage) -> None:
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    alphas = np.array([0, 40, 200, 255, *[255] * 12])
    indices = RNG.integers(0, 16, (14, 10), dtype=np.uint8)
    packed = indices[:, ::2] << 4 | indices[:, 1::2]
    plain = png_chunk(b"PLTE", palette.tobytes())
    through = png_chunk(b"tRNS", bytes([0, 40, 200]))
    table = np.concatenate([palette.T, np.zeros((3, 240), np.uint8)], axis=1).astype(np.uint16) * 257
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette(palette.tobytes())
    picture.frombytes(indices.tobytes())
    colours = palette[indices]
    compare(
        passage,
        {
            "eight bits.png": (raw_png(indices, 10, 14, 8, 3, plain), colours),
            "four bits.png": (raw_png(packed, 10, 14, 4, 3, plain), colours),
            "palette.bmp": (saved(picture, "BMP"), colours),
            "palette.tif": (palette_tiff(indices, table), colours),
        },
    )
    compare(
        passage,
        {"through.png": (raw_png(indices, 10, 14, 8, 3, plain, through), on_white(colours, alphas[indices]))},
        within=1,
    )


def palette_tiff(indices: Pixels, table: Pixels) -> bytes:
    """`table` `[3, 256]`: all reds, all greens, all blues, in 16 bits."""
    height, width = indices.shape
    data_at = 8 + 2 + 12 * 9 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 3)]
    entries += [(273, 4, 1, data_at + 1536), (278, 4, 1, height), (279, 4, 1, indices.size), (320, 3, 768, data_at)]
    return tiff(entries, table.astype("<u2").tobytes() + indices.tobytes())


def test_one_bit_is_black_and_white_in_both_photometrics_and_stays_one_bit(passage: Passage) -> None:
    bits = RNG.random((40, 64)) < 0.5  # True is white
    packed, image = np.packbits(bits, axis=1), Image.fromarray(bits)
    files = {"bits.png": raw_png(packed, 64, 40, 1, 0), "bits.bmp": two_colours(packed, 64, BLACK + WHITE)}
    for white_is_zero in (0, 1):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[262] = white_is_zero
        for coding in ("group4", "group3", "raw", "packbits", "tiff_lzw"):
            files[f"{white_is_zero} {coding}.tif"] = saved(image, "TIFF", compression=coding, tiffinfo=tags)
    compare(passage, {name: (data, 255 * bits) for name, data in files.items()})
    for data in files.values():
        with Image.open(io.BytesIO(passage.image(data))) as page:
            assert page.mode == "1"


def test_the_two_colours_of_a_bitmap_may_stand_in_either_order(passage: Passage) -> None:
    bits = RNG.random((40, 64)) < 0.5
    swapped = two_colours(np.packbits(bits, axis=1), 64, WHITE + BLACK)
    compare(passage, {"swapped.bmp": (swapped, np.repeat(np.where(bits, 0, 255)[..., None], 3, axis=2))})


def two_colours(packed: Pixels, width: int, table: bytes) -> bytes:
    height = len(packed)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, 0, 0, 0, 2, 2)
    return b"BM" + struct.pack("<IHHI", 62 + packed.size, 0, 0, 62) + info + table + packed[::-1].tobytes()


@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_of_a_camera_is_turned_upright(passage: Passage, orientation: int) -> None:
    exact, coarse = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8), blocks(48, 80, 3)
    exif = Image.Exif()
    exif[274] = orientation
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    picture = Image.fromarray(exact)
    upright = TURNS[orientation](exact)
    compare(
        passage,
        {
            "a.png": (saved(picture, "PNG", exif=exif), upright),
            "a.webp": (saved(picture, "WEBP", exif=exif, lossless=True), upright),
            "a.tif": (saved(picture, "TIFF", tiffinfo=tags), upright),
        },
    )
    photograph = saved(Image.fromarray(coarse), "JPEG", exif=exif, quality=100, subsampling=0)
    compare(passage, {"a.jpg": (photograph, TURNS[orientation](coarse))}, within=4)


@pytest.mark.parametrize("size", [(20, 20_000), (20_000, 20), (1, 30_000)], ids=str)
def test_extreme_shapes_keep_their_aspect_ratio_and_every_part_of_them(passage: Passage, size: tuple[int, int]) -> None:
    width, height = size
    along = max(size)
    bands = np.repeat(np.linspace(0, 255, 10).astype(np.uint8), along // 10)
    strip = np.repeat(bands[:, None], min(size), axis=1)
    pixels = strip if height > width else strip.T
    data = saved(Image.fromarray(pixels), "PNG")
    assert passage.render({"strip.png": data})["strip.png"].brief == ("stored", None, (1,))
    page = stored(passage, data)
    longest = settings().render.max_side
    across = max(1, round(min(size) * longest / along))
    assert page.shape == ((longest, across) if height > width else (across, longest))
    line = page.mean(axis=1 if height > width else 0)
    middles = line[longest // 20 :: longest // 10]
    assert np.abs(middles - np.linspace(0, 255, 10).astype(np.uint8)).max() <= 1
    assert abs(float(page.mean()) - float(pixels.mean())) < 1
    passage.check()
