"""Documents to page images, and page images to stored bytes."""

from dsdc.processors.render.codec import decode, encode
from dsdc.processors.render.renderer import PageRenderer

__all__ = ["PageRenderer", "decode", "encode"]
