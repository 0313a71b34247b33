"""Typed Python clients of the platform's HTTP services, for programs that block and for those that do not.

::

    with Client.from_settings() as dsdc:
        dsdc.sign_in("ada", password)
        answer = dsdc.predict(Path("letter.pdf"))

A service signs in with its API key: `dsdc.sign_in_with_key(key)`. Tokens are renewed before they expire. What a service
refuses is raised as the error of `dsdc.errors` that it raised.
"""

from __future__ import annotations

from dsdc.client.asynchronous import AsyncClient
from dsdc.client.blocking import Client
from dsdc.client.calls import Document
from dsdc.client.failures import BatchUnfinished, RequestRefused, ServiceUnreachable

__all__ = ["AsyncClient", "BatchUnfinished", "Client", "Document", "RequestRefused", "ServiceUnreachable"]
