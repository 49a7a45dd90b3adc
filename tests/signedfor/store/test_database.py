"""Database access: transactions, short waits, one type of error, and no personal data in errors."""

import socket
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, exc, inspect, text

from signedfor.store.database import (
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    insert_if_new,
    open_engine,
    overwrite_free_space,
    parse_url,
    transaction,
)
from signedfor.store.tables import inbound_messages
from tests.fixtures.databases import PostgresServer

NUMBER = "+15558675309"
MESSAGE = {
    "message_sid": "SM1",
    "from_address": NUMBER,
    "to_address": "+15005550006",
    "kind": "other",
    "received_at": datetime(2026, 11, 21, tzinfo=UTC),
}


def _count(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        count: int = connection.scalar(text("SELECT count(*) FROM inbound_messages")) or 0
        return count


def _run_at_once(work: Callable[[], None], *, times: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///my.db", "sqlite:///my.db"),
        ("sqlite:////data/my.db", "sqlite:////data/my.db"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ],
)
def test_accepted_urls(url: str, expected: str) -> None:
    """SQLite files and PostgreSQL, under all its usual names, are accepted."""
    assert parse_url(url).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "open-sesame",
        "mysql://user:open-sesame@host/name",
        "postgresql+psycopg2://user:open-sesame@host/name",
        "postgresql://user:open-sesame@host:port/name",
        "postgresql//user:open-sesame@host/name",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:open-sesame?mode=memory&uri=true",
    ],
)
def test_refused_urls(url: str) -> None:
    """The error names the variable and repeats no part of the URL."""
    with pytest.raises(InvalidDatabaseUrl) as caught:
        open_engine(url)

    assert str(caught.value).startswith("DATABASE_URL: ")
    assert "open-sesame" not in "".join(traceback.format_exception(caught.value))


def test_sqlite_connections_are_durable(tmp_path: Path) -> None:
    """Commits survive a power cut, and readers do not wait for writers."""
    engine = open_engine(f"sqlite:///{tmp_path / 'my.db'}")
    try:
        with transaction(engine) as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
    finally:
        engine.dispose()

    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 5_000,
    }


def test_postgresql_timeouts_are_short(postgres_server: PostgresServer) -> None:
    """Locks and statements time out within seconds, unless the URL's options say otherwise."""
    url = postgres_server.url("postgres")
    expected = {url: "5s", f"{url}?options=-c%20lock_timeout%3D42s": "42s"}
    for each, lock_timeout in expected.items():
        engine = open_engine(each)
        try:
            with transaction(engine) as connection:
                settings = [
                    connection.exec_driver_sql(f"SHOW {name}").scalar()
                    for name in ("lock_timeout", "statement_timeout", "TimeZone")
                ]
        finally:
            engine.dispose()

        assert settings == [lock_timeout, "7s", "UTC"]


def test_an_exception_rolls_the_transaction_back(engine: Engine) -> None:
    """Even the creation of a table is rolled back."""

    def fail_after_writing() -> None:
        with transaction(engine) as connection:
            connection.execute(inbound_messages.insert(), MESSAGE)
            connection.execute(text("CREATE TABLE rolled_back (id INTEGER)"))
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_writing()

    assert _count(engine) == 0
    assert "rolled_back" not in inspect(engine).get_table_names()


def test_joined_work_is_part_of_the_outer_transaction(engine: Engine) -> None:
    """It is rolled back together with it."""

    def fail_after_joined_work() -> None:
        with transaction(engine) as connection:
            with transaction(engine, joining=connection) as joined:
                joined.execute(inbound_messages.insert(), MESSAGE)
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_joined_work()

    assert _count(engine) == 0


def test_insert_if_new_keeps_the_first_row(engine: Engine) -> None:
    """The second insert of a key returns no row and changes nothing."""
    returned = []
    for kind in ("other", "help"):
        with transaction(engine) as connection:
            statement = insert_if_new(connection, inbound_messages).values(
                **{**MESSAGE, "kind": kind}
            )
            row = connection.execute(statement.returning(inbound_messages.c.kind)).first()
            returned.append(row and row.kind)

    assert returned == ["other", None]


def test_a_sqlite_reader_sees_a_snapshot(tmp_path: Path) -> None:
    """It neither waits for a writer nor sees its changes during the transaction."""
    engine = open_engine(f"sqlite:///{tmp_path / 'my.db'}")
    query = text("SELECT count(*) FROM things")
    try:
        with transaction(engine) as connection:
            connection.execute(text("CREATE TABLE things (id INTEGER)"))
        with transaction(engine, read_only=True) as reader:
            before = reader.scalar(query)
            with transaction(engine) as writer:
                writer.execute(text("INSERT INTO things VALUES (1)"))
            during = reader.scalar(query)
        with transaction(engine, read_only=True) as reader:
            after = reader.scalar(query)
    finally:
        engine.dispose()

    assert (before, during, after) == (0, 0, 1)


