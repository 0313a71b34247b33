"""`python services/base/prepare.py`: what the compose deployment needs from the host before it starts.

Splits `.secrets` into one file a secret under logs/run/secrets (0700, ignored by git), so that each container is given
only the secrets it needs, and writes logs/run/compose.env with the user that all containers run as: yourself, or 10001
when you are root. Safe to run again. Only the standard library, so any Python 3.11 will do.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTAINER_USER = 10001
PREFIX = "DSDC_SECRET_"
#: Secrets that only the compose deployment has a use for.
NEEDED = ("REDIS", "S3_ACCESS", "S3_SECRET", "GRAFANA_ADMIN", "DSDC_ADMIN")
#: Folders of the host that containers write to.
SHARED = ("data/to_ingest", "data/rejected")


class PrepareError(Exception):
    """The deployment cannot be prepared."""


def read_secrets(file: Path) -> dict[str, str]:
    """`NAME -> value` of `.secrets`, without the prefix.

    Raises:
        PrepareError: the file or a secret that compose needs is missing.
    """
    if not file.is_file():
        raise PrepareError(f"There is no {file.name}; run ./scripts/prepare.sh, which writes it.")
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    found = {key.strip().removeprefix(PREFIX): re.sub(r"^(['\"])(.*)\1$", r"\2", value) for key, _, value in pairs}
    missing = [name for name in NEEDED if not found.get(name)]
    if missing:
        keys = ", ".join(f"{PREFIX}{name}" for name in missing)
        raise PrepareError(f"{keys} missing from {file.name}; run ./scripts/prepare.sh, which adds what is missing.")
    return found


def htpasswd(user: str, password: str, salt: bytes) -> str:
    """A line for nginx's auth_basic_user_file.

    Salted SHA-1 is what every build of nginx reads; it is enough here because the password is 256 random bits, which
    nobody guesses however fast the hash.
    """
    digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324
    return f"{user}:{{SSHA}}{base64.b64encode(digest + salt).decode()}\n"


def secret_files(found: dict[str, str], salt: bytes) -> dict[str, str]:
    """File name -> content: one a secret, and two that other programs want in a form of their own."""
    files = {name.lower(): value for name, value in found.items()}
    files["redis_conf"] = f"requirepass {found['REDIS']}\n"
    files["gateway_users"] = htpasswd("admin", found["DSDC_ADMIN"], salt)
    return files


def container_owner(uid: int, gid: int) -> tuple[int, int]:
    """The user and group of the containers: whoever starts them, never root."""
    return (uid, gid) if uid else (CONTAINER_USER, CONTAINER_USER)


def write_private(path: Path, content: str, owner: tuple[int, int]) -> None:
    """Write a file that its owner alone may read, complete from its first moment under its name."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    hand_over(draft, owner)
    draft.replace(path)


def hand_over(path: Path, owner: tuple[int, int]) -> None:
    """Only root can give files away, and only root needs to."""
    if os.getuid() == 0:
        os.chown(path, *owner)


def prepare(root: Path) -> list[Path]:
    """Write every file; returns them.

    Raises:
        PrepareError: see `read_secrets`.
    """
    found = read_secrets(root / ".secrets")
    owner = container_owner(os.getuid(), os.getgid())
    folder = root / "logs" / "run" / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    hand_over(folder, owner)
    files = secret_files(found, os.urandom(8))
    for name, content in files.items():
        write_private(folder / name, content, owner)
    for stale in {path.name for path in folder.iterdir()} - set(files):
        (folder / stale).unlink()
    for name in SHARED:
        (root / name).mkdir(parents=True, exist_ok=True)
        hand_over(root / name, owner)
    return [*(folder / name for name in files), *_plain_files(root, owner)]


def _plain_files(root: Path, owner: tuple[int, int]) -> list[Path]:
    run = root / "logs" / "run"
    variables = run / "compose.env"
    variables.write_text(f"DSDC_UID={owner[0]}\nDSDC_GID={owner[1]}\n", encoding="utf-8")
    # Compose cannot mount a file that may be absent, so there is always one.
    own = root / "config.local.yaml"
    local = run / "config.local.yaml"
    local.write_text(own.read_text(encoding="utf-8") if own.is_file() else "{}\n", encoding="utf-8")
    local.chmod(0o644)
    return [variables, local]


def main() -> int:
    """Say what was written, or what is missing."""
    try:
        files = prepare(ROOT)
    except PrepareError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(files)} files for compose under {ROOT / 'logs' / 'run'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
