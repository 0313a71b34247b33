"""Documents that want to do something: nothing runs, nobody is called, nothing is written, and time has an end."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.documents import deflated, email, page_objects, pdf, stream, written
from tests.faults.invariant import rows
from tests.faults.passage import Passage, Watched

#: What may run besides Python: the second engine for what the first cannot draw, and text recognition.
PROGRAMS = {"pdftoppm", "pdfinfo", "tesseract"}
#: By the clock on the wall: a few seconds of work, on a machine that may have much else to do.
SOON_S = 60


class Listener:
    """Takes connections of this machine and counts them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = b"http://127.0.0.1:%d" % self._socket.getsockname()[1]
        self.calls = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.close()
            self.calls += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    socket.create_connection(("127.0.0.1", int(made.address.rpartition(b":")[2]))).close()
    yield made
    made.close()
    assert made.calls == 1, "somebody called besides this fixture"


@pytest.fixture
def scratch(tmp_path: Path, passage: Passage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this process and of parsers started from here on."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    passage.configure(parsing_recycle_pages=999)  # parsers of its own
    return folder


def with_action(action: bytes, *, catalogue: bytes = b"", page: bytes = b"", **objects: bytes) -> bytes:
    """A PDF of one page that does `action` when it is opened, when its page is, and when anything is printed."""
    made = page_objects([written(b"Read me")])
    events = b"/OpenAction 60 0 R/AA<</WC 60 0 R/WS 60 0 R/WP 60 0 R/DP 60 0 R>>"
    made[1] = made[1][:-2] + events + catalogue + b">>"
    made[10] = made[10][:-2] + b"/AA<</O 60 0 R/C 60 0 R>>" + page + b">>"
    return pdf(made | {60: action} | {int(name[1:]): body for name, body in objects.items()})


def active_pdfs(address: bytes, program: bytes, written_to: bytes) -> dict[str, bytes]:
    """Documents that call `address`, start `program` and write to a file, each in another way."""
    script = b"app.launchURL('%s/js');this.submitForm('%s/submit');util.readFileIntoStream('/etc/passwd');" % (
        address,
        address,
    )
    script += b"this.exportDataObject({cName:'x',cDIPath:'%s'});while(true){}" % written_to
    fields = b"/AcroForm<</Fields[61 0 R]/NeedAppearances true/CO[61 0 R]>>"
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(b)/Rect[0 0 50 20]/AA<</C 60 0 R/F 60 0 R/K 60 0 R>>/A 60 0 R>>"
    javascript = b"<</S/JavaScript/JS(%s)>>" % script.replace(b"(", b"\\(").replace(b")", b"\\)")
    link = b"/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 200 200]/A 60 0 R/PA 60 0 R>>]"
    xfa = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "%s/xxe"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
        b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/"><template><subform><event activity="initialize"><script '
        b'contentType="application/x-javascript">%s</script></event></subform></template>&a;&b;</xdp:xdp>'
    ) % (address, script)
    embedded = b"/Names<</EmbeddedFiles<</Names[(%s)62 0 R]>>/JavaScript<</Names[(x)60 0 R]>>>>" % written_to
    file = b"<</Type/Filespec/F(%s)/EF<</F 63 0 R>>>>" % written_to
    remote = b"<</Type/XObject/Subtype/Image/Width 9/Height 9/BitsPerComponent 8/ColorSpace/DeviceGray/Length 0"
    remote += b"/F<</FS/URL/F(%s/image)>>>>stream\n\nendstream" % address
    passwords = b"<</Length 0/F(/etc/passwd)>>stream\n\nendstream"
    return {
        "javascript.pdf": with_action(javascript),
        "form.pdf": with_action(javascript, catalogue=fields, page=b"/Annots[61 0 R]", o61=field),
        "launch.pdf": with_action(b"<</S/Launch/F(%s)/Unix<</F(%s)>>/NewWindow true>>" % (program, program), page=link),
        "uri.pdf": with_action(b"<</S/URI/URI(%s/uri)>>" % address, page=link),
        "submit.pdf": with_action(b"<</S/SubmitForm/F<</FS/URL/F(%s/form)>>/Flags 4>>" % address, page=link),
        "elsewhere.pdf": with_action(b"<</S/GoToR/F(/etc/passwd)/D[0/Fit]>>", page=link),
        "import.pdf": with_action(b"<</S/ImportData/F(/etc/passwd)>>", page=link),
        "embedded.pdf": with_action(
            javascript, catalogue=embedded, o62=file, o63=stream(b"#!/bin/sh\ntouch here\n", b"/Type/EmbeddedFile")
        ),
        "xfa.pdf": with_action(javascript, catalogue=b"/AcroForm<</Fields[]/XFA 61 0 R>>", o61=stream(xfa)),
        "remote image.pdf": with_action(
            javascript, page=b"/Resources<</Font<</F 3 0 R>>/XObject<</I 61 0 R>>>>", o61=remote
        ).replace(b"(Read me) Tj ET", b"(Read) Tj ET /I Do"),
        "external content.pdf": with_action(javascript, o11=passwords),
    }


