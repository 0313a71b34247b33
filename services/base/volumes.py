"""`python -m services.base.volumes UID GID FOLDER...`: give fresh named volumes to the containers' user.

An engine makes a volume that its image does not know as root's, and every container here runs as one unprivileged
user. This is the only thing that runs as root: without network, with CHOWN as its only capability, for a second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def give(folders: list[Path], uid: int, gid: int) -> list[Path]:
    """Change owner and mode of the folders that are not the user's yet, but of nothing inside; returns those."""
    changed = []
    for folder in folders:
        status = folder.stat()
        if (status.st_uid, status.st_gid) != (uid, gid):
            # While it is still root's: changing the mode of somebody else's folder would need another capability.
            folder.chmod(0o700)
            os.chown(folder, uid, gid)
            changed.append(folder)
    return changed


def main(arguments: list[str]) -> int:
    """Say what was changed."""
    if len(arguments) < 3 or not all(value.isdigit() for value in arguments[:2]):
        sys.stderr.write("usage: python -m services.base.volumes UID GID FOLDER...\n")
        return 2
    uid, gid = (int(value) for value in arguments[:2])
    if uid == 0:
        sys.stderr.write("The containers must not run as root: set DSDC_UID to an unprivileged user.\n")
        return 2
    changed = give([Path(name) for name in arguments[2:]], uid, gid)
    sys.stdout.write(f"{len(changed)} of {len(arguments) - 2} volumes handed to user {uid}.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
