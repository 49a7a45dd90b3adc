"""The database: reached, and at this version's migrations."""

from signedfor.cli.checks.finding import Finding, fail, ok
from signedfor.cli.environment import database_settings, database_trouble
from signedfor.cli.output import CommandError
from signedfor.store.migrate import pending

_NAME = "database"


def check_database() -> list[Finding]:
    """Look at the database of DATABASE_URL; nothing in it is changed."""
    try:
        url = database_settings().database_url
        with database_trouble():
            missing = pending(url)
    except CommandError as error:
        return [fail(_NAME, str(error), "See DATABASE_URL.")]
    if missing:
        return [fail(_NAME, f"Lacks migrations: {', '.join(missing)}.", "Run `signedfor migrate`.")]
    return [ok(_NAME, "Reached, and all migrations are applied.")]