def left_behind(folder: Path) -> set[Path]:
    """What lies there outside of the store; the folder in which a waiting parser works does not count, its files do."""
    found = (path for path in folder.rglob("*") if "data" not in path.parts)
    return {path for path in found if not (path.is_dir() and path.name.startswith("dsdc-parser-"))}


def test_nothing_runs_nobody_is_called_and_nothing_is_written(
    passage: Passage, listener: Listener, scratch: Path, tmp_path: Path
) -> None:
    marker, program = tmp_path / "marker", tmp_path / "program.sh"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    files = active_pdfs(listener.address, bytes(program), bytes(marker))
    before = left_behind(tmp_path)
    with Watched(every_s=0.002) as watched:
        found = passage.render(files)
        passage.run("text")
    assert found.pop("external content.pdf").brief == ("rejected", "corrupt", ())
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(found, ("stored", None, (1,)))
    assert not marker.exists()
    assert left_behind(tmp_path) == before
    assert left_behind(scratch) == set()
    assert {name for name in watched.names if not name.startswith("python")} <= PROGRAMS
    assert rows("SELECT count(*) FROM original_documents") == [(len(files),)]
    assert "root:" not in " ".join(text for (text,) in rows("SELECT raw_text FROM raw_texts"))
    assert rows(f"SELECT max(finished - started) < interval '{SOON_S} seconds' FROM stage_attempts") == [(True,)]
    passage.check()


def test_an_email_with_everything_that_html_can_ask_for_loads_nothing(
    passage: Passage, listener: Listener, scratch: Path, tmp_path: Path
) -> None:
    here = listener.address
    html = b'<link rel=stylesheet href="%s/css"><style>@import url(%s/import);</style>' % (here, here)
    html += b'<img src="%s/pixel"><iframe src="%s/frame"></iframe><body background="%s/back">' % (here, here, here)
    html += b'<script src="%s/js"></script><object data="%s/object"></object><p>Read me</p>' % (here, here)
    html += b'<img src="file:///etc/passwd"><meta http-equiv=refresh content="0;url=%s/meta">' % here
    before = left_behind(tmp_path)
    with Watched(every_s=0.002) as watched:
        found = passage.render({"active.eml": email(html, b"text/html; charset=utf-8")})
        passage.run("text")
    assert found["active.eml"].brief == ("stored", None, (1,))
    ((text,),) = rows("SELECT raw_text FROM raw_texts")
    assert text.endswith("Read me")
    assert left_behind(tmp_path) == before
    assert left_behind(scratch) == set()
    assert {name for name in watched.names if not name.startswith("python")} <= PROGRAMS
    passage.check()


def three_pages(second: bytes, resources: bytes = b"", **objects: bytes) -> dict[int, bytes]:
    made = page_objects([written(b"first"), second, written(b"third")])
    if resources:
        made[12] = made[12][:-2] + b"/Resources<<%s>>>>" % resources
    return made | {int(name[1:]): body for name, body in objects.items()}


