from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsdc.errors import CorruptFile
from dsdc.processors.embed.preprocess import WHITE, PageFit, stack

FIT = PageFit(384, 288)


def page(mode: str, size: tuple[int, int] = (1700, 2200)) -> Image.Image:
    """A white page with a black frame along its very edge, and a bar."""
    image = Image.new("L", size, WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=0, width=30)
    draw.rectangle((400, 300, 1200, 500), fill=0)
    return image.convert(mode)


def test_the_whole_page_is_kept_with_its_aspect_ratio_on_white() -> None:
    pixels = FIT(page("L"))
    assert pixels.shape == (384, 288)
    # 1700 x 2200 at 288 wide is 373 high: 5 and 6 white rows above and below, then the frame on all four sides.
    assert (pixels[:5] == WHITE).all()
    assert (pixels[-5:] == WHITE).all()
    assert (pixels[6:9, 100] < 64).all()
    assert (pixels[-9:-7, 100] < 64).all()
    assert (pixels[100, :3] < 64).all()
    assert (pixels[100, -3:] < 64).all()


@pytest.mark.parametrize("size", [(5000, 40), (40, 5000), (1, 1), (288, 384)])
def test_extreme_shapes_fit(size: tuple[int, int]) -> None:
    assert FIT(Image.new("L", size, 0)).shape == (384, 288)


def test_one_bit_pages_keep_their_strokes_as_grey() -> None:
    thin = Image.new("1", (1700, 2200), 1)
    ImageDraw.Draw(thin).line((100, 0, 100, 2199), fill=0, width=2)
    column = FIT(thin)[200]
    assert 0 < column.min() < 250
    assert len(np.unique(column)) > 2  # grey levels, which nearest-neighbour on 1 bit would not give


@pytest.mark.parametrize("mode", ["1", "RGB", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_mode_gives_the_page_that_grey_gives(mode: str) -> None:
    given = page("L").convert("I").point(lambda v: v * 256).convert("I;16") if mode == "I;16" else page(mode)
    pixels = FIT(given).astype(int)
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    assert np.abs(grey - FIT(page("L"))).max() <= 3


def test_transparency_is_white_paper() -> None:
    assert (FIT(Image.new("RGBA", (100, 100), (0, 0, 0, 0))) == WHITE).all()


def test_the_input_is_not_changed() -> None:
    image = page("1")
    before = image.tobytes()
    FIT(image)
    assert (image.mode, image.size, image.tobytes()) == ("1", (1700, 2200), before)


def test_a_truncated_page_is_the_documents_fault() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((600, 800), 60).save(buffer, "JPEG")
    with Image.open(io.BytesIO(buffer.getvalue()[:-5000])) as image, pytest.raises(CorruptFile, match="decoded"):
        FIT(image)


def test_grey_pages_stay_one_channel_and_a_coloured_one_makes_three() -> None:
    grey, red = FIT(page("L")), FIT(Image.new("RGB", (288, 384), (255, 0, 0)))
    assert stack([grey, grey]).shape == (2, 1, 384, 288)
    mixed = stack([grey, red])
    assert mixed.shape == (2, 3, 384, 288)
    assert (mixed[0] == grey).all()
    assert mixed[1, :, 0, 0].tolist() == [255, 0, 0]
