"""`python -m services.base.setup`: the first-run job of the compose deployment; everything else waits for its success.

Each step does what is missing and nothing else, so the job runs at every start.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import fsspec
from botocore.exceptions import BotoCoreError

from dsdc.db.setup import setup_database
from dsdc.errors import DsdcError, PurposeFailed, StorageError
from dsdc.log import configure, get_logger
from dsdc.settings import Settings, secrets, settings
from services.airflow.bootstrap import bootstrap

log = get_logger(__name__)
STEP_TIMEOUT_S = 1800


def bucket(config: Settings) -> None:
    """Make the bucket of storage.url.

    Raises:
        StorageError: the object store does not answer or refuses.
    """
    if not config.storage.url.startswith("s3://"):
        return
    name = config.storage.url.removeprefix("s3://").split("/")[0]
    store = fsspec.filesystem(
        "s3",
        key=secrets().value("s3_access"),
        secret=secrets().value("s3_secret"),
        client_kwargs={"endpoint_url": config.storage.endpoint} if config.storage.endpoint else {},
    )
    try:
        if not store.exists(name):
            store.mkdir(name)
    except (OSError, BotoCoreError) as error:
        raise StorageError(f"The bucket {name} cannot be made: {error}.", hint="Is storage.endpoint right?") from error


def administrator(_: Settings) -> None:
    """Make the platform's first account, `admin`, if there is none; an existing one keeps its password.

    Raises:
        PurposeFailed: the account could not be made.
    """
    _dsdc(
        *("users", "add", "admin", "--role", "admin", "--password-stdin", "--if-missing"),
        given=f"{secrets().value('dsdc_admin')}\n",
    )


def weights(_: Settings) -> None:
    """Fetch and pin the CLIP weights.

    Raises:
        PurposeFailed: they are not to be had.
    """
    _dsdc("clip", "fetch")


def _dsdc(*arguments: str, given: str = "") -> None:
    """The step as people take it, so that there is one way to do it."""
    done = subprocess.run(["dsdc", *arguments], input=given, text=True, timeout=STEP_TIMEOUT_S, check=False)
    if done.returncode:
        raise PurposeFailed(f"dsdc {' '.join(arguments)} failed.", hint="Its own words are in the lines above.")


def airflow(config: Settings) -> None:
    """Airflow's schema, administrator and pools."""
    bootstrap(config)


STEPS: tuple[tuple[str, Callable[[Settings], None]], ...] = (
    ("database", setup_database),
    ("bucket", bucket),
    ("administrator", administrator),
    ("weights", weights),
    ("airflow", airflow),
)


def main() -> int:
    """Take the steps in order; the first failure ends the job with what to do."""
    config = settings()
    configure(config.logging.level, config.logging.format, service="setup")
    try:
        for name, step in STEPS:
            log.info("setup.step", step=name)
            step(config)
    except DsdcError as error:
        log.error("setup.failed", step=name, error=str(error))  # noqa: TRY400  (a message for people, not a stack)
        return 1
    log.info("setup.done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
