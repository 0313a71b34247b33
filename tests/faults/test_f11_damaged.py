"""Files that are empty, cut, garbage, misnamed, or two things at once."""

from __future__ import annotations

import base64
import io
import zipfile

import numpy as np
from PIL import Image

from dsdc.settings import settings
from tests.faults.documents import (
    deflated,
    email,
    fax,
    noise,
    numbered_pdf,
    page_objects,
    pdf,
    saved,
    stream,
    written,
)
from tests.faults.invariant import rows, sha256_of
from tests.faults.passage import Passage

PDF = numbered_pdf(4)
PICTURE = noise(60, 40)
#: Media type -> a good file of it.
GOOD = {
    "application/pdf": PDF,
    "image/tiff": saved(PICTURE, "TIFF", compression="tiff_lzw"),
    "image/png": saved(PICTURE, "PNG"),
    "image/jpeg": saved(PICTURE, "JPEG"),
    "image/webp": saved(PICTURE, "WEBP", lossless=True),
    "image/bmp": saved(PICTURE, "BMP"),
    "message/rfc822": email(),
}


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("note.txt", "hello")
    return out.getvalue()


def test_what_is_no_document_is_refused_at_the_door_with_its_category(passage: Passage) -> None:
    garbage = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    expected = {
        "empty.pdf": (b"", "empty"),
        "zeros.tif": (bytes(5000), "unsupported"),
        "garbage.png": (b"\x00" + garbage, "unsupported"),
        "letter.pdf": (b"Dear Sir, this is no PDF.\n", "unsupported"),
        "archive.pdf": (archive(), "unsupported"),
        "picture.jpg": (saved(PICTURE, "GIF"), "unsupported"),
        "one byte.bmp": (b"B", "unsupported"),
    }
    found = passage.render({name: data for name, (data, _) in expected.items()})
    assert {name: one.brief for name, one in found.items()} == {
        name: ("refused", category, ()) for name, (_, category) in expected.items()
    }
    assert all(one.message and one.message.endswith(".") for one in found.values())
    passage.check()


def test_a_file_is_what_its_bytes_are_whatever_it_is_called(passage: Passage) -> None:
    endings = ["txt", "pdf", "png.exe", "tiff", "docx", "eml", "jpg"]
    files = {f"{number} misnamed.{endings[number]}": data for number, data in enumerate(GOOD.values())}
    found = passage.render(files)
    assert [one.media_type for one in found.values()] == list(GOOD)
    assert all(one.state == "stored" and one.category is None and one.pages for one in found.values())
    passage.check()


def test_a_file_that_is_two_things_is_the_one_that_it_begins_with(passage: Passage) -> None:
    gif, zipped = saved(PICTURE, "GIF"), archive()
    expected = {
        "jpeg and pdf": (GOOD["image/jpeg"] + PDF, "image/jpeg", "stored", None),
        "pdf and jpeg": (PDF + GOOD["image/jpeg"], "application/pdf", "stored", None),
        "pdf and zip": (PDF + zipped, "application/pdf", "stored", None),
        "png and zip": (GOOD["image/png"] + zipped, "image/png", "stored", None),
        "bmp and pdf": (GOOD["image/bmp"] + PDF, "image/bmp", "stored", None),
        "e-mail and pdf": (email(PDF), "message/rfc822", "stored", None),
        "pdf behind a line of text": (b"Produced by a printer\n" + PDF, "application/pdf", "stored", None),
        "zip and pdf": (zipped + PDF, None, "refused", "unsupported"),
        "gif and pdf": (gif + PDF, None, "refused", "unsupported"),
        "gif and jpeg": (gif + GOOD["image/jpeg"], None, "refused", "unsupported"),
    }
    found = passage.render({name: data for name, (data, *_) in expected.items()})
    assert {name: (one.media_type, one.state, one.category) for name, one in found.items()} == {
        name: tuple(rest) for name, (_, *rest) in expected.items()
    }
    assert [len(found[name].pages) for name in ("jpeg and pdf", "pdf and jpeg", "pdf and zip", "bmp and pdf")] == [
        *(1, 4, 4, 1)
    ]
    passage.check()


def test_one_page_formats_that_are_cut_or_spoilt_are_quarantined_as_corrupt(passage: Passage) -> None:
    files = {}
    for media_type, data in GOOD.items():
        form = media_type.rpartition("/")[2]
        if media_type.startswith("image/"):
            files |= {f"{form} cut at {share}": data[: int(len(data) * share)] for share in (0.4, 0.8)}
            files[f"{form} spoilt"] = data[:20] + bytes(len(data) - 20)
    files["pdf without a page"] = b"%PDF-1.7\nnothing of the kind\n"
    files["pdf of zeros"] = PDF[:20] + bytes(len(PDF))
    found = passage.render(files)
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(files, ("rejected", "corrupt", ()))
    passage.check()


def test_the_whole_pages_of_a_cut_fax_are_kept_and_it_is_marked_partial(passage: Passage) -> None:
    whole = fax(10)
    files = {f"{share}.tif": whole[: int(len(whole) * share)] for share in (0.3, 0.55, 0.9)}
    found = passage.render(files)
    for one in found.values():
        assert (one.state, one.category) == ("stored", "partial")
        assert one.pages == tuple(range(1, len(one.pages) + 1))
        assert f"page {len(one.pages) + 1}" in (one.message or "")
    kept = [len(one.pages) for one in found.values()]
    assert kept == sorted(kept)
    assert kept[-1] >= 8
    last = Image.open(io.BytesIO(passage.image(files["0.9.tif"], kept[-1])))
    assert last.mode == "1"
    passage.check()


