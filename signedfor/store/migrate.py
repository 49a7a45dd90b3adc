"""Applies the migrations, and checks whether this version may use a database.

Migrations expand: a version that is replaced, or that a roll-back brings back, goes on with a
database that a newer one has migrated. A migration that it cannot go on with says so by
`oldest_program`, and the database keeps that: see `Schema`.

Alembic is imported only where it is needed: that takes longer than a short command, which only
checks that its database is up to date.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, delete, insert, inspect, select, text

from signedfor.store.database import DatabaseUnavailable, open_engine, parse_url, transaction
from signedfor.store.tables import schema_compatibility

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

NEWEST: Final = "0018"
"""The revision of the newest migration. Revisions are four digits, each above the one before."""

# Long enough for another process's migrations to end.
_LOCK_WAIT_SECONDS = 60
# Any number that no other lock in the database uses: "signedf" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"signedf")


class SchemaMismatch(Exception):
    """This version may not use the database as it is."""


class MigrationsPending(SchemaMismatch):
    """The database is older than this version; the message names the command to run."""


class DatabaseIncompatible(SchemaMismatch):
    """A newer version has migrated the database in a way that this one cannot go on with."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """How the migrations of a database compare with those of this version.

    `missing` names those that it lacks, in the order of application. `newer` is the revision of a
    database that a newer version has migrated, if this one may still use it.
    """

    missing: tuple[str, ...] = ()
    newer: str | None = None

    @property
    def warning(self) -> str | None:
        """What people should know of a database that can be used."""
        if self.newer is None:
            return None
        return (
            f"The database is at migration {self.newer}, and this version knows them up to "
            f"{NEWEST}. It may still be used."
        )


def upgrade(url: str) -> list[str]:
    """Apply the pending migrations to `url` in one transaction and return their names.

    A database that a newer version has migrated is left as it is. Safe to run from several
    processes at once: a lock serializes them. Creates the file of a SQLite database, and its
    folder, readable by the owner only, because it contains phone numbers.

    Raises:
        DatabaseIncompatible: it has migrations that this version cannot go on with.
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
            missing = _compare(connection).missing
            if missing:
                from alembic import command

                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _record_compatibility(connection)
    finally:
        engine.dispose()
    return list(missing)


def pending(url: str) -> list[str]:
    """Return the names of the migrations that `url` lacks: see `compare`."""
    return list(compare(url).missing)


def compare(url: str) -> Schema:
    """Compare the migrations of `url` with those of this version.

    Changes nothing; a SQLite file that does not exist lacks all of them.

    Raises:
        DatabaseIncompatible: it has migrations that this version cannot go on with.
    """
    if missing_file(url) is not None:
        return Schema(missing=_names_after(None))
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine, read_only=True) as connection:
            return _compare(connection)
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


def require_usable(engine: Engine) -> Schema:
    """Return if this version may use the database of `engine`, which may be newer.

    Raises:
        MigrationsPending: some are missing; the message names the command that applies them.
        DatabaseIncompatible: it has migrations that this version cannot go on with.
    """
    with transaction(engine, read_only=True) as connection:
        schema = _compare(connection)
    if schema.missing:
        raise MigrationsPending(
            f"The database lacks these migrations: {', '.join(schema.missing)}. "
            "Run `signedfor migrate` with the same DATABASE_URL, then start again."
        )
    return schema


def _compare(connection: Connection) -> Schema:
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current == NEWEST:
        return Schema()
    is_ours = current is None or re.fullmatch(r"\d{4}", current) is not None
    if is_ours and (current is None or current < NEWEST):
        return Schema(missing=_names_after(current))
    if is_ours and _oldest_program(connection) <= NEWEST:
        return Schema(newer=current)
    raise DatabaseIncompatible(
        f"The database is at migration {current}, which this version cannot use: it knows the "
        f"migrations up to {NEWEST}. Run the version that migrated it, or a newer one."
    )


def _oldest_program(connection: Connection) -> str:
    """The newest migration of the oldest version that may use this newer database."""
    oldest = connection.scalar(select(schema_compatibility.c.oldest_program))
    return "unknown" if oldest is None else str(oldest)


def _record_compatibility(connection: Connection) -> None:
    """Have the database say from which version on it may be used."""
    marks = [
        script.module.oldest_program
        for script in _scripts().walk_revisions()
        if hasattr(script.module, "oldest_program")
    ]
    connection.execute(delete(schema_compatibility))
    connection.execute(insert(schema_compatibility).values(id=1, oldest_program=max(marks)))


def _names_after(current: str | None) -> tuple[str, ...]:
    missing = _scripts().iterate_revisions("head", current or "base")
    return tuple(
        f"{script.revision} ({script.doc.rstrip('.')})"
        for script in reversed(list(missing))
        if script.revision != current
    )


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
