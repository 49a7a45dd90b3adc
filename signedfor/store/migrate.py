"""Applies the migrations, and checks that the database has them.

Alembic is imported only where it is needed: that takes longer than a short command, which only
checks that its database is up to date.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, inspect, text

from signedfor.store.database import DatabaseUnavailable, open_engine, parse_url, transaction

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

NEWEST: Final = "0013"
"""The revision of the newest migration."""

# Long enough for another process's migrations to end.
_LOCK_WAIT_SECONDS = 60
# Any number that no other lock in the database uses: "signedf" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"signedf")


class SchemaMismatch(Exception):
    """The database's schema is not that of this version."""


class MigrationsPending(SchemaMismatch):
    """The database is older than this version; the message names the command to run."""


class DatabaseNewer(SchemaMismatch):
    """The database was migrated by a newer version than this one."""


def upgrade(url: str) -> list[str]:
    """Apply the pending migrations to `url` in one transaction and return their names.

    Safe to run from several processes at once: a lock serializes them. Creates the file of a SQLite
    database, and its folder, readable by the owner only, because it contains phone numbers.

    Raises:
        DatabaseNewer: the database has migrations that this version does not know.
        DatabaseUnavailable: it cannot be reached or created, or its lock was not granted in time.
    """
    if (path := _sqlite_file(url)) is not None:
        with _file_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
    engine = open_engine(url, pool_size=1, lock_wait_seconds=_LOCK_WAIT_SECONDS)
    try:
        # On SQLite the transaction itself is the lock.
        with transaction(engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
                )
                # While a migration waits for a busy table, every other transaction waits behind it.
                connection.execute(text("SET LOCAL lock_timeout = '5s'"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            names = _pending(connection)
            if names:
                from alembic import command

                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()
    return names


def pending(url: str) -> list[str]:
    """Return the names of the migrations that `url` lacks, in the order of application.

    Changes nothing; a SQLite file that does not exist lacks all of them.

    Raises:
        DatabaseNewer: the database has migrations that this version does not know.
    """
    if missing_file(url) is not None:
        return _names_between(_scripts(), None)
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine, read_only=True) as connection:
            return _pending(connection)
    finally:
        engine.dispose()


def missing_file(url: str) -> Path | None:
    """The SQLite file of `url` if there is none yet; to open it would create it.

    Raises:
        DatabaseUnavailable: its folder cannot be looked into.
    """
    if (path := _sqlite_file(url)) is None:
        return None
    with _file_errors(path):
        return None if path.exists() else path


def _sqlite_file(url: str) -> Path | None:
    parsed = parse_url(url)
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseUnavailable(
            f"The SQLite file {path} cannot be used ({error.strerror}). Can this user write to its "
            "folder? DATABASE_URL says where it is."
        ) from None


def require_current(engine: Engine) -> None:
    """Return if the database of `engine` has every migration.

    Raises:
        MigrationsPending: some are missing; the message names the command that applies them.
        DatabaseNewer: it has migrations that this version does not know.
    """
    with transaction(engine, read_only=True) as connection:
        missing = _pending(connection)
    if missing:
        raise MigrationsPending(
            f"The database lacks these migrations: {', '.join(missing)}. "
            "Run `signedfor migrate` with the same DATABASE_URL, then start again."
        )


def _pending(connection: Connection) -> list[str]:
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current == NEWEST:
        return []
    scripts = _scripts()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise DatabaseNewer(
            f"The database is at migration {current}, which this version does not know. "
            "Run the version that migrated it, or a newer one."
        )
    return _names_between(scripts, current)


def _names_between(scripts: "ScriptDirectory", current: str | None) -> list[str]:
    missing = scripts.iterate_revisions("head", current or "base")
    return [
        f"{script.revision} ({script.doc.rstrip('.')})"
        for script in reversed(list(missing))
        if script.revision != current
    ]


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> "Config":
    """Return Alembic's configuration, which needs no alembic.ini."""
    from alembic.config import Config

    config = Config()
    # A percent sign in the folder's name would start an interpolation.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config
