"""Opens the database and its transactions; the same code serves SQLite and PostgreSQL.

Errors: work inside `transaction` raises `DatabaseUnavailable` when the database cannot be reached,
is locked, read-only or not migrated: catch that type to try again later.
SQLAlchemy's IntegrityError, DataError and ProgrammingError pass through: they are defects. No
error message contains a value: parameters are hidden, and so are the lines in which PostgreSQL
quotes rows.
"""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    ExceptionContext,
    Table,
    Update,
    create_engine,
    delete,
    event,
    exc,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL

_POSTGRESQL_DRIVERS = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_CONNECT_TIMEOUT_SECONDS = 3
_QUEUE = "signedfor_writer_queue"
_LISTENERS = "signedfor_outage_listeners"
_DATABASE_ERRORS = (exc.DBAPIError, exc.TimeoutError, sqlite3.DatabaseError)
_OBSERVERS = "signedfor_transaction_observers"
_NOT_MIGRATED = frozenset({"42P01", "42703"})
"""PostgreSQL's undefined_table and undefined_column; SQLite reports an operational error."""
_MIN_PAUSE_SECONDS = 0.05
"""Between two batches. SQLite's writers in other processes poll, at most 0.1 s apart."""

# A network that drops packets must fail within seconds too; the server's timeouts do not help.
_TCP_SETTINGS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class InvalidDatabaseUrl(ValueError):
    """DATABASE_URL cannot be used; the message never repeats it."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached, is locked, read-only or not migrated: try again later."""


class TransactionResult(StrEnum):
    """How a transaction went."""

    OK = "ok"
    """Also if its work rolled it back."""
    UNAVAILABLE = "unavailable"
    """It raised `DatabaseUnavailable`."""
    FAILED = "failed"
    """It raised another error of the database: a defect."""


class TransactionObserver(Protocol):
    """What is called after each transaction, in its thread."""

    def __call__(self, seconds: float, result: TransactionResult, *, read_only: bool) -> None:
        """Take in how long it took, with the wait for a connection and for locks."""


