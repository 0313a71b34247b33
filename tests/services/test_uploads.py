"""Files from strangers, at the limits and beyond."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.services.platforms import Platform
from tests.services.stored import until

PNG = b"\x89PNG\r\n\x1a\n"
LIMIT = 1024 * 1024  # predict.max_upload_mb of the test platform


def send(platform: Platform, content: bytes, name: str = "page.png", **options: Any) -> httpx.Response:
    url = f"{platform.predict}/v1/predict"
    return httpx.post(url, files={"file": (name, content)}, headers=platform.bearer(), timeout=120, **options)


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(platform: Platform) -> None:
    assert send(platform, PNG.ljust(LIMIT, b"x")).status_code == 200
    refused = send(platform, PNG.ljust(LIMIT + 1, b"x"))
    assert refused.status_code == 413
    assert "1,048,577 bytes; the limit is 1,048,576" in problem(refused)["detail"]


def test_the_store_field_is_taken_from_form_and_query(platform: Platform) -> None:
    assert send(platform, PNG + b"1", data={"store": "false"}).status_code == 200
    assert send(platform, PNG + b"1", params={"store": "false"}).status_code == 200
    assert send(platform, PNG + b"1", data={"store": "perhaps"}).status_code == 422
    assert send(platform, PNG + b"1", params={"store": "perhaps"}).status_code == 422


class Raw:
    """A connection on which a test writes what it likes."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=90)

    def head(self, platform: Platform, *lines: str) -> None:
        start = ["POST /v1/predict HTTP/1.1", "Host: x", f"Authorization: Bearer {platform.token()}", *lines, "", ""]
        self.socket.sendall("\r\n".join(start).encode())

    def status(self) -> int:
        data = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n" not in data and (piece := self.socket.recv(65536)):
                data += piece
        return int(data.split(b" ")[1]) if data else 0


@pytest.fixture
def raw(platform: Platform) -> Iterator[Raw]:
    made = Raw(platform.predict)
    yield made
    made.socket.close()


