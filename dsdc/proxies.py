"""Programs of this machine are reached directly, whatever proxy the environment names."""

from __future__ import annotations

from collections.abc import Mapping

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_VARIABLES = ("no_proxy", "NO_PROXY")  # where both are set, some libraries read only the first


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to `environment` so that no library asks a proxy for a service on loopback.

    For libraries that let nobody say so in the call: MLflow's client, Airflow's tasks.
    """
    named = ",".join(environment.get(name, "") for name in _VARIABLES).split(",")
    hosts = dict.fromkeys(host.strip() for host in (*named, *_LOOPBACK) if host.strip())
    return dict.fromkeys(_VARIABLES, ",".join(hosts))
