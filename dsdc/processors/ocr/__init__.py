"""Page images and PDF pages to text."""

from dsdc.processors.ocr.reader import TesseractReader

__all__ = ["TesseractReader"]
