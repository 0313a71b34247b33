"""Embedding of page images and texts with open_clip; the model `dsdc-lite` needs no download."""
