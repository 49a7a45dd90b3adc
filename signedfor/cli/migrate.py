"""`signedfor migrate`: bring the database's tables up to date."""

from typing import Annotated

import typer

from signedfor.cli.environment import database_errors, database_settings
from signedfor.cli.options import JsonOption
from signedfor.cli.output import ExitCode, command_output
from signedfor.store.migrate import compare, upgrade


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Name the pending migrations and change nothing."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create or update the tables of the database.

    DATABASE_URL says which. Safe to run again, and from several machines at once. A database that a
    newer version has migrated stays as it is. With --check, exit code 3 says that migrations are
    pending.
    """
    with command_output(as_json=as_json) as out:
        url = database_settings().database_url
        with database_errors():
            applied = [] if check else upgrade(url)
            schema = compare(url)
        names = list(schema.missing) if check else applied
        word = "Pending" if check else "Applied"
        human = [f"{word}: {name}" for name in names] or [
            schema.warning or "The database is up to date."
        ]
        out.result({word.lower(): names, "newer": schema.newer}, *human)
        raise typer.Exit(ExitCode.REFUSED if check and names else ExitCode.OK)