FORM = b"/Type/XObject/Subtype/Form/BBox[0 0 200 200]"
TYPE_3 = (
    b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 51 0 R>>/FirstChar 97"
    b"/LastChar 97/Widths[1]/Encoding<</Differences[97/a]>>/Resources<</Font<</T 50 0 R>>>>>>"
)
TILE = b"/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 9 9]/XStep 9/YStep 9/Resources<</Pattern<</P 50 0 R>>>>"
#: The second page of each contains itself, somehow.
RECURSIVE = {
    "form": three_pages(
        stream(b"/X Do 0 0 99 99 re f"),
        b"/XObject<</X 50 0 R>>",
        o50=stream(b"/X Do", FORM + b"/Resources<</XObject<</X 50 0 R>>>>"),
    ),
    "two forms": three_pages(
        stream(b"/X Do 0 0 99 99 re f"),
        b"/XObject<</X 50 0 R>>",
        o50=stream(b"/X Do", FORM + b"/Resources<</XObject<</X 51 0 R>>>>"),
        o51=stream(b"/X Do", FORM + b"/Resources<</XObject<</X 50 0 R>>>>"),
    ),
    "glyph": three_pages(
        stream(b"BT /T 10 Tf (a) Tj ET 0 0 99 99 re f"),
        b"/Font<</T 50 0 R>>",
        o50=TYPE_3,
        o51=stream(b"BT /T 10 Tf (a) Tj ET"),
    ),
    "pattern": three_pages(
        stream(b"/Pattern cs /P scn 0 0 99 99 re f 0 g 0 0 9 9 re f"),
        b"/Pattern<</P 50 0 R>>",
        o50=stream(b"/Pattern cs /P scn 0 0 9 9 re f", TILE),
    ),
    "colour space": three_pages(
        stream(b"/P cs 1 scn 0 0 9 9 re f 0 g 0 0 9 9 re f"),
        b"/ColorSpace<</P 50 0 R>>",
        o50=b"[/Indexed 50 0 R 1 (ab)]",
    ),
    "function": three_pages(
        stream(b"/P cs 1 scn 0 0 9 9 re f 0 g 0 0 9 9 re f"),
        b"/ColorSpace<</P[/Separation/X/DeviceGray 50 0 R]>>",
        o50=b"<</FunctionType 3/Domain[0 1]/Functions[50 0 R]/Bounds[]/Encode[0 1]>>",
    ),
    "mask": three_pages(
        stream(b"0 0 9 9 re f /G gs 0 0 99 99 re f"),
        b"/ExtGState<</G 50 0 R>>",
        o50=b"<</SMask<</S/Luminosity/G 51 0 R>>>>",
        o51=stream(b"/G gs 0 0 9 9 re f", FORM + b"/Group<</S/Transparency>>/Resources<</ExtGState<</G 50 0 R>>>>"),
    ),
    "deep lists": three_pages(written(b"second"), b"/Font<</F 3 0 R>>/A 50 0 R", o50=b"[" * 100_000 + b"]" * 100_000),
    "outline": three_pages(written(b"second"), o1=b"<</Type/Catalog/Pages 2 0 R/Outlines 50 0 R>>")
    | {50: b"<</First 50 0 R/Last 50 0 R/Next 50 0 R/Title(a)>>"},
    "form fields": three_pages(written(b"second"), o1=b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[50 0 R]>>>>")
    | {50: b"<</FT/Tx/T(a)/Kids[50 0 R]/Parent 50 0 R>>"},
}


def test_what_contains_itself_comes_to_an_end_and_the_pages_are_had(passage: Passage) -> None:
    passage.configure(parsing_page_cpu_s=5)
    files = {f"{name}.pdf": pdf(objects) for name, objects in RECURSIVE.items()}
    with Watched() as watched:
        found = passage.render(files)
        passage.run("text")
    assert {name: one.brief for name, one in found.items()} == dict.fromkeys(files, ("stored", None, (1, 2, 3)))
    assert watched.seconds < SOON_S
    passage.check()


def test_page_trees_that_go_round_in_circles(passage: Passage) -> None:
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 9 0 R>>"
    content = {9: stream(b"0 0 50 50 re f")}
    files = {
        "own child.pdf": pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[2 0 R]/Count 3>>"}),
        "own grandchild.pdf": pdf(
            {
                1: b"<</Type/Catalog/Pages 2 0 R>>",
                2: b"<</Type/Pages/Kids[4 0 R 5 0 R]/Count 2>>",
                4: leaf,
                5: b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R]/Count 1>>",
            }
            | content
        ),
        "own catalogue.pdf": pdf({1: b"1 0 R"}),
        "own parent.pdf": pdf(three_pages(written(b"second"), o12=b"<</Type/Page/Parent 12 0 R/Contents 13 0 R>>")),
        "own length.pdf": pdf(three_pages(b"<</Length 13 0 R>>stream\n0 0 9 9 re f\nendstream")),
        "earlier table.pdf": pdf(page_objects([written(b"first")]), trailer=b"/Root 1 0 R/Prev 9"),
        "a thousand levels.pdf": pdf(
            {1: b"<</Type/Catalog/Pages 2 0 R>>"}
            | {n: b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % (n + 1) for n in range(2, 1002)}
            | {1002: b"<</Type/Page/MediaBox[0 0 99 99]/Parent 1001 0 R>>"}
        ),
    }
    with Watched() as watched:
        found = passage.render(files)
    ends = {name: (one.state, one.pages[:1]) for name, one in found.items()}
    assert ends["own child.pdf"] == ends["own catalogue.pdf"] == ("rejected", ())
    assert ends["own grandchild.pdf"] == ends["own length.pdf"] == ends["earlier table.pdf"] == ("stored", (1,))
    assert ends["own parent.pdf"] == ("stored", (1,))
    assert {one.category for one in found.values()} <= {None, "corrupt", "partial"}
    assert watched.seconds < SOON_S
    passage.check()