def test_a_locked_database_is_unavailable(engine: Engine, database_url: str) -> None:
    """A transaction that meets a lock waits for the configured time before it fails."""
    waiting = open_engine(database_url, lock_wait_seconds=0.3)
    statement = text("UPDATE inbound_messages SET kind = 'help'")
    try:
        with transaction(engine) as connection:
            connection.execute(inbound_messages.insert(), MESSAGE)
        with transaction(engine) as holder:
            holder.execute(statement)
            start = time.monotonic()
            with pytest.raises(DatabaseUnavailable, match="lock"), transaction(waiting) as other:
                other.execute(statement)
            waited = time.monotonic() - start
    finally:
        waiting.dispose()

    assert 0.25 < waited < 5


def test_concurrent_read_modify_write_loses_no_update(database_url: str) -> None:
    """Transactions that read a number and write it plus one run one after another."""
    engine = open_engine(database_url)
    key = {"message_sid": "SM1"}
    read = text("SELECT body FROM inbound_messages WHERE message_sid = :message_sid")
    if engine.dialect.name == "postgresql":
        read = text(f"{read.text} FOR UPDATE")
    write = text("UPDATE inbound_messages SET body = :body WHERE message_sid = :message_sid")
    with transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), {**MESSAGE, "kind": "review", "body": "0"})
    failures: list[Exception] = []

    def add_one() -> None:
        try:
            for _ in range(10):
                with transaction(engine) as connection:
                    before = int(connection.scalar(read, key) or 0)
                    connection.execute(write, {**key, "body": str(before + 1)})
        except DatabaseUnavailable as error:
            failures.append(error)

    _run_at_once(add_one, times=6)
    with transaction(engine) as connection:
        total = connection.scalar(read, key)
    engine.dispose()

    assert not failures
    assert total == "60"


def test_an_exhausted_pool_is_unavailable(database_url: str) -> None:
    """A transaction that gets no connection in time raises our error, not SQLAlchemy's."""
    engine = open_engine(database_url, pool_size=1, lock_wait_seconds=0.1)
    try:
        with (
            transaction(engine, read_only=True),
            pytest.raises(DatabaseUnavailable, match="pool"),
            transaction(engine, read_only=True),
        ):
            pass
    finally:
        engine.dispose()


def test_missing_tables_are_unavailable(empty_database_url: str) -> None:
    """A database that has not been migrated yet is a temporary problem."""
    engine = open_engine(empty_database_url)
    try:
        with pytest.raises(DatabaseUnavailable, match="migrated"):
            _count(engine)
    finally:
        engine.dispose()


def test_an_unusable_path_is_unavailable(tmp_path: Path) -> None:
    """The error names the path, here of a folder."""
    engine = open_engine(f"sqlite:///{tmp_path}")

    with pytest.raises(DatabaseUnavailable, match=tmp_path.name), transaction(engine):
        pass


