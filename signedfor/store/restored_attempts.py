"""Attempt records that a restored database lacks, written again from what Temporal knows.

Often Temporal shows which submission a POST was made of. If not, the record has no number: it holds
whichever submission the message attempts next, and gets the number of that one.

The duplicate guard sees them, and the limits count them, like those that a claim has written.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, delete, func, select

from signedfor.message_limits import Limit
from signedfor.store.database import insert_for, transaction
from signedfor.store.limit_usage import count_begun
from signedfor.store.tables import ERASED, UNNUMBERED, send_attempts

_column = send_attempts.c
_KEY: Final = ("message_id", "submission")
_DETAILS: Final = (
    "fingerprint",
    "started_at",
    "recipient_hash",
    "sender",
    "person_reference",
    "content_hash",
)


@dataclass(frozen=True, kw_only=True)
class RestoredAttempt:
    """A POST that may have been made. Equal ones are the same row."""

    message_id: str
    submission: int
    started_at: datetime
    """Not later than the POST."""
    fingerprint: str
    recipient_hash: str
    sender: str
    person_reference: str
    content_hash: str
    limits: tuple[Limit, ...] = ()
    """Those that count the message, once."""
    counted_at: datetime
    """When they count it: when it began, or at the latest may have begun."""


class RestoredAttempts:
    """Adds attempt records to the database of `engine`. Never while a worker runs.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def missing(self, attempts: Collection[RestoredAttempt]) -> list[RestoredAttempt]:
        """Those that the database does not have, or has as refused.

        Nothing is missing of a message to a person who was erased.
        """
        with transaction(self._engine, read_only=True) as connection:
            held = _held(connection, {each.message_id for each in attempts})
        return [
            each
            for each in attempts
            if not any(number in {each.submission, ERASED} for number in held[each.message_id])
        ]

    def add(self, attempts: Sequence[RestoredAttempt]) -> None:
        """Write these, as held: Twilio may have each of them.

        A message that has no record yet is counted in its limits; others have been.
        """
        with transaction(self._engine) as connection:
            for first in _first_of_each(connection, attempts):
                count_begun(connection, first.limits, at=first.counted_at)
            for each in attempts:
                _hold(connection, {name: getattr(each, name) for name in (*_KEY, *_DETAILS)})


def number_restored(engine: Engine, message_id: str, submission: int) -> None:
    """Give the message's record without a number, if there is one, the number of this submission.

    Its outcome is then resolved like that of any other, and the next submission is free.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            delete(send_attempts)
            .where(_column.message_id == message_id, _column.submission == UNNUMBERED)
            .returning(*(_column[name] for name in _DETAILS))
        ).first()
        if row is not None:
            key = {"message_id": message_id, "submission": submission}
            _hold(connection, {**key, **row._mapping})  # noqa: SLF001 - SQLAlchemy's public name


def _held(connection: Connection, message_ids: Collection[str]) -> dict[str, set[int]]:
    """The submissions of each message that cannot be claimed."""
    query = select(_column.message_id, _column.submission).where(
        and_(_column.message_id.in_(message_ids), ~_column.is_refused)
    )
    found: dict[str, set[int]] = defaultdict(set)
    for row in connection.execute(query):
        found[row.message_id].add(row.submission)
    return found


def _first_of_each(
    connection: Connection, attempts: Sequence[RestoredAttempt]
) -> Iterator[RestoredAttempt]:
    """The first attempt of each message of which nothing is on record."""
    query = select(_column.message_id).where(
        _column.message_id.in_({each.message_id for each in attempts})
    )
    seen = set(connection.scalars(query))
    for each in sorted(attempts, key=lambda each: (each.submission == UNNUMBERED, each.submission)):
        if each.message_id not in seen:
            seen.add(each.message_id)
            yield each


def _hold(connection: Connection, values: dict[str, Any]) -> None:
    """Write the record; one that is there becomes held again, by another attempt."""
    statement = insert_for(connection.dialect.name, send_attempts).values(
        **values, attempt=1, is_refused=False
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[_column.message_id, _column.submission],
            set_={
                "attempt": _column.attempt + 1,
                "is_refused": False,
                "started_at": statement.excluded.started_at,
                "content_hash": func.coalesce(
                    statement.excluded.content_hash, _column.content_hash
                ),
            },
            where=_column.is_refused,
        )
    )
