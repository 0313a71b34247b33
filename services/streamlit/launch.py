"""`python -m services.streamlit.launch` becomes the Streamlit server of the page."""

from __future__ import annotations

import sys
from pathlib import Path

from dsdc.errors import DsdcError
from dsdc.settings import Settings, settings
from services.supervisor.launch import Command


def streamlit_command(config: Settings) -> Command:
    """The server, which believes the word of the platform's own proxies about browsers' addresses, and nobody else's.

    Left alone, it believes every program on this machine, and so whoever comes through a tunnel.
    """
    arguments = (
        sys.executable,
        "-u",
        "-m",
        "streamlit",
        "run",
        str(Path(__file__).with_name("app.py")),
        f"--server.address={config.streamlit.host}",
        f"--server.port={config.streamlit.port}",
        f"--server.maxUploadSize={config.predict.max_upload_mb}",
        "--server.headless=true",
        "--server.fileWatcherType=none",
        "--browser.gatherUsageStats=false",
    )
    return Command(arguments, {"FORWARDED_ALLOW_IPS": ",".join(map(str, config.web.trusted_proxies))})


def main() -> int:
    """Become Streamlit; returns only when that is impossible."""
    try:
        streamlit_command(settings()).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
