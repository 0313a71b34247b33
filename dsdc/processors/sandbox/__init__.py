"""Untrusted bytes are parsed in child processes with limits; this room starts them and talks to them."""

from dsdc.processors.sandbox.parsers import Parsers
from dsdc.processors.sandbox.processors import SandboxedReader, SandboxedRenderer, SandboxedUnpacker, crashes

__all__ = ["Parsers", "SandboxedReader", "SandboxedRenderer", "SandboxedUnpacker", "crashes"]
