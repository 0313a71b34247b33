"""`dsdc users`: who may use the platform, people with passwords and service accounts with API keys.

Passwords are typed or piped, never arguments: those are in every process list. A new API key is printed, alone, on
standard output, once.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from dsdc.db.repositories.users import ROLES
from dsdc.errors import NotFound, SettingsError

app = typer.Typer(name="users", help="Who may use the platform.", no_args_is_help=True)

keys = typer.Typer(name="api-keys", help="The keys of service accounts.", no_args_is_help=True)
app.add_typer(keys)

Name = Annotated[str, typer.Argument(help="Small letters, digits and . _ @ -; at most 63.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}; viewer if none is named.")] = "",
    password_stdin: FromStdin = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Leave an account of this name alone.")] = False,
    service: Annotated[
        bool, typer.Option("--service", help="A service account: no password, API keys; role service if none is named.")
    ] = False,
) -> None:
    """Make an account; a person's password is asked for twice."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL

    role = role or ("service" if service else "viewer")
    accounts.check_name(name)
    accounts.check_role(role)
    if if_missing and accounts.named(name) is not None:
        typer.echo(f"There is a user {name} already; nothing to do.")
        return
    password_hash = None if service else _new_password_hash(name, password_stdin)
    user = accounts.create(name, password_hash, role, actor=_actor(), origin=LOCAL)
    typer.echo(f"{user.name} is {user.role} now.")
    if service:
        typer.echo(f"Give it a key: dsdc users api-keys add {user.name}")


@app.command("list")
def list_users() -> None:
    """Show all accounts."""
    from dsdc.web import accounts

    table = Table("name", "kind", "role", "created", "state", box=None, pad_edge=False)
    for user in accounts.everybody():
        state = f"disabled {_day(user.disabled)}" if user.disabled else "active"
        table.add_row(user.name, user.kind, user.role, _day(user.created), state)
    Console().print(table)


@app.command()
def role(name: Name, to: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")]) -> None:
    """Give an account another role; it has to sign in anew."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL

    accounts.check_role(to)
    user = accounts.set_role(_existing(name), to, actor=_actor(), origin=LOCAL)
    typer.echo(f"{user.name} is {user.role} now; its sessions end within seconds.")


@app.command()
def disable(name: Name) -> None:
    """Shut an account out; its sessions end within seconds."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL

    user = accounts.disable(_existing(name), actor=_actor(), origin=LOCAL)
    typer.echo(f"{user.name} is disabled; its sessions end within seconds.")


@app.command()
def enable(name: Name) -> None:
    """Let a disabled account in again."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL

    typer.echo(f"{accounts.enable(_existing(name), actor=_actor(), origin=LOCAL).name} may sign in again.")


@app.command("password")
def set_password(name: Name, password_stdin: FromStdin = False) -> None:
    """Give an account another password; its sessions end."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL

    user_id = _existing(name)
    accounts.change_password(user_id, _new_password_hash(name, password_stdin), actor=_actor(), origin=LOCAL)
    typer.echo(f"{name} has another password; its sessions end within seconds.")


@keys.command("add")
def add_key(
    name: Name,
    note: Annotated[str, typer.Option(help="What it is for, or where it lies.")] = "",
    expires_days: Annotated[int, typer.Option(min=0, max=3650, help="Good for so many days; 0: until revoked.")] = 0,
) -> None:
    """Make a key, and print it: it is stored nowhere and cannot be shown again."""
    from dsdc.web import api_keys
    from dsdc.web.origin import LOCAL

    expires = datetime.now(UTC) + timedelta(days=expires_days) if expires_days else None
    _, key = api_keys.create(_existing(name), note=note, expires=expires, actor=_actor(), origin=LOCAL)
    typer.echo("Keep it in a file that only the service reads; it is not shown again.", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys(name: Name) -> None:
    """Show all keys that an account ever had; never the keys themselves."""
    from dsdc.web import api_keys

    table = Table("key", "note", "created", "last used", "state", box=None, pad_edge=False)
    for key in api_keys.of_user(_existing(name)):
        used = _day(key.last_used) if key.last_used else "never"
        table.add_row(f"{key.prefix}_…", key.note, _day(key.created), used, _key_state(key.revoked, key.expires))
    Console().print(table)


@keys.command("revoke")
def revoke_key(prefix: Annotated[str, typer.Argument(help="How the key begins, as `list` shows it.")]) -> None:
    """End a key; the tokens that it was exchanged for end within seconds."""
    from dsdc.web import api_keys
    from dsdc.web.origin import LOCAL

    # A whole key may be pasted here; only its beginning is looked at, or told.
    beginning = "_".join(prefix.rstrip("_…").split("_")[:2])
    key = api_keys.with_prefix(beginning)
    if key is None:
        raise NotFound(f"There is no API key {beginning}.", hint="See dsdc users api-keys list NAME.")
    api_keys.revoke(key.user_id, key.id, actor=_actor(), origin=LOCAL)
    typer.echo(f"{key.prefix} is revoked; its tokens end within seconds.")


def _key_state(revoked: datetime | None, expires: datetime | None) -> str:
    if revoked:
        return f"revoked {_day(revoked)}"
    if expires is None:
        return "active"
    return f"{'expired' if expires <= datetime.now(UTC) else 'active until'} {_day(expires)}"


def _existing(name: str) -> UUID:
    from dsdc.web import accounts

    user = accounts.named(name)
    if user is None:
        raise NotFound(f"There is no user {name}.", hint="See dsdc users list.")
    return user.id


def _new_password_hash(name: str, from_stdin: bool) -> str:
    from dsdc.web.passwords import check_strength, hash_password

    password = _password(from_stdin)
    check_strength(password, name=name)
    return hash_password(password)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise SettingsError("There is no terminal to ask for the password.", hint="Pipe it in with --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _actor() -> str:
    return "cli"


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"
