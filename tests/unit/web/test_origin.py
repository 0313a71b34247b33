"""Whose address a request is counted under, with and without proxies in front."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from dsdc.errors import SettingsError
from dsdc.settings import secrets, settings
from dsdc.web.origin import MAX_CHARS, MAX_HOPS, PROXY_TOKEN_HEADER, Origin, client_address, origin_of
from tests.projects import forget_settings

PROXY = "10.9.0.2"
TRUSTED = tuple(ipaddress.ip_network(n) for n in ("10.9.0.0/24", "fd00:9::/64"))


def client(peer: str, forwarded: str) -> str | None:
    found = client_address(ipaddress.ip_address(peer), forwarded, TRUSTED)
    return None if found is None else str(found)


CASES = {
    "nobody in between": ("198.51.100.7", "", "198.51.100.7"),
    "a stranger's word counts for nothing": ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
    "a proxy's does": (PROXY, "203.0.113.1", "203.0.113.1"),
    "only the last entry is the proxy's own": (PROXY, "1.2.3.4, 203.0.113.1", "203.0.113.1"),
    "two proxies in a row": (PROXY, "1.2.3.4, 203.0.113.1, 10.9.0.77", "203.0.113.1"),
    "all of them are proxies": (PROXY, "10.9.0.78, 10.9.0.77", "10.9.0.78"),
    "IPv6": ("fd00:9::1", "2001:DB8::0:1", "2001:db8::1"),
    "IPv4 written as IPv6": (PROXY, "::ffff:203.0.113.1", "203.0.113.1"),
    "a proxy written as IPv6": (PROXY, "203.0.113.1, ::ffff:10.9.0.77", "203.0.113.1"),
    "the proxy says nothing": (PROXY, "", PROXY),
    "spaces and tabs": (PROXY, " \t203.0.113.1\t ", "203.0.113.1"),
    "nothing but commas": (PROXY, ",,,", PROXY),
    "unknown": (PROXY, "unknown", PROXY),
    "an obfuscated name": (PROXY, "_hidden", PROXY),
    "with a port": (PROXY, "203.0.113.1:80", PROXY),
    "in brackets": (PROXY, "[2001:db8::1]", PROXY),
    "with a zone": (PROXY, "fe80::1%eth0", PROXY),
    "octal": (PROXY, "0203.0.113.1", PROXY),
    "a number": (PROXY, "3405803777", PROXY),
    "a network": (PROXY, "203.0.113.0/24", PROXY),
    "SQL": (PROXY, "203.0.113.1'; DROP TABLE users; --", PROXY),
    "a line end": (PROXY, "203.0.113.1\n", PROXY),
    "Arabic digits": (PROXY, "٢٠٣.0.113.1", PROXY),
    "what stands before nonsense": (PROXY, "203.0.113.1, nonsense", PROXY),
    "nonsense before what counts": (PROXY, "nonsense, 203.0.113.1", "203.0.113.1"),
    "a megabyte": (PROXY, "1.1.1.1," * 130_000 + "203.0.113.1", "203.0.113.1"),
}


@pytest.mark.parametrize("case", CASES)
def test_who_it_is(case: str) -> None:
    peer, forwarded, expected = CASES[case]
    assert client(peer, forwarded) == expected


@given(st.text(max_size=200))
def test_no_header_of_a_stranger_changes_anything(text: str) -> None:
    assert client("198.51.100.7", text) == "198.51.100.7"


@given(st.text(max_size=200))
def test_whatever_a_client_writes_before_the_proxys_word_is_ignored(text: str) -> None:
    assert client(PROXY, f"{text}, 203.0.113.1") == "203.0.113.1"


@given(st.text(max_size=3000))
def test_any_header_gives_an_address(text: str) -> None:
    ipaddress.ip_address(str(client(PROXY, text)))


def test_what_is_cut_off_in_the_middle_is_not_taken_for_an_address() -> None:
    hops = ", ".join(["10.9.0.77"] * (MAX_HOPS - 3))
    padded = "9" + " " * (MAX_CHARS - len(hops) - 8) + "1.2.3.4," + hops
    assert client(PROXY, padded) == "10.9.0.77"


def test_a_house_with_a_million_addresses_is_one() -> None:
    assert Origin("2001:db8::1", None).household == Origin("2001:db8::ffff:2", None).household == "2001:db8::/64"
    assert Origin("203.0.113.1", None).household == "203.0.113.1"
    assert Origin(None, None).household is None


def request(peer: tuple[str, int] | None, *forwarded: str, token: str | None = None) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    if token is not None:
        headers.append((PROXY_TOKEN_HEADER.lower().encode(), token.encode()))
    return Request({"type": "http", "client": peer, "headers": headers, "state": {"request_id": "r"}})


def test_requests_follow_the_setting(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert origin_of(request((PROXY, 1), "203.0.113.1")).address == PROXY
    monkeypatch.setenv("DSDC_WEB_TRUSTED_PROXIES", '["10.9.0.2/32"]')
    forget_settings()
    assert origin_of(request((PROXY, 1), "203.0.113.1")) == Origin("203.0.113.1", "r")
    assert origin_of(request((PROXY, 1), "1.1.1.1", "203.0.113.1")).address == "203.0.113.1"  # two headers are one list
    assert origin_of(request(("10.9.0.3", 1), "203.0.113.1")).address == "10.9.0.3"
    assert origin_of(request(("fe80::1%eth0", 1))).address == "fe80::1"
    assert origin_of(request(None, "203.0.113.1")).address is None
    assert origin_of(request(("/run/socket", 1), "203.0.113.1")).address is None


def test_who_shows_the_proxies_token_is_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, token = ("127.0.0.1", 1), secrets().value("proxy_token")
    assert origin_of(request(page, "203.0.113.1", token=token)).address == "203.0.113.1"
    assert origin_of(request(page, "1.2.3.4, 203.0.113.1", token=token)).address == "203.0.113.1"
    assert origin_of(request(page, token=token)).address == "127.0.0.1"
    assert origin_of(request(("::1", 1), "203.0.113.1", token=token)).address == "203.0.113.1"
    for other in ("", "wrong", token[:-1], f"{token}x", "Ä", "${DSDC_SECRET_PROXY_TOKEN}"):
        assert origin_of(request(page, "203.0.113.1", token=other)).address == "127.0.0.1"
    kept = [line for line in (project / ".secrets").read_text().splitlines() if "PROXY_TOKEN" not in line]
    (project / ".secrets").write_text("\n".join(kept))
    forget_settings()
    for other in ("", "None", token):  # no secret is known: nobody can show it
        assert origin_of(request(page, "203.0.113.1", token=other)).address == "127.0.0.1"


@pytest.mark.parametrize("value", ['["0.0.0.0/0"]', '["::/0"]', '["10.9.0.2/24"]', '["gateway"]', '["10.9.0.2/33"]'])
def test_settings_that_trust_too_much_or_make_no_sense(
    project: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("DSDC_WEB_TRUSTED_PROXIES", value)
    forget_settings()
    with pytest.raises(SettingsError, match=r"web\.trusted_proxies"):
        settings()
