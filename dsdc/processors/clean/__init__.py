"""Raw text to text ready for embedding."""

from dsdc.processors.clean.cleaner import TextCleaner
from dsdc.processors.clean.marks import MarkCleaner

__all__ = ["MarkCleaner", "TextCleaner"]
