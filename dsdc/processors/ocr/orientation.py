"""Which way up a page lies, from how it reads.

Tesseract is as sure of letters that stand upright (0.8 on forms) as it is unsure of them upside down (0.25), and its
layout follows lines that run down or up the page, so that a page on its side has tall words. A page is therefore read
as it lies. Unsure letters, or tall words, name the one turn that could be right, and a sample of the page, turned so,
says whether it is.

Tesseract's own detection (`osd.traineddata`) is not asked: it knows less and costs more. Of 63 forms and archive pages,
put in all four ways, were judged right:

================================  =======  ==  ===  ===  ======================
                                  upright  90  180  270  s an upright page
================================  =======  ==  ===  ===  ======================
detection, of the enlarged page   56       52  55   50   0.14 (0.4 for reading)
how it reads                      63       59  61   61   0.01
================================  =======  ==  ===  ===  ======================
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from dsdc.processors.contract import Word

#: Mean confidence of letters. Upright forms have 0.62 or more; upside down, one page in a hundred reaches 0.48.
SURE = 0.5
#: What a turn must bring: that much more confidence, and that many times the letters weighted by it. The right turn
#: brings 0.3 to 0.7 and 2 to 10 times.
SURER = 0.1
MORE = 1.3
#: Lines that run up have been read as well as their print allows: upright they need not be read better.
AS_MANY = 0.9
#: Words of a sample: a quarter of what was read, within these.
SAMPLE = (6, 25)

#: Modes of `page_segmentation` that see to orientation themselves, or read nothing.
_BY_ITSELF = frozenset({0, 1, 2, 12})
_TELLING = 3  # letters from which a word's shape says which way its line runs
_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}

Box = tuple[int, int, int, int]


def sureness(words: Sequence[Word]) -> float:
    """Mean confidence over letters, 0 to 1."""
    letters = sum(len(word.text) for word in words)
    return _read(words) / letters if letters else 0.0


def possible_turn(words: Sequence[Word], page_segmentation: int) -> int:
    """Degrees clockwise by which the page may have to be turned; 0 where it stands as it should.

    Pages on their side are found with `page_segmentation` 3 alone: other modes do not look for lines that run up.
    """
    if not words or page_segmentation in _BY_ITSELF:
        return 0
    sure = sureness(words) >= SURE
    if _tall(words):
        return 270 if sure else 90
    return 0 if sure else 180


def needs_no_sample(words: Sequence[Word]) -> bool:
    """Whether the words themselves say how the page lies: they are sure, on lines that run up or down."""
    return _tall(words) and sureness(words) >= SURE


def gains(turned: Sequence[Word], as_it_lies: Sequence[Word]) -> bool:
    """Whether what was read turned is so much better that the turn is right."""
    return sureness(turned) >= sureness(as_it_lies) + SURER and _read(turned) >= MORE * _read(as_it_lies)


def reads_better(turned: Sequence[Word], as_it_lies: Sequence[Word]) -> bool:
    """Whether the words of the whole turned page are the ones to keep."""
    if needs_no_sample(as_it_lies):
        return _read(turned) > AS_MANY * _read(as_it_lies)
    return gains(turned, as_it_lies)


def samples(words: Sequence[Word]) -> list[tuple[Sequence[Word], Box]]:
    """Up to two runs of words close together, the closest first, and the box (left, top, right, bottom) of each.

    The second is for where nothing can be read of the first, because its box cuts through lines.
    """
    count = min(max(len(words) // 4, SAMPLE[0]), SAMPLE[1], len(words))
    starts = range(len(words) - count + 1)
    spread = [_spread(words[start : start + count]) for start in starts]
    first = min(starts, key=spread.__getitem__)
    apart = [start for start in starts if abs(start - first) >= count]
    chosen = [first, *([min(apart, key=spread.__getitem__)] if apart else [])]
    return [(words[start : start + count], _around(words[start : start + count])) for start in chosen]


def turned(image: Image.Image, degrees: int) -> Image.Image:
    """`image` turned clockwise by 90, 180 or 270 degrees, pixel for pixel."""
    return image.transpose(_TURNS[degrees])


def turned_back(word: Word, degrees: int, size: tuple[int, int]) -> Word:
    """`word` of the turned page with its box on the page of `size` as it lies."""
    left, top, width, height = word.left, word.top, word.width, word.height
    if degrees == 90:
        left, top, width, height = top, size[1] - left - width, height, width
    elif degrees == 180:
        left, top = size[0] - left - width, size[1] - top - height
    else:
        left, top, width, height = size[0] - top - height, left, height, width
    return Word(word.text, left, top, width, height, word.confidence)


def _read(words: Sequence[Word]) -> float:
    """Letters that are right, by the engine's own reckoning."""
    return sum(len(word.text) * word.confidence for word in words)


def _tall(words: Sequence[Word]) -> bool:
    telling = [word for word in words if len(word.text) >= _TELLING]
    return sum(word.height > word.width for word in telling) * 2 > len(telling)


def _around(words: Sequence[Word]) -> Box:
    return (
        min(word.left for word in words),
        min(word.top for word in words),
        max(word.left + word.width for word in words),
        max(word.top + word.height for word in words),
    )


def _spread(words: Sequence[Word]) -> float:
    """Square pixels a letter."""
    left, top, right, bottom = _around(words)
    return (right - left) * (bottom - top) / sum(len(word.text) for word in words)
