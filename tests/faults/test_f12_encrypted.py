"""PDFs with passwords: an empty one is tried, any other is reported."""

from __future__ import annotations

import io

import pikepdf
import pytest

from tests.faults.documents import numbered_pdf
from tests.faults.invariant import rows
from tests.faults.passage import Passage

PLAIN = numbered_pdf(2)
#: Revision of the standard security handler: RC4 40 and 128 bits, AES 128 and 256.
REVISIONS = (2, 3, 4, 6)


def encrypted(user: str, revision: int = 6) -> bytes:
    """With an owner's password that nobody gives, and all permissions withdrawn."""
    out = io.BytesIO()
    nothing = pikepdf.Permissions(extract=False, accessibility=False, print_highres=False, print_lowres=False)
    secure = pikepdf.Encryption(
        owner="owner", user=user, R=revision, allow=nothing, aes=revision > 3, metadata=revision > 3
    )
    with pikepdf.open(io.BytesIO(PLAIN)) as document:
        document.save(out, encryption=secure)
    return out.getvalue()


def test_one_that_needs_a_password_is_quarantined_as_encrypted(passage: Passage) -> None:
    files = {f"revision {revision}.pdf": encrypted("secret", revision) for revision in REVISIONS}
    found = passage.render(files)
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(files, ("rejected", "encrypted", ()))
    assert all("Remove the password" in (one.message or "") for one in found.values())
    assert rows("SELECT DISTINCT attempts FROM rejected_documents") == [(1,)]
    passage.check()


@pytest.mark.parametrize("revision", REVISIONS)
def test_one_that_opens_with_an_empty_password_is_read_like_any_other(passage: Passage, revision: int) -> None:
    locked = encrypted("", revision)
    found = passage.render({"plain.pdf": PLAIN, "locked.pdf": locked})
    assert {name: one.brief for name, one in found.items()} == {
        "plain.pdf": ("stored", None, (1, 2)),
        "locked.pdf": ("stored", None, (1, 2)),
    }
    assert [passage.image(locked, page) for page in (1, 2)] == [passage.image(PLAIN, page) for page in (1, 2)]
    passage.run("text")
    texts = rows("SELECT page, raw_text, extraction FROM raw_texts ORDER BY page, id")
    # The lines are short; only a layer long enough is believed, the other is recognised.
    assert [(page, text) for page, text, _ in texts] == [(n, f"Page number {n}") for n in (1, 1, 2, 2)]
    passage.check()


def test_the_text_layer_of_one_that_opens_with_an_empty_password_is_used(passage: Passage) -> None:
    passage.configure(ocr_min_layer_chars=5)
    passage.render({"locked.pdf": encrypted("")})
    passage.run("text")
    assert rows("SELECT raw_text, extraction FROM raw_texts ORDER BY page") == [
        ("Page number 1", "text-layer"),
        ("Page number 2", "text-layer"),
    ]
    passage.check()


def test_a_handler_that_nobody_knows_is_encrypted_too(passage: Passage) -> None:
    unknown = encrypted("").replace(b"/Filter /Standard", b"/Filter /Foreign0")
    assert b"/Foreign0" in unknown
    assert passage.render({"foreign.pdf": unknown})["foreign.pdf"].brief == ("rejected", "encrypted", ())
    passage.check()


def test_one_that_is_cut_is_not_mended_into_pages_of_noise(passage: Passage) -> None:
    whole = encrypted("secret")
    found = passage.render({"cut.pdf": whole[: whole.rindex(b"startxref") - 40]})["cut.pdf"]
    assert found.state == "rejected"
    assert found.category in ("encrypted", "corrupt")
    passage.check()
