"""The images' entrypoint: secret files become variables of this one process, then it becomes the command.

Compose mounts a secret as the file /run/secrets/<name>; the platform reads DSDC_SECRET_<NAME>. Passing them this way
keeps them out of the images, of the compose files and of `docker inspect`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

SECRETS = Path("/run/secrets")
OWNER = "DSDC_SECRET_DATABASE_OWNER"
# Files are made for the group too: the folders of the host are shared through it.
UMASK = 0o027


def secret_variables(folder: Path) -> dict[str, str]:
    """`DSDC_SECRET_<NAME>` for each file of the folder; empty when there is no folder."""
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {f"DSDC_SECRET_{path.name.upper()}": path.read_text(encoding="utf-8").strip() for path in files}


def with_password(url: str, password: str) -> str:
    """The database URL with a password, unless it carries one or names no user."""
    parts = urlsplit(url)
    if not parts.username or parts.password:
        return url
    user, _, address = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{address}"))


def container_environment(environment: Mapping[str, str], folder: Path = SECRETS) -> dict[str, str]:
    """The environment of the command.

    Only a container that holds the owner's secret gets the owner's password in DSDC_DATABASE_URL; for all others
    dsdc.settings fills in the user and password of the role they ask for.
    """
    made = dict(environment) | secret_variables(folder)
    if made.get("DSDC_DATABASE_URL") and OWNER in made:
        made["DSDC_DATABASE_URL"] = with_password(made["DSDC_DATABASE_URL"], made[OWNER])
    return made


def main(command: list[str]) -> int:
    """Become the command; returns only when that is impossible."""
    if not command:
        sys.stderr.write("usage: python -m services.base.entrypoint COMMAND [ARGUMENT...]\n")
        return 2
    os.umask(UMASK)
    try:
        os.execvpe(command[0], command, container_environment(os.environ))  # noqa: S606
    except FileNotFoundError:
        sys.stderr.write(f"{command[0]} is not in this image.\n")
    except PermissionError as error:
        sys.stderr.write(
            f"{error.filename} may not be read by user {os.getuid()}: start with ./scripts/start.sh --docker, which"
            " gives the secret files to the user of the containers.\n"
        )
    return 127


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
