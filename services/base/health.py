"""`python -m services.base.health URL [PATTERN]`: status 0 when the URL answers 200 with a text that matches PATTERN.

Only the standard library: it starts every few seconds in every container, and the images need no curl.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 5


def is_well(url: str, pattern: str = "") -> bool:
    """Whether `url` answers 200 within five seconds, and its text matches."""
    try:
        # No proxy: a proxy of the host's environment knows nothing of the containers' names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200 and re.search(pattern, answer.read().decode("utf-8", "replace")))
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def main(arguments: list[str]) -> int:
    """Exit status of a container's health check."""
    if not arguments or not arguments[0].startswith(("http://", "https://")):
        sys.stderr.write("usage: python -m services.base.health http://HOST:PORT/PATH [PATTERN]\n")
        return 2
    return 0 if is_well(*arguments[:2]) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