def parse_url(url: str) -> URL:
    """Return the SQLAlchemy URL for a DATABASE_URL.

    Accepts `sqlite:///relative/path`, `sqlite:////absolute/path`, `postgresql://…`, `postgres://…`.

    Raises:
        InvalidDatabaseUrl: anything else. The message repeats no part of the URL, which may contain
            a password.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite":
        # Every pooled connection would get an empty in-memory database of its own.
        if parsed.database in {None, "", ":memory:"} or str(parsed.database).startswith("file:"):
            raise InvalidDatabaseUrl("DATABASE_URL: name a file, such as sqlite:///data/my.db")
        return parsed
    if parsed is not None and parsed.drivername in _POSTGRESQL_DRIVERS:
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidDatabaseUrl(
        "DATABASE_URL: must begin with sqlite:///, postgresql:// or postgres:// "
        "and be a valid URL (percent-encode special characters in the password)"
    )


def open_engine(url: str, *, pool_size: int = 10, lock_wait_seconds: float = 5) -> Engine:
    """Open `url` (see `parse_url`); the first transaction connects.

    Thread-safe. At most `pool_size` connections are open at a time; a transaction that waits longer
    than `lock_wait_seconds` for one, or for a lock, fails with `DatabaseUnavailable`.
    """
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(
        parsed if is_sqlite else parsed.difference_update_query(["options"]),
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=lock_wait_seconds,
        pool_pre_ping=not is_sqlite,
        connect_args=(
            {"timeout": lock_wait_seconds, "isolation_level": None}
            if is_sqlite
            else _postgresql_settings(parsed, lock_wait_seconds)
        ),
        execution_options={
            _LISTENERS: [],
            _OBSERVERS: [],
            **({_QUEUE: _WriterQueue(lock_wait_seconds)} if is_sqlite else {}),
        },
    )
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "handle_error", _drop_quoted_rows)
    return engine


def on_unavailable(engine: Engine, notify: Callable[[], None]) -> None:
    """Have `notify` called whenever a transaction of `engine` finds the database unavailable.

    It is called in the transaction's thread.
    """
    engine.get_execution_options()[_LISTENERS].append(notify)


def observe_transactions(engine: Engine, observer: TransactionObserver) -> None:
    """Have `observer` called after each transaction of `engine`, before the caller goes on."""
    engine.get_execution_options()[_OBSERVERS].append(observer)


@contextmanager
def transaction(
    engine: Engine, *, joining: Connection | None = None, read_only: bool = False
) -> Iterator[Connection]:
    """Yield a connection in a transaction: committed at the end, rolled back on any exception.

    With `joining`, the work becomes part of that open transaction, whose owner commits it. On
    SQLite a transaction that is not `read_only` takes the write lock at once, so that it can never
    read first and then fail to write.

    Raises:
        DatabaseUnavailable: see the module's docstring.
    """
    try:
        if joining is not None:
            yield joining
        else:
            with _observed(engine, read_only=read_only), _begun(engine, read_only=read_only) as own:
                yield own
    except _DATABASE_ERRORS as error:
        if not _means_unavailable(error):
            raise
        _notify(engine)
        raise DatabaseUnavailable(
            f"The database could not be used: {_cause(error)}. "
            f"Check that the {_name(engine.url)} is up, writable and migrated."
        ) from error


@contextmanager
def _begun(engine: Engine, *, read_only: bool) -> Iterator[Connection]:
    is_sqlite = engine.dialect.name == "sqlite"
    with _turn(engine, read_only=read_only), engine.connect() as connection:
        if read_only and not is_sqlite:
            connection.execution_options(postgresql_readonly=True)
        with connection.begin():
            if is_sqlite:
                _begin_sqlite(connection, read_only=read_only)
            yield connection


@contextmanager
def _observed(engine: Engine, *, read_only: bool) -> Iterator[None]:
    result, started = TransactionResult.OK, time.perf_counter()
    try:
        yield
    except (*_DATABASE_ERRORS, DatabaseUnavailable) as error:
        is_away = isinstance(error, DatabaseUnavailable) or _means_unavailable(error)
        result = TransactionResult.UNAVAILABLE if is_away else TransactionResult.FAILED
        raise
    finally:
        seconds = time.perf_counter() - started
        for observe in engine.get_execution_options().get(_OBSERVERS, ()):
            observe(seconds, result, read_only=read_only)


class _WriterQueue:
    """Lets one thread of this process write at a time.

    SQLite allows one writer, and the others sleep and retry: measured with 8 threads, half the
    transactions per second and a p99 of 340 ms instead of 1.8 ms.
    """

    def __init__(self, timeout: float) -> None:
        self._lock = threading.Lock()
        self._timeout = timeout

    @contextmanager
    def turn(self, engine: Engine) -> Iterator[None]:
        if not self._lock.acquire(timeout=self._timeout):
            _notify(engine)
            raise DatabaseUnavailable(
                "The database could not be used: another writer has it locked. "
                "Check that no other program keeps the file locked."
            )
        try:
            yield
        finally:
            self._lock.release()


def _turn(engine: Engine, *, read_only: bool) -> AbstractContextManager[None]:
    queue = engine.get_execution_options().get(_QUEUE)
    return nullcontext() if read_only or queue is None else queue.turn(engine)


def _notify(engine: Engine) -> None:
    for notify in engine.get_execution_options().get(_LISTENERS, ()):
        notify()


def current_time(connection: Connection) -> datetime:
    """The database's time; that of this machine with SQLite, whose file is on it."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


