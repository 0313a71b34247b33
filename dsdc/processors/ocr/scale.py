"""At what size a page is read.

Tesseract's models know letters some 30 px high: 10 pt at 200 to 300 dpi. Scans kept at 1,000 px a page (about 90 dpi)
read far better at twice their size. Measured on 24 FUNSD forms (words matched to the ground truth by
their boxes) and 24 archive pages, tesserocr 5.5.4, tessdata_fast eng, one thread:

==============  =====  ==============  ============  ==================
enlarged        CER    words correct   s a form      s an archive page
==============  =====  ==============  ============  ==================
not             0.265  0.594           0.40          0.44
1.5 x           0.176  0.708           0.61          0.76
2 x (bicubic)   0.166  0.734           0.64          0.86
2 x (Lanczos)   0.170  0.740           0.60          0.90
3 x (Lanczos)   0.173  0.742           0.94          1.22
==============  =====  ==============  ============  ==================
"""

from __future__ import annotations

from PIL import Image

from dsdc.processors.ocr.skew import straightened

#: Pages below this are enlarged; 150 dpi faxes and receipts lie above it.
ENLARGE_BELOW_DPI = 140
ENLARGEMENT = 2

_PAGE_INCHES = 11  # the longer side of the usual paper, for images that do not say how big they are
_LIKELY_INCHES = (3.0, 24.0)  # cameras write 72 dpi into anything; such a page would be a poster
_TESSERACT_DPI = (70, 2400)  # what Tesseract takes for credible


def resolution(size: tuple[int, int], dpi: int | None) -> int:
    """Pixels an inch of a page of `size` pixels: what it says, where that makes a likely sheet, else an estimate."""
    longest = max(size)
    if dpi and _LIKELY_INCHES[0] <= longest / dpi <= _LIKELY_INCHES[1]:
        return dpi
    return max(1, round(longest / _PAGE_INCHES))


def prepare(
    image: Image.Image, dpi: int | None, degrees: float = 0.0, *, enlarge: bool = True
) -> tuple[Image.Image, int, int]:
    """The greyscale image to read, its resolution, and how many times the page image it is (1 or 2).

    Args:
        image: the page, in any mode.
        dpi: what the page image says.
        degrees: by which to turn it clockwise.
        enlarge: small scans, for an engine that reads them better so.
    """
    grey = image.convert("L")
    real = resolution(image.size, dpi)
    times = ENLARGEMENT if enlarge and real < ENLARGE_BELOW_DPI else 1
    if degrees:
        grey = straightened(grey, degrees, times)
    elif times > 1:
        grey = grey.resize((grey.width * times, grey.height * times), Image.Resampling.BICUBIC)
    return grey, min(max(real * times, _TESSERACT_DPI[0]), _TESSERACT_DPI[1]), times
