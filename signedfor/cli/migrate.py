"""`signedfor migrate`: bring the database's tables up to date."""

from signedfor.cli.environment import database_errors, database_settings
from signedfor.cli.options import JsonOption
from signedfor.cli.output import Unavailable, command_output
from signedfor.store.migrate import upgrade


def migrate(*, as_json: JsonOption = False) -> None:
    """Create or update the tables of the database that DATABASE_URL names.

    Safe to run again, and from several machines at once.
    """
    with command_output(as_json=as_json) as out:
        url = database_settings().database_url
        with database_errors():
            try:
                names = upgrade(url)
            except OSError as error:
                raise Unavailable(
                    f"The folder of the SQLite file cannot be used ({error.strerror}). "
                    "DATABASE_URL says where it is."
                ) from None
        human = [f"Applied: {name}" for name in names] or ["The database is up to date."]
        out.result({"applied": names}, *human)