def test_the_whole_pages_of_a_cut_pdf_are_kept_and_it_is_marked_partial(passage: Passage) -> None:
    """Its table of contents stands at its end, and is gone."""
    whole = numbered_pdf(10)
    found = passage.render({"half.pdf": whole[: whole.index(b"Page number 6") + 5]})["half.pdf"]
    assert found.brief == ("stored", "partial", (1, 2, 3, 4, 5))
    assert "page 6-10" in (found.message or "")
    passage.run("text")
    assert [row[0] for row in rows("SELECT raw_text FROM raw_texts ORDER BY page")] == [
        f"Page number {n}" for n in range(1, 6)
    ]
    passage.check()


def test_a_cut_pdf_that_has_lost_its_page_tree_too_gives_its_pages_in_order(passage: Passage) -> None:
    objects = page_objects([written(b"Page number %d of the file" % n) for n in range(1, 5)])
    late = {number: objects.pop(number) for number in (1, 2)}
    for number in (10, 12, 14, 16):
        objects[number] = objects[number][:-2] + b"/MediaBox[0 0 200 200]/Resources<</Font<</F 3 0 R>>>>>>"
    whole = pdf(objects | late)
    found = passage.render({"tail.pdf": whole[: whole.index(b"/Type/Catalog")]})["tail.pdf"]
    assert found.brief == ("stored", "partial", (1, 2, 3, 4))
    passage.run("text")
    assert rows("SELECT raw_text FROM raw_texts ORDER BY page")[3] == ("Page number 4 of the file",)
    passage.check()


def spoilt(page: int, body: bytes) -> bytes:
    """A PDF of four pages, whose second has this for a page (12) or for its content (13)."""
    objects = page_objects([deflated(b"BT /F 18 Tf 20 100 Td (Page %d) Tj ET" % n) for n in range(1, 5)])
    return pdf(objects | {page: body})


def without(number: int) -> bytes:
    objects = page_objects([written(b"Page %d" % n) for n in range(1, 5)])
    del objects[number]
    return pdf(objects)


BROKEN_PAGES = {
    "page object overwritten": spoilt(12, b"<<" + b"@" * 40 + b">>"),
    "page object gone": without(12),
    "page object of another kind": spoilt(12, b"(nothing)"),
    "content gone": without(13),
    "content cut": spoilt(13, deflated(b"BT /F 18 Tf 20 100 Td (Page 2) Tj ET")[:-30] + b"\nendstream"),
    "content garbage": spoilt(13, stream(b"garbage" * 20, b"/Filter/FlateDecode")),
    "content zeroed": spoilt(13, stream(bytes(100), b"/Filter/FlateDecode")),
    "scan of zeros": spoilt(13, stream(b"200 0 0 200 0 0 cm /I Do")).replace(
        b"/Contents 13 0 R",
        b"/Contents 13 0 R/Resources<</XObject<</I 11 0 R>>>>",  # a stream that is no image
    ),
}


def test_a_destroyed_page_of_a_pdf_costs_that_page_and_is_never_taken_for_an_empty_one(passage: Passage) -> None:
    found = passage.render(BROKEN_PAGES)
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(
        BROKEN_PAGES, ("stored", "partial", (1, 3, 4))
    )
    assert all("page 2" in (one.message or "") for one in found.values())
    passage.check()


def test_an_email_that_is_cut_keeps_its_text_and_its_attachment_ends_as_what_is_left_of_it(passage: Passage) -> None:
    picture = saved(noise(200, 200), "PNG")
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nSee the picture.\r\n--x\r\n"
    body += b"Content-Type: image/png; name=scan.png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    whole = email(body + base64.encodebytes(picture) + b"--x--\r\n", b'multipart/mixed; boundary="x"')
    cut = whole[: len(whole) // 2]
    passage.bring({"cut.eml": cut})
    passage.run("unpack", "render", "text")
    assert passage.outcome(cut).brief == ("stored", None, (1,))
    ((text,),) = rows("SELECT raw_text FROM raw_texts")
    assert "See the picture." in text
    assert rows("SELECT original_name, category FROM rejected_documents") == [("scan.png", "corrupt")]
    passage.check()


def test_damage_is_nobody_elses_trouble(passage: Passage) -> None:
    """Good and bad in one batch: each ends, the good ones whole."""
    files = {"good.pdf": PDF, "good.png": GOOD["image/png"], "cut.png": GOOD["image/png"][:90], "none.tif": b""}
    found = passage.render(files)
    assert [one.state for one in found.values()] == ["stored", "stored", "rejected", "refused"]
    assert {p.suffix for p in settings().path("rejected").iterdir()} == {".png", ".tif", ".json"}
    assert rows("SELECT count(*) FROM processed_images") == [(5,)]
    assert {sha for (sha,) in rows("SELECT sha256 FROM rejected_documents")} == {
        sha256_of(files["cut.png"]),
        sha256_of(b""),
    }
    passage.check()