def test_a_corrupt_file_is_unavailable(sqlite_url: str) -> None:
    """An error of the driver at the start of a transaction is converted too."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    engine = open_engine(sqlite_url)
    _count(engine)
    for each in path.parent.glob(f"{path.name}*"):
        each.write_bytes(b"no database" * 1000)

    with pytest.raises(DatabaseUnavailable, match=path.name), transaction(engine):
        pass
    engine.dispose()


def test_a_read_only_transaction_cannot_write(postgres_server: PostgresServer) -> None:
    """The next transaction on the same connection can write again."""
    engine = open_engine(postgres_server.url("postgres"), pool_size=1)
    try:
        with (
            pytest.raises(DatabaseUnavailable, match="read-only"),
            transaction(engine, read_only=True) as connection,
        ):
            connection.execute(text("CREATE TABLE refused (id INTEGER)"))
        with transaction(engine) as connection:
            connection.execute(text("CREATE TEMPORARY TABLE allowed (id INTEGER)"))
    finally:
        engine.dispose()


def test_an_unreachable_server_is_unavailable() -> None:
    """The error names the host, but not the password."""
    engine = open_engine("postgresql://user:open-sesame@127.0.0.1:1/name")

    with pytest.raises(DatabaseUnavailable) as caught, transaction(engine):
        pass

    assert "at 127.0.0.1" in str(caught.value)
    assert "open-sesame" not in "".join(traceback.format_exception(caught.value))


def test_an_unresponsive_server_is_unavailable_within_seconds() -> None:
    """A server may accept the connection and then not respond."""
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:
        engine = open_engine(f"postgresql://user@127.0.0.1:{unresponsive.getsockname()[1]}/name")
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable), transaction(engine):
            pass

    assert time.monotonic() - start < 10


def test_a_lost_connection_is_replaced(postgres_server: PostgresServer, postgres_url: str) -> None:
    """After the server closed all connections, the current transaction fails; the next works."""
    engine = open_engine(postgres_url)
    administration = open_engine(postgres_server.url("postgres"))
    end_all = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"
    )

    def lose_connections() -> None:
        with transaction(administration) as connection:
            connection.execute(end_all, {"name": parse_url(postgres_url).database})

    def lose_connections_during_a_transaction() -> None:
        with transaction(engine) as connection:
            lose_connections()
            connection.execute(inbound_messages.insert(), MESSAGE)

    try:
        with pytest.raises(DatabaseUnavailable):
            lose_connections_during_a_transaction()
        assert _count(engine) == 0
        lose_connections()
        assert _count(engine) == 0
    finally:
        engine.dispose()
        administration.dispose()


def test_constraint_errors_contain_no_values(engine: Engine) -> None:
    """A violated constraint is a bug: the error is not converted, but its values are hidden."""
    invalid = [MESSAGE, {**MESSAGE, "message_sid": "SM2", "media": f"call {NUMBER}"}]
    with transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), MESSAGE)
    for row in invalid:
        with pytest.raises(exc.IntegrityError) as caught, transaction(engine) as connection:
            connection.execute(inbound_messages.insert(), row)

        output = "".join(traceback.format_exception(caught.value))
        assert NUMBER not in output
        assert "SM1" not in output


def test_refused_values_are_not_repeated(postgres_url: str) -> None:
    """PostgreSQL's message about a value of the wrong type quotes it, and must not be shown."""
    engine = open_engine(postgres_url)
    try:
        with pytest.raises(exc.DataError) as caught, transaction(engine) as connection:
            connection.execute(text("SELECT CAST(:value AS INTEGER)"), {"value": f"#{NUMBER}"})
    finally:
        engine.dispose()

    assert NUMBER not in "".join(traceback.format_exception(caught.value))


def test_many_threads_can_write(engine: Engine) -> None:
    """Threads that share an engine lose no row and raise no lock errors."""
    failures: list[Exception] = []

    def write(thread: int) -> None:
        try:
            for index in range(20):
                with transaction(engine) as connection:
                    connection.execute(
                        inbound_messages.insert(), {**MESSAGE, "message_sid": f"{thread}:{index}"}
                    )
        except DatabaseUnavailable as error:
            failures.append(error)

    numbers = iter(range(8))
    _run_at_once(lambda: write(next(numbers)), times=8)

    assert not failures
    assert _count(engine) == 160


def test_nothing_that_was_deleted_stays_in_the_files(sqlite_url: str, tmp_path: Path) -> None:
    """SQLite leaves it in free pages, unless it was built otherwise, and in its log."""
    engine = open_engine(sqlite_url)
    canaries = [f"canary-{number}" for number in range(200)]
    with sqlite3.connect(tmp_path / "signedfor.db") as connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.executemany(
            "INSERT INTO watermarks VALUES (?, '2026-01-01')", [(each,) for each in canaries]
        )
        connection.commit()
        connection.execute("DELETE FROM watermarks")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()

    def content() -> bytes:
        return b"".join(each.read_bytes() for each in tmp_path.glob("signedfor.db*"))

    assert b"canary-" in content()
    assert overwrite_free_space(engine)
    assert b"canary-" not in content()
    engine.dispose()


def test_a_process_that_still_reads_keeps_the_log(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, instead of waiting for ever."""
    monkeypatch.setattr("signedfor.store.database._CHECKPOINT_SECONDS", 0.2)
    engine, reader = open_engine(sqlite_url, lock_wait_seconds=0.2), open_engine(sqlite_url)

    with transaction(reader, read_only=True) as connection:
        connection.execute(text("SELECT count(*) FROM watermarks")).scalar_one()
        with transaction(engine) as writing:
            writing.execute(text("DELETE FROM watermarks"))
        assert not overwrite_free_space(engine)
    assert overwrite_free_space(engine)
    for each in (engine, reader):
        each.dispose()
