"""Where a request comes from, for the throttle and the audit log."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from fastapi import Request

from dsdc.settings import secrets, settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# More proxies than anybody has in a row; who sends more entries gains nothing by it.
MAX_HOPS = 16
MAX_CHARS = 1024

#: Whoever shows DSDC_SECRET_PROXY_TOKEN here is a trusted proxy, wherever it runs. So the web page is believed on a
#: machine whose other programs, and whoever comes through them, share its address and are not.
PROXY_TOKEN_HEADER = "X-DSDC-Proxy-Token"  # noqa: S105


@dataclass(frozen=True)
class Origin:
    """`address` is an IP address in its canonical form, or None where the server knows none."""

    address: str | None
    request_id: str | None

    @property
    def household(self) -> str | None:
        """The address, or the /64 around an IPv6 address: whoever has one of those has all of them."""
        if self.address is None or ":" not in self.address:
            return self.address
        return str(ipaddress.ip_network(f"{self.address}/64", strict=False))


#: Work that no request asked for: the command line's.
LOCAL = Origin(None, None)


def request_id(request: Request) -> str | None:
    """The id that the answer and every log line of this request carry."""
    return request.scope.get("state", {}).get("request_id")


def origin_of(request: Request) -> Origin:
    """The client, as far as it can be known.

    X-Forwarded-For counts only from `web.trusted_proxies`, and from whoever shows the proxies' token.
    """
    peer = _parsed(request.client.host.partition("%")[0]) if request.client else None
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    trusted: Sequence[Network] = settings().web.trusted_proxies
    if peer is not None and _shows_token(request):
        trusted = (*trusted, ipaddress.ip_network(peer))
    client = client_address(peer, forwarded, trusted)
    return Origin(str(client) if client else None, request_id(request))


def _shows_token(request: Request) -> bool:
    given, wanted = request.headers.get(PROXY_TOKEN_HEADER), secrets().values.get("proxy_token")
    if given is None or wanted is None:
        return False
    return hmac.compare_digest(given.encode(), wanted.get_secret_value().encode())


def client_address(peer: Address | None, forwarded: str, trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is no trusted proxy's, going back from the connection through X-Forwarded-For.

    Each proxy appends whom it heard from, so the list is true from its end up to the first hop that is not trusted;
    what stands before that, anybody can have written. It ends, too, at an entry that is no plain address.
    """
    nearest = peer
    for entry in _last_entries(forwarded):
        if nearest is None or not _within(nearest, trusted):
            return nearest
        before = _parsed(entry.strip(" \t"))
        if before is None:
            return nearest
        nearest = before
    return nearest


def _last_entries(forwarded: str) -> list[str]:
    if not forwarded:
        return []
    entries = forwarded[-MAX_CHARS:].split(",")[::-1]
    # What is cut in the middle could look like another address.
    return (entries[:-1] if len(forwarded) > MAX_CHARS else entries)[:MAX_HOPS]


def _parsed(text: str) -> Address | None:
    """An address without port, brackets or zone; IPv4 written as IPv6 is IPv4."""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
