"""What has to be done now and then, whoever asks for it."""

from __future__ import annotations

from dsdc.errors import PurposeFailed
from dsdc.pipeline.erasure import forget, resume
from dsdc.pipeline.erasure_plan import plan_expired
from dsdc.pipeline.fsck import fsck
from dsdc.settings import settings
from dsdc.storage import open_storage

_NAMED = 10


def check_store(*, repair: bool, hashes: bool) -> dict[str, int]:
    """Compare store and database; how much was compared.

    Raises:
        PurposeFailed: they do not agree, and it was not (or could not be) mended.
    """
    config = settings()
    report = fsck(config, open_storage(config), repair=repair, hashes=hashes)
    if not report.clean:
        left = [finding for finding in report.findings if not finding.repaired]
        named = "; ".join(f"{finding.kind} {finding.where}: {finding.detail}" for finding in left[:_NAMED])
        raise PurposeFailed(f"{len(left)} findings: {named}", hint="See `dsdc fsck`; --repair mends what is safe.")
    return {"documents": report.documents, "images": report.images, "rejected": report.rejected, "files": report.files}


def forget_expired(*, author: str) -> dict[str, int]:
    """Finish what was begun, and forget what is older than `retention.days`; how much that was.

    Raises:
        SettingsError: it is not set.
    """
    config = settings()
    storage, reason = open_storage(config), f"retention.days is {config.retention.days}"
    begun = resume(config, storage, author=author)
    plan = plan_expired(config)
    done = begun | forget(config, storage, plan.documents, author=author, reason=reason, told=plan.told(), expired=True)
    kinds = {kind for one in done.values() for kind in one}
    return {"documents": len(done), **{kind: sum(one.get(kind, 0) for one in done.values()) for kind in sorted(kinds)}}
