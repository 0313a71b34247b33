"""What the launchers share: becoming another program with an environment that no file and no command line shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from dsdc.errors import MissingSystemPackage

# Programs that are not ours see only these of our variables, and no secret.
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "DSDC_PLATFORM", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Command:
    """A program, its arguments (no secrets: everyone can read them) and the variables added for it."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Start from a bare environment instead of this process's own.
    bare: bool = False

    def environment(self) -> dict[str, str]:
        """The whole environment the program gets."""
        passed = {key: os.environ[key] for key in _PASSED if key in os.environ} if self.bare else dict(os.environ)
        return passed | dict(self.variables)

    def become(self) -> None:
        """Turn this process into the program; returns never."""
        os.execvpe(self.arguments[0], self.arguments, self.environment())  # noqa: S606


def program_path(*names: str, package: str) -> str:
    """The first of `names` that is installed.

    Raises:
        MissingSystemPackage: none is.
    """
    for name in names:
        # Debian keeps some servers in sbin, which is not on everyone's PATH.
        if found := shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin"):
            return found
    raise MissingSystemPackage(f"{names[0]} is not installed.", hint=f"apt-get install {package}")