def doubling(depth: int) -> dict[int, bytes]:
    """A form that draws another twice, which draws another twice ..."""
    made = three_pages(stream(b"/F Do"), b"/XObject<</F 100 0 R>>")
    for n in range(depth):
        made[100 + n] = stream(b"/F Do /F Do", FORM + b"/Resources<</XObject<</F %d 0 R>>>>" % (101 + n))
    return made | {100 + depth: stream(b"0 0 9 9 re f", FORM)}


def tiny_tiles() -> dict[int, bytes]:
    tile = b"/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep 0.0001/YStep 0.0001/Resources<<>>"
    return three_pages(
        stream(b"/Pattern cs /P scn 0 0 200 200 re f"), b"/Pattern<</P 50 0 R>>", o50=stream(b"0 0 1 1 re f", tile)
    )


def many_strokes() -> dict[int, bytes]:
    return three_pages(deflated(b"0 0 m 200 200 l 0 200 l S\n" * 2_000_000))


ENDLESS = {"tiles": tiny_tiles, "strokes": many_strokes}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_page_that_takes_for_ever_is_given_up_and_the_others_are_had(passage: Passage, kind: str) -> None:
    passage.configure(parsing_page_cpu_s=1)
    with Watched() as watched:
        found = passage.render({"endless.pdf": pdf(ENDLESS[kind]())})["endless.pdf"]
    assert found.brief == ("stored", "partial", (1, 3))
    assert "page 2: A page took too long" in (found.message or "")
    assert watched.seconds < SOON_S
    passage.check()


def test_a_document_of_nothing_else_ends_with_the_category_timeout_and_not_after_hours(passage: Passage) -> None:
    passage.configure(parsing_page_cpu_s=1)
    made = doubling(30)
    kids = b" ".join(b"%d 0 R" % n for n in range(200, 260))
    made[2] = made[2].replace(b"/Kids[10 0 R 12 0 R 14 0 R]/Count 3", b"/Kids[%s]/Count 60" % kids)
    endless = pdf(made | dict.fromkeys(range(200, 260), made[12]))
    with Watched() as watched:
        found = passage.render({"endless.pdf": endless})["endless.pdf"]
    assert found.brief == ("rejected", "timeout", ())
    assert watched.seconds < SOON_S
    passage.check()
