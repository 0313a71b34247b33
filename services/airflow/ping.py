"""`python -m services.airflow.ping`: status 0 when this container's Celery worker answers; a container's health check.

A bare Celery application asks: loading Airflow for that would take seconds of every minute.
"""

from __future__ import annotations

import os
import socket
import sys

from celery import Celery
from kombu.exceptions import OperationalError

from dsdc.errors import DsdcError
from services.airflow.cluster import broker_url

TIMEOUT_S = 5.0


def answers(broker: str, worker: str) -> bool:
    """Whether the worker of that name answers within five seconds."""
    with Celery(broker=broker) as application:
        try:
            return bool(application.control.inspect(destination=[worker], timeout=TIMEOUT_S).ping())
        except OperationalError:
            return False


def main() -> int:
    """Exit status of the check."""
    try:
        return 0 if answers(f"{broker_url(os.environ)}/0", f"celery@{socket.gethostname()}") else 1
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
