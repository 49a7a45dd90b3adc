"""The command `python -m signedfor.store`: migrations without the rest of the service."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl
from signedfor.store.migrate import SchemaMismatch, pending, upgrade

DEFAULT_DATABASE_URL = "sqlite:///.data/signedfor.db"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command; return 0 when the database is up to date, 1 when not, 2 on an error."""
    parser = argparse.ArgumentParser(
        prog="python -m signedfor.store",
        description="Brings the tables of the database in DATABASE_URL up to date.",
    )
    parser.add_argument(
        "command",
        choices=["upgrade", "check"],
        help="upgrade: apply the pending migrations; check: name them and change nothing",
    )
    chosen = parser.parse_args(arguments)
    url = environment.get("DATABASE_URL") or DEFAULT_DATABASE_URL
    try:
        names = upgrade(url) if chosen.command == "upgrade" else pending(url)
    except (DatabaseUnavailable, InvalidDatabaseUrl, OSError, SchemaMismatch) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not names:
        sys.stdout.write("The database is up to date.\n")
        return 0
    word = "Applied" if chosen.command == "upgrade" else "Pending"
    sys.stdout.writelines(f"{word}: {name}\n" for name in names)
    return 1 if chosen.command == "check" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