def test_an_announced_excess_is_refused_before_a_byte_of_it_is_read(platform: Platform, raw: Raw) -> None:
    raw.head(platform, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 50000000000")
    assert raw.status() == 413


def test_an_unannounced_excess_is_refused_once_it_is_one(platform: Platform, raw: Raw) -> None:
    """Chunked, without Content-Length, and without an end: an answer proves that nobody waited for the whole."""
    raw.head(platform, "Content-Type: multipart/form-data; boundary=b", "Transfer-Encoding: chunked")
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + PNG
    sent = 0
    with contextlib.suppress(ConnectionError):
        raw.socket.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        while sent < 20 * LIMIT:
            raw.socket.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
    assert raw.status() == 413


def test_who_goes_on_sending_after_a_refusal_is_cut_off(platform: Platform, raw: Raw) -> None:
    raw.head(platform, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 50000000000")
    begun = time.monotonic()
    with pytest.raises(ConnectionError):
        while time.monotonic() - begun < 60:
            raw.socket.sendall(b"x" * 1024)
            time.sleep(0.1)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999999999"])
def test_nonsense_lengths(platform: Platform, raw: Raw, length: str) -> None:
    raw.head(platform, "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {length}")
    assert 400 <= raw.status() < 500


def test_length_and_chunked_together_are_refused(platform: Platform, raw: Raw) -> None:
    raw.head(
        platform, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 5", "Transfer-Encoding: chunked"
    )
    raw.socket.sendall(b"0\r\n\r\n")
    assert 400 <= raw.status() < 500


def dribble_body(platform: Platform, raw: Raw) -> int:
    """Send a byte now and then until there is an answer; its status."""
    raw.head(platform, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000")
    raw.socket.sendall(b"--b\r\n" + FILE)
    begun, status = time.monotonic(), []
    reader = threading.Thread(target=lambda: status.append(raw.status()))
    reader.start()
    with contextlib.suppress(ConnectionError):
        while reader.is_alive() and time.monotonic() - begun < 60:
            raw.socket.sendall(b"x")
            reader.join(0.5)
    reader.join(60)
    return status[0]


def dribble_headers(raw: Raw) -> bool:
    """The same with a header; whether the connection was closed."""
    begun, closed = time.monotonic(), False
    raw.socket.settimeout(0.2)
    try:
        raw.socket.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n")
        while time.monotonic() - begun < 60 and not closed:
            raw.socket.sendall(b"X")
            with contextlib.suppress(TimeoutError):
                closed = raw.socket.recv(1) == b""
    except ConnectionError:
        closed = True
    return closed


def test_clients_that_dribble_are_cut_off(platform: Platform) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        body = pool.submit(dribble_body, platform, Raw(platform.predict))
        headers = pool.submit(dribble_headers, Raw(platform.predict))
        assert body.result() == 408
        assert headers.result()
    assert time.monotonic() - begun < 60


def multipart(*parts: bytes) -> dict[str, Any]:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


FILE = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PNG
FIELD = b'Content-Disposition: form-data; name="x"\r\n\r\n1'
LONG = b"y" * 100_000

FORMS: dict[str, dict[str, Any]] = {
    "ten thousand fields": multipart(FILE, *[FIELD] * 10_000),
    "ten thousand files": multipart(*[FILE] * 10_000),
    "two files": multipart(FILE, FILE),
    "a huge part header": multipart(b"X-Long: " + LONG + b"\r\n" + FILE),
    "a huge part header name": multipart(LONG + b": 1\r\n" + FILE),
    "a thousand part headers": multipart(b"".join(b"X-%d: 1\r\n" % i for i in range(1000)) + FILE),
    "a huge field name": multipart(FIELD.replace(b'"x"', b'"' + LONG + b'"')),
    "a huge field": multipart(FIELD + LONG, FILE),
    "no field called file": multipart(FIELD),
    "the field file is text": multipart(FIELD.replace(b'"x"', b'"file"')),
    "no name": multipart(b"Content-Disposition: form-data\r\n\r\nx"),
    "no disposition": multipart(b"\r\nx"),
    "not closed": {"content": b"--b\r\n" + FILE, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    "garbage": {"content": b"\x00" * 1000, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    "no boundary": {"content": b"--b--", "headers": {"Content-Type": "multipart/form-data"}},
    "a huge boundary": {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "b" * 5000}},
    "an unknown charset": {
        "content": multipart(FIELD)["content"],
        "headers": {"Content-Type": "multipart/form-data; boundary=b; charset=\u0101".encode()},
    },
    "a codec that is no charset": {
        "content": multipart(FIELD)["content"],
        "headers": {"Content-Type": "multipart/form-data; boundary=b; charset=zlib"},
    },
    "JSON": {"json": {"file": "x"}},
    "urlencoded": {"data": {"file": "x"}},
    "the bytes alone": {"content": PNG, "headers": {"Content-Type": "image/png"}},
    "nothing": {},
}


@pytest.mark.parametrize("case", FORMS)
def test_hostile_forms(platform: Platform, case: str) -> None:
    options = dict(FORMS[case])
    headers = {**platform.bearer(), **options.pop("headers", {})}
    begun = time.perf_counter()
    answer = httpx.post(f"{platform.predict}/v1/predict", headers=headers, timeout=60, **options)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.status_code not in (401, 403)
    assert problem(answer)["detail"]
    assert time.perf_counter() - begun < 30


CONTENTS: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 422),
    "text called PDF": (b"Dear Sir or Madam", 415),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', 415),
    "HTML": (b"<!doctype html><script>alert(1)</script>", 415),
    "GIF": (b"GIF89a" + b"\x00" * 20, 415),
    "ZIP": (b"PK\x03\x04" + b"\x00" * 40, 415),
    "ELF": (b"\x7fELF" + b"\x00" * 40, 415),
    "zeros": (b"\x00" * 4096, 415),
    "pickle": (b"\x80\x04\x95\x0b\x00\x00\x00.", 415),
    "EPS with a PDF inside": (b"%!PS-Adobe-3.0\n%PDF-1.4\n", 415),
}


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("name", ["page.pdf", "page.png"])
def test_types_are_judged_by_content(platform: Platform, case: str, name: str) -> None:
    data, status = CONTENTS[case]
    answer = send(platform, data, name)
    assert answer.status_code == status
    assert problem(answer)["type"] == f"urn:dsdc:problem:{'empty-file' if status == 422 else 'unsupported-type'}"


def test_what_cannot_be_read_says_so(platform: Platform) -> None:
    answer = send(platform, PNG, "broken.png")
    assert answer.status_code == 422
    assert problem(answer)["type"] == "urn:dsdc:problem:corrupt-file"
    assert "save it again" in problem(answer)["detail"]


NAMES = ["../../../etc/passwd", "a\\b.png", "x" * 5000 + ".png", "'; DROP TABLE predictions; --.png", "naïve 文書.png"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_only_names(platform: Platform, name: str) -> None:
    answer = send(platform, PNG + b"n", name)
    if len(name) > 4000:  # longer than a part's header may be
        assert answer.status_code == 400
        return
    assert answer.status_code == 200
    assert "/" not in answer.json()["original_name"]
    stored = httpx.get(f"{platform.predict}/v1/predictions/{answer.json()['prediction_id']}", headers=platform.bearer())
    assert stored.json()["original_name"] == answer.json()["original_name"]


def test_more_than_the_service_holds_is_told_to_come_again(platform: Platform) -> None:
    """2 workers and 2 places: of twelve documents at once the others are refused, none fails, and then all is well."""
    platform.token()
    with ThreadPoolExecutor(12) as pool, platform.held() as name:
        asked = [pool.submit(send, platform, PNG + bytes([i]), name) for i in range(12)]
        until(lambda: sum(f.done() for f in asked) == 8)
    answers = [f.result() for f in asked]
    assert sorted(a.status_code for a in answers) == [200] * 4 + [503] * 8
    refused = next(a for a in answers if a.status_code == 503)
    assert problem(refused)["type"] == "urn:dsdc:problem:busy"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert send(platform, PNG + b"after").status_code == 200


def test_health_answers_while_documents_are_worked_on(platform: Platform) -> None:
    with ThreadPoolExecutor(2) as pool, httpx.Client(timeout=30) as client, platform.held() as name:
        busy = [pool.submit(send, platform, PNG + bytes([i]), name) for i in range(2)]
        until(lambda: platform.working() == 2)
        assert client.get(f"{platform.predict}/healthz").status_code == 200
        assert platform.working() == 2, "answered beside them, not after them"
    assert [f.result().status_code for f in busy] == [200, 200]
