"""`dsdc users`: who may use the platform.

Passwords are typed or piped, never arguments: those are in every process list.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from dsdc.db.repositories.users import ROLES
from dsdc.errors import NotFound, SettingsError

app = typer.Typer(name="users", help="Who may use the platform.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Small letters, digits and . _ @ -; at most 63.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "viewer",
    password_stdin: FromStdin = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Leave an account of this name alone.")] = False,
) -> None:
    """Make an account; the password is asked for twice."""
    from dsdc.web import accounts
    from dsdc.web.origin import LOCAL
    from dsdc.web.passwords import check_strength, hash_password

    accounts.check_name(name)
    accounts.check_role(role)
    if if_missing and accounts.named(name) is not None:
        typer.echo(f"There is a user {name} already; nothing to do.")
        return
    password = _password(password_stdin)
    check_strength(password, name=name)
    user = accounts.create(name, hash_password(password), role, actor=_actor(), origin=LOCAL)
    typer.echo(f"{user.name} is {user.role} now.")


@app.command("list")
def list_users() -> None:
    """Show all accounts."""
    from dsdc.web import accounts

    table = Table("name", "role", "created", "state", box=None, pad_edge=False)
    for user in accounts.everybody():
        state = f"disabled {_day(user.disabled)}" if user.disabled else "active"
        table.add_row(user.name, user.role, _day(user.created), state)
    Console().print(table)


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
    from dsdc.web.passwords import check_strength, hash_password

    user_id = _existing(name)
    password = _password(password_stdin)
    check_strength(password, name=name)
    accounts.change_password(user_id, hash_password(password), actor=_actor(), origin=LOCAL)
    typer.echo(f"{name} has another password; its sessions end within seconds.")


def _existing(name: str) -> UUID:
    from dsdc.web import accounts

    user = accounts.named(name)
    if user is None:
        raise NotFound(f"There is no user {name}.", hint="See dsdc users list.")
    return user.id


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
