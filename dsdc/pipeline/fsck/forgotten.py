"""Documents marked as forgotten of which something is left: whoever forgot them was ended before he was done.

And reports of replays that tell of them on this machine, if they were forgotten on another one.
"""

from __future__ import annotations

from dsdc.db.repositories.erasure import Erasure
from dsdc.db.session import transaction
from dsdc.pipeline import replay_reports
from dsdc.pipeline.erasure import finish
from dsdc.pipeline.fsck.places import Places


def check_forgotten(places: Places) -> None:
    """Look, report, and finish what was begun."""
    with transaction() as session:
        found = Erasure(session).unfinished()
    for document_id in found:
        if places.repair:
            finish(places.config, places.storage, document_id, author="fsck")
        detail = "It was forgotten on purpose, and something of it is left."
        places.report.found("remains", f"document {document_id}", detail, repaired=places.repair)
    for report in replay_reports.stale(places.config):
        if places.repair:
            replay_reports.remove(report)
        detail = "It tells of a document that was forgotten on purpose."
        places.report.found("remains", f"replay/{report.name}", detail, repaired=places.repair)
