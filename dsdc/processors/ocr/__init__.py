"""Page images and PDF pages to text."""

from dsdc.processors.ocr.reader import PageReader

__all__ = ["PageReader"]
