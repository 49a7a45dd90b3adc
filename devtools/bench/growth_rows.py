"""The rows of a system that has been in use for long, written in bulk into its database.

They have the form that the product gives them and a realistic spread: attempts over the time that
their records are kept, opt-outs over two years, each from an inbound STOP.
"""

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.settings import Settings
from signedfor.store.suppressions import Action

SENDER = "+15005550006"
KEPT: timedelta = timedelta(days=Settings.model_fields["attempt_record_days"].default)
"""How long attempt records are kept by default."""
_YEARS = timedelta(days=730)
_FIRST_NUMBER = 15_550_000_000
_RECIPIENTS_PER_ATTEMPT = 4
_CHUNK = 20_000
Row = tuple[Any, ...]


def opted_out(number: int) -> str:
    """The recipient of the opt-out with this number."""
    return f"+{_FIRST_NUMBER + number}"


def fill(engine: Engine, *, opt_outs: int, attempts: int) -> None:
    """Write so many opt-outs, each with its history and its STOP, and so many attempt records."""
    chance = Random(1)  # noqa: S311 - the same rows each time, not a secret
    now = datetime.now(UTC)
    insert_rows(
        engine,
        "send_attempts",
        "message_id submission attempt is_refused fingerprint started_at recipient_hash",
        _attempts(chance, now, attempts),
    )
    moments = [now - _YEARS * (1 - number / opt_outs) for number in range(opt_outs)]
    text = "recipient scope scope_value reason source evidence"
    what = (Scope.EVERYTHING.value, "", Reason.OPTED_OUT.value, Source.INBOUND.value)
    insert_rows(
        engine,
        "suppressions",
        f"{text} created_at",
        ((opted_out(n), *what, _sid(n), at) for n, at in enumerate(moments)),
    )
    recorded = Action.RECORDED.value
    insert_rows(
        engine,
        "suppression_history",
        f"{text} at action changed_by",
        (
            (opted_out(n), *what, _sid(n), at, recorded, "inbound message")
            for n, at in enumerate(moments)
        ),
    )
    stop = InboundKind.STOP.value
    insert_rows(
        engine,
        "inbound_messages",
        "message_sid from_address to_address kind received_at",
        ((_sid(n), opted_out(n), SENDER, stop, at) for n, at in enumerate(moments)),
    )
    _analyze(engine)


def _attempts(chance: Random, now: datetime, count: int) -> Iterator[Row]:
    recipients = [chance.randbytes(32).hex() for _ in range(count // _RECIPIENTS_PER_ATTEMPT + 1)]
    for number in range(count):
        at = now - KEPT * (1 - number / count)
        message_id = f"order-{chance.randbytes(8).hex()}-{number}"
        yield (message_id, 1, 1, False, chance.randbytes(32).hex(), at, chance.choice(recipients))


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def insert_rows(engine: Engine, table: str, columns: str, rows: Iterator[Row]) -> None:
    """Write rows of these columns, whose names are separated by spaces, in bulk."""
    names = columns.split()
    if engine.dialect.name == "postgresql":
        copy = f"COPY {table} ({', '.join(names)}) FROM STDIN"
        with (
            psycopg.connect(_libpq_url(engine)) as connection,
            connection.cursor() as cursor,
            cursor.copy(copy.encode()) as writer,
        ):
            for row in rows:
                writer.write_row(row)
        return
    marks = ", ".join("?" for _ in names)
    insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our own names
    with closing(sqlite3.connect(str(engine.url.database))) as file:
        # Random keys go to random pages of the indexes: without a cache most rows read some.
        file.execute("PRAGMA cache_size = -1000000")
        file.execute("PRAGMA synchronous = OFF")
        while chunk := [_as_sqlite(row) for row in itertools.islice(rows, _CHUNK)]:
            file.executemany(insert, chunk)
        file.commit()


def _as_sqlite(row: Sequence[Any]) -> Row:
    """Times as SQLAlchemy writes them: text, in UTC."""
    return tuple(
        each.replace(tzinfo=None).isoformat(" ", "microseconds")
        if isinstance(each, datetime)
        else each
        for each in row
    )


def _analyze(engine: Engine) -> None:
    """What PostgreSQL's autovacuum does by itself after a while; SQLite has nothing like it."""
    if engine.dialect.name == "postgresql":
        with psycopg.connect(_libpq_url(engine), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _libpq_url(engine: Engine) -> str:
    url = engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def size_megabytes(engine: Engine) -> float:
    """The size of the whole database."""
    if engine.dialect.name == "postgresql":
        with psycopg.connect(_libpq_url(engine)) as connection:
            [(found,)] = connection.execute("SELECT pg_database_size(current_database())")
    else:
        with closing(sqlite3.connect(str(engine.url.database))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            [(pages,)] = connection.execute("PRAGMA page_count")
            [(page_size,)] = connection.execute("PRAGMA page_size")
            found = pages * page_size
    return float(found) / 2**20
