"""`dsdc keys`: the key pairs that sign tokens. `auth` notices changes by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dsdc.settings import settings

app = typer.Typer(name="keys", help="The key pairs that sign tokens.", no_args_is_help=True)


@app.command()
def rotate(
    revoke: Annotated[
        bool,
        typer.Option("--revoke", help="A key may be in other hands: retire all older ones, which ends all sessions."),
    ] = False,
) -> None:
    """Make a new key; older ones go on verifying until the last token that they signed has expired."""
    from dsdc.web.keys import PUBLISH_AHEAD, KeyFolder

    keep = timedelta(days=settings().auth.refresh_days)
    new, retired = KeyFolder.of(settings()).rotate(keep=keep, revoke=revoke)
    when = "at once" if revoke else f"in {PUBLISH_AHEAD.seconds} s, when every service knows it"
    typer.echo(f"{new.kid} signs {when}.")
    for kid in retired:
        typer.echo(f"{kid} is retired.")
    _record("keys.rotate", new.kid, revoked=revoke, retired=retired)


@app.command("list")
def list_keys() -> None:
    """Show the keys and what each is for now."""
    from dsdc.web.keys import KeyFolder, signing_key

    keys = KeyFolder.of(settings()).pairs()
    signs = signing_key(keys, datetime.now(UTC)).kid if keys else None
    table = Table("kid", "created", "use", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.kid, f"{key.created:%Y-%m-%d %H:%M:%S}", "signs" if key.kid == signs else "verifies")
    Console().print(table)


def _record(action: str, subject: str, **details: object) -> None:
    from dsdc.db.repositories.users import Audit
    from dsdc.db.session import transaction

    with transaction("auth") as session:
        Audit(session).record(action, actor="cli", subject=subject, details=details)
