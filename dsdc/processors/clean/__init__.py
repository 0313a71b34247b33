"""Raw text to text ready for embedding."""

from dsdc.processors.clean.cleaner import TextCleaner

__all__ = ["TextCleaner"]
