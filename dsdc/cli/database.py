"""`dsdc db …`: the schema and the roles."""

from __future__ import annotations

import typer

from dsdc.cli.console import out
from dsdc.settings import settings

app = typer.Typer(help="The database: roles, schema, migrations.", no_args_is_help=True)


@app.command()
def setup() -> None:
    """Create databases, roles and extension where missing, and migrate to the newest schema."""
    from dsdc.db.session import schema_version
    from dsdc.db.setup import setup_database

    setup_database(settings())
    out.print(f"Database ready, schema {schema_version('owner')}.")


@app.command()
def version() -> None:
    """Print the schema version that the database is at."""
    from dsdc.db.session import schema_version

    out.print(schema_version("owner") or "no schema yet")
