"""Does the store hold what the database says, and the database what the store holds?

The invariant: every input byte is in exactly one of inbox, store with a row, quarantine with its reason; every row's
file exists and has the hash that the row says; what is said to be done has its rows.
"""

from dsdc.pipeline.fsck.check import fsck
from dsdc.pipeline.fsck.report import YOUNG_S, Finding, FsckReport, Kind

__all__ = ["YOUNG_S", "Finding", "FsckReport", "Kind", "fsck"]
