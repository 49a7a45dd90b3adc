"""Deleting many rows in batches, on both databases."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, select

from signedfor.store.database import delete_in_batches, open_engine, transaction, update_in_batches
from signedfor.store.tables import send_attempts

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
OLD_ROWS = 100
BATCH_SIZE = 5
_IS_OLD = send_attempts.c.started_at < NOW


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with old rows and one new row."""
    with transaction(engine) as connection:
        for _ in range(OLD_ROWS):
            _insert(connection, NOW - timedelta(hours=1))
        _insert(connection, NOW)
    return engine


@pytest.fixture
def another_process(database_url: str) -> Iterator[Engine]:
    """An engine that shares only the database, like that of another process."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def _insert(connection: Connection, started_at: datetime) -> None:
    connection.execute(
        insert(send_attempts).values(
            message_id=str(uuid.uuid4()),
            submission=1,
            attempt=1,
            is_refused=False,
            fingerprint="f",
            recipient_hash="r",
            started_at=started_at,
        )
    )


def _old_rows(connection: Connection) -> int:
    query = select(func.count()).select_from(send_attempts).where(_IS_OLD)
    return connection.execute(query).scalar_one()


def _remaining(engine: Engine) -> tuple[int, int]:
    """Old rows, and all others."""
    with transaction(engine, read_only=True) as connection:
        total = connection.execute(select(func.count()).select_from(send_attempts)).scalar_one()
        return _old_rows(connection), total - _old_rows(connection)


@pytest.mark.parametrize("batch_size", [1, 7, OLD_ROWS // 2, OLD_ROWS, 2 * OLD_ROWS])
def test_all_matching_rows_are_deleted(
    filled: Engine, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """No other row is deleted, and the last batch need not be full."""
    monkeypatch.setattr("signedfor.store.database._MIN_PAUSE_SECONDS", 0)
    deleted = [
        delete_in_batches(filled, send_attempts, _IS_OLD, batch_size=batch_size) for _ in range(2)
    ]

    assert [OLD_ROWS, 0] == deleted
    assert (0, 1) == _remaining(filled)


def test_other_processes_write_between_the_batches(filled: Engine, another_process: Engine) -> None:
    """Another process commits while only part of the old rows has been deleted."""
    seen: list[int] = []
    finished = threading.Event()

    def write() -> None:
        # SQLite's lock has no queue: a writer without a pause would keep others from it.
        while not finished.wait(0.002):
            with transaction(another_process) as connection:
                _insert(connection, NOW)
                seen.append(_old_rows(connection))

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            deleted = delete_in_batches(filled, send_attempts, _IS_OLD, batch_size=BATCH_SIZE)
        finally:
            finished.set()
        writing.result()

    assert OLD_ROWS == deleted
    assert any(0 < count < OLD_ROWS for count in seen)
    assert (0, 1 + len(seen)) == _remaining(filled)


@pytest.mark.parametrize("batch_size", [1, BATCH_SIZE, OLD_ROWS, 2 * OLD_ROWS])
def test_only_matching_rows_are_updated(filled: Engine, batch_size: int) -> None:
    """All of them, in batches; another call finds none."""
    column = send_attempts.c.fingerprint
    where = _IS_OLD & (column == "f")
    updated = [
        update_in_batches(
            filled, send_attempts.c.id, where, {column.name: "g"}, batch_size=batch_size
        )
        for _ in range(2)
    ]

    assert [OLD_ROWS, 0] == updated
    query = select(column, func.count()).group_by(column)
    with transaction(filled, read_only=True) as connection:
        found = {text: count for text, count in connection.execute(query)}  # noqa: C416 - rows
    assert {"g": OLD_ROWS, "f": 1} == found


def test_deleting_can_be_stopped(filled: Engine) -> None:
    """It stops after the current batch; the rest is left for the next run."""
    stop = threading.Event()
    event.listen(filled, "commit", lambda _connection: stop.set())

    deleted = delete_in_batches(filled, send_attempts, _IS_OLD, batch_size=BATCH_SIZE, stop=stop)

    assert BATCH_SIZE == deleted
    assert (OLD_ROWS - BATCH_SIZE, 1) == _remaining(filled)


def test_several_processes_can_delete_at_once(filled: Engine, another_process: Engine) -> None:
    """Together they delete each row once, and leave none."""
    with ThreadPoolExecutor(2) as threads:
        deleted = list(
            threads.map(
                lambda engine: delete_in_batches(
                    engine, send_attempts, _IS_OLD, batch_size=BATCH_SIZE
                ),
                (filled, another_process),
            )
        )

    assert OLD_ROWS == sum(deleted)
    assert (0, 1) == _remaining(filled)
