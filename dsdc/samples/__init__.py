"""Invented documents: varied, believable pages of RVL-CDIP's 16 classes with the text that stands on them.

`generate` writes files, `render_pages` draws in memory. Nothing is copied from anywhere: names, firms and sentences
come from word parts and a grammar, pictures from shapes, handwriting from the public-domain Hershey strokes.
"""

from __future__ import annotations

from dsdc.samples.generate import GROUND_TRUTH, LABEL_FILE, generate, render_pages
from dsdc.samples.model import LABELS, Kind, Sample

__all__ = ["GROUND_TRUTH", "LABELS", "LABEL_FILE", "Kind", "Sample", "generate", "render_pages"]
