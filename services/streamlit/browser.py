"""Where the browser is that the page works for: the services count and note its requests under that address."""

from __future__ import annotations

import ipaddress

import streamlit as st

from dsdc.errors import SecretsError
from dsdc.settings import secrets
from dsdc.web.origin import PROXY_TOKEN_HEADER


def forwarding() -> dict[str, str]:
    """Headers that tell the services the browser's address, and why they may believe it.

    Empty for a browser on this machine: it is counted under the page's own address.
    """
    address = _address(st.context.ip_address)
    if address is None:
        return {}
    headers = {"X-Forwarded-For": address}
    try:
        return headers | {PROXY_TOKEN_HEADER: secrets().value("proxy_token")}
    except SecretsError:  # older than the token; believed where the page's own address is in web.trusted_proxies
        return headers


def _address(told: str | None) -> str | None:
    """What Streamlit says of the connection: an address, None for loopback, or what a proxy wrote, which may be any."""
    try:
        return str(ipaddress.ip_address((told or "").partition("%")[0]))
    except ValueError:
        return None
