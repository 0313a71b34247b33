"""What else is known of a document once it has been read: n-grams of its text, and where its words stand."""

from dsdc.processors.describe.contract import CountDescriber, Described, Describer, ReadPage, VectorDescriber
from dsdc.processors.describe.layout import WordLayout
from dsdc.processors.describe.ngrams import CharacterNgrams, WordNgrams

__all__ = [
    "CharacterNgrams",
    "CountDescriber",
    "Described",
    "Describer",
    "ReadPage",
    "VectorDescriber",
    "WordLayout",
    "WordNgrams",
]
