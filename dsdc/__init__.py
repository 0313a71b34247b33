"""Document classification with full lineage."""

__version__ = "0.1.0"
