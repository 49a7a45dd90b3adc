"""What became of each sender's messages, added up by the minute by all workers."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from signedfor.breaker_limits import SenderCounts
from signedfor.store.database import delete_in_batches, insert_for, transaction
from signedfor.store.tables import sender_results

RETENTION: Final = timedelta(days=2)
"""Twice the longest time in which anything counts."""
COUNTED: Final = tuple(each.name for each in fields(SenderCounts))
"""The columns with counts, each named as in `SenderCounts`."""
_column = sender_results.c
_BATCH: Final = 500

Key = tuple[str, datetime]
"""A sender and a minute."""


def minute_of(moment: datetime) -> datetime:
    """The minute in which something is counted."""
    return moment.replace(second=0, microsecond=0)


class SenderResults:
    """The counts in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, counts: Mapping[Key, SenderCounts]) -> None:
        """Add to what is counted, in one transaction."""
        # In one order, so that two workers never wait for each other.
        rows = [
            {"sender": sender, "minute": minute, **asdict(counts[sender, minute])}
            for sender, minute in sorted(counts)
        ]
        with transaction(self._engine) as connection:
            insert = insert_for(connection.dialect.name, sender_results)
            for first in range(0, len(rows), _BATCH):
                statement = insert.values(rows[first : first + _BATCH])
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=[_column.sender, _column.minute],
                        set_={each: _column[each] + statement.excluded[each] for each in COUNTED},
                    )
                )

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older counts in batches; return how many."""
        return delete_in_batches(self._engine, sender_results, _column.minute < before, stop=stop)
