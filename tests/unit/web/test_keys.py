"""Signing keys on disk."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dsdc.errors import NotFound, SecretsError
from dsdc.web.keys import PUBLISH_AHEAD, KeyFolder, jwks, signing_key, thumbprint

WEEK = timedelta(days=7)


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / ".keys")


def age(folder: KeyFolder, kid: str, by: timedelta) -> None:
    """Make a key older than it is: its age stands in the file's name."""
    path = next(p for p in folder.folder.iterdir() if kid in p.name)
    created = next(k for k in folder.pairs() if k.kid == kid).created - by
    path.rename(path.with_name(f"{created:%Y%m%dT%H%M%S%fZ}-{kid}.pem"))


def test_the_first_key_is_made_once_and_is_private(folder: KeyFolder) -> None:
    first = folder.ensure()
    assert [k.kid for k in folder.ensure()] == [first[0].kid]
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in folder.folder.iterdir()] == [0o600]


def test_the_thumbprint_is_rfc_7638s() -> None:
    """The RFC's own example is RSA; this P-256 key is RFC 7517's (appendix A.1), its thumbprint computed by hand."""
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }
    assert thumbprint(jwk | {"kid": "1", "use": "enc"}) == "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"


def test_jwks_holds_no_private_part(folder: KeyFolder) -> None:
    [key] = jwks(folder.ensure())["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert "private" not in repr(folder.pairs()[0])


def test_a_new_key_is_published_before_it_signs(folder: KeyFolder) -> None:
    [old] = folder.ensure()
    age(folder, old.kid, timedelta(days=1))
    new, retired = folder.rotate(keep=WEEK)
    keys = folder.pairs()
    assert retired == []
    assert [k.kid for k in keys] == [old.kid, new.kid]
    assert signing_key(keys, datetime.now(UTC)).kid == old.kid
    assert signing_key(keys, datetime.now(UTC) + PUBLISH_AHEAD).kid == new.kid


def test_a_key_is_retired_once_nothing_that_it_signed_can_be_valid(folder: KeyFolder) -> None:
    [first] = folder.ensure()
    second, _ = folder.rotate(keep=WEEK)
    age(folder, first.kid, timedelta(days=30))
    age(folder, second.kid, timedelta(days=6))
    _, retired = folder.rotate(keep=WEEK)
    assert retired == []  # the first signed until six days ago
    age(folder, second.kid, timedelta(days=2))
    third, retired = folder.rotate(keep=WEEK)
    assert retired == [first.kid]
    assert third.kid in {k.kid for k in folder.pairs()}


def test_revoking_leaves_the_new_key_alone_and_it_signs_at_once(folder: KeyFolder) -> None:
    [old] = folder.ensure()
    new, retired = folder.rotate(keep=WEEK, revoke=True)
    assert retired == [old.kid]
    assert signing_key(folder.pairs(), datetime.now(UTC)).kid == new.kid


def test_keys_that_others_may_read_are_refused(folder: KeyFolder) -> None:
    folder.ensure()
    next(folder.folder.iterdir()).chmod(0o640)
    with pytest.raises(SecretsError, match="others may read it"):
        folder.pairs()
    next(folder.folder.iterdir()).chmod(0o600)
    folder.folder.chmod(0o755)
    with pytest.raises(SecretsError, match="chmod 700"):
        folder.pairs()


def test_a_file_that_is_no_key_is_named(folder: KeyFolder) -> None:
    folder.ensure()
    stray = folder.folder / "20260101T000000000000Z-x.pem"
    stray.write_text("not a key")
    stray.chmod(0o600)
    with pytest.raises(SecretsError, match="is not a signing key"):
        folder.pairs()


def test_a_key_that_is_not_there_cannot_be_retired(folder: KeyFolder) -> None:
    folder.ensure()
    with pytest.raises(NotFound):
        folder.retire("nobody")