def lock_person(connection: Connection, key: str) -> None:
    """Let one transaction at a time change what concerns this person; others wait for its end.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name != "sqlite":
        digest = hashlib.sha256(key.encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(number)))


def insert_for(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT into `table` that supports ON CONFLICT."""
    if dialect == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_if_new(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT into `table` that leaves an existing row unchanged.

    Add `.returning(…)` to learn which rows were new, also under concurrency.
    """
    return insert_for(connection.dialect.name, table).on_conflict_do_nothing()


def delete_in_batches(
    engine: Engine,
    table: Table,
    where: ColumnElement[bool],
    *,
    batch_size: int = 2_000,
    stop: threading.Event | None = None,
) -> int:
    """Delete the matching rows of `table`, whose primary key is one column; return how many.

    Each batch is a transaction of its own, followed by a pause at least as long, so other writers
    wait for one batch at most. Several processes may run it at once. `stop` ends it early.

    Raises:
        DatabaseUnavailable: earlier batches stay deleted.
    """
    change, [key] = delete(table), table.primary_key.columns
    return _in_batches(engine, key, change, where, batch_size=batch_size, stop=stop)


def update_in_batches(
    engine: Engine,
    key: Column[Any],
    where: ColumnElement[bool],
    values: Mapping[str, Any],
    *,
    batch_size: int = 2_000,
    stop: threading.Event | None = None,
) -> int:
    """Update the matching rows of the table whose primary key is `key`; return how many.

    The rows must not match any more then. Otherwise like `delete_in_batches`.
    """
    change = update(key.table).values(**values)
    return _in_batches(engine, key, change, where, batch_size=batch_size, stop=stop)


def _in_batches(
    engine: Engine,
    key: ColumnElement[Any],
    change: Delete | Update,
    where: ColumnElement[bool],
    *,
    batch_size: int,
    stop: threading.Event | None,
) -> int:
    stop = stop or threading.Event()
    # Skipping locked rows lets several processes work at once; SQLite has no such lock.
    batch = select(key).where(where).limit(batch_size).with_for_update(skip_locked=True)
    changed = 0
    while not stop.is_set():
        started = time.monotonic()
        with transaction(engine) as connection:
            keys = connection.scalars(batch).all()
            connection.execute(change.where(key.in_(keys)))
        changed += len(keys)
        if len(keys) < batch_size:
            break
        stop.wait(max(_MIN_PAUSE_SECONDS, time.monotonic() - started))
    return changed


def _postgresql_settings(url: URL, lock_wait_seconds: float) -> dict[str, Any]:
    """Return libpq's parameters; the URL's own take precedence."""
    lock_timeout = round(lock_wait_seconds * 1000)
    session = {
        "TimeZone": "UTC",
        "lock_timeout": lock_timeout,
        # Later than the lock timeout, whose error is more specific.
        "statement_timeout": lock_timeout + 2_000,
        # A frozen process must not keep its locks forever.
        "idle_in_transaction_session_timeout": 60_000,
    }
    ours = " ".join(f"-c {name}={value}" for name, value in session.items())
    theirs = url.query.get("options", "")
    settings: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, **_TCP_SETTINGS}
    defaults = {name: value for name, value in settings.items() if name not in url.query}
    # PostgreSQL uses the last of two equal settings.
    return defaults | {
        "options": f"{ours} {theirs if isinstance(theirs, str) else ' '.join(theirs)}"
    }


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Make a new SQLite connection durable; `isolation_level` None leaves BEGIN to us.

    By default the driver begins no transaction for SELECT and DDL, and a deferred one otherwise.
    """
    try:
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        # With WAL, readers and the writer do not block each other. The mode is stored in the file.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")
    except BaseException:
        connection.close()
        raise


def _begin_sqlite(connection: Connection, *, read_only: bool) -> None:
    """Begin: readers share, writers take the write lock now.

    Directly with the driver: a statement through SQLAlchemy takes three times the CPU.
    """
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - the dialect guarantees it
    driver.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _drop_quoted_rows(context: ExceptionContext) -> None:
    """Cut PostgreSQL's message to its first line: DETAIL and CONTEXT quote row values."""
    import psycopg  # noqa: PLC0415 - slow to import, and SQLite does not need it

    original = context.original_exception
    if not isinstance(original, psycopg.Error) or original.diag.message_primary is None:
        return
    kind = type(original).__name__
    # "invalid input syntax for …" quotes the value in its first line.
    first_line = kind if isinstance(original, psycopg.DataError) else original.diag.message_primary
    original.args = (first_line,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({kind}) {first_line}",)


def _means_unavailable(error: Exception) -> bool:
    if isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", "") in _NOT_MIGRATED:
        return True
    return not isinstance(
        error, exc.IntegrityError | exc.DataError | exc.ProgrammingError | exc.NotSupportedError
    )


def _cause(error: Exception) -> str:
    if isinstance(error, exc.TimeoutError):
        return "no pooled connection became free in time"
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return " ".join(str(cause).split())


def _name(url: URL) -> str:
    """Return a name by which an operator recognizes the database: no user, password or options."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {url.database}"
    return f"PostgreSQL database {url.database} at {url.host or 'the default host'}"
