"""How many messages have begun of late, for each limit of `MESSAGE_LIMITS`.

A row has the counts of one limit, in buckets of a 24th of the window. A bucket counts until a whole
window after its end, so there are never more messages than allowed in any window. Whoever counts
locks the row until its transaction ends, so no two workers count past each other.
"""

import json
import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, select, update

from signedfor.message_limits import Limit
from signedfor.store.database import delete_in_batches, insert_for
from signedfor.store.tables import limit_usage

BUCKETS: Final = 24
_Counts = dict[int, int]
"""Messages by bucket; buckets are numbered from the epoch."""

_column = limit_usage.c
_FIND = select(_column.counts).where(_column.limit_key == bindparam("of_key"))
_WRITE = update(limit_usage).where(_column.limit_key == bindparam("of_key"))


@dataclass(frozen=True, kw_only=True)
class LimitUsed:
    """A limit has no place for the message."""

    rule: str
    until: datetime
    """When one is free, and up to a bucket later: others wait for it too."""
    max_wait: timedelta
    """Within this time a place becomes free, unless other messages take it."""


def used_limit(
    connection: Connection, limits: Sequence[Limit], *, now: datetime
) -> LimitUsed | None:
    """The limit with no place left now, if there is one. Counts nothing."""
    found = ((limit, connection.execute(_FIND, {"of_key": limit.key}).scalar()) for limit in limits)
    return _first_used(((limit, _read(counts)) for limit, counts in found), now=now)


def count_message(
    connection: Connection, limits: Sequence[Limit], *, now: datetime
) -> LimitUsed | None:
    """Count one message in each limit; or return the limit that has no place for it.

    Then the transaction must be rolled back.
    """
    counts = [(limit, _read(_lock(connection, limit, now=now))) for limit in limits]
    used = _first_used(counts, now=now)
    if used is None:
        connection.execute(_WRITE, [_counted(limit, each, now=now) for limit, each in counts])
    return used


def count_begun(connection: Connection, limits: Sequence[Limit], *, at: datetime) -> None:
    """Count a message that began then, also beyond a limit: it was sent, or may have been."""
    for limit in limits:
        counts = _read(_lock(connection, limit, now=at))
        connection.execute(_WRITE, _counted(limit, counts, now=at))


def purge(engine: Engine, *, before: datetime, stop: threading.Event | None = None) -> int:
    """Delete the rows that count nothing any more since then, in batches; return how many."""
    return delete_in_batches(engine, limit_usage, _column.expires_at < before, stop=stop)


def _lock(connection: Connection, limit: Limit, *, now: datetime) -> str:
    """The counts of the limit, which nobody else changes before this transaction ends."""
    new = insert_for(connection.dialect.name, limit_usage).values(
        limit_key=limit.key,
        person_reference=limit.person_reference,
        counts="{}",
        expires_at=now,
    )
    kept = {"expires_at": _column.expires_at}
    locked = new.on_conflict_do_update(index_elements=[_column.limit_key], set_=kept)
    counts: str = connection.execute(locked.returning(_column.counts)).scalar_one()
    return counts


def _read(counts: str | None) -> _Counts:
    return {int(bucket): number for bucket, number in json.loads(counts or "{}").items()}


def _first_used(usage: Iterable[tuple[Limit, _Counts]], *, now: datetime) -> LimitUsed | None:
    for limit, counts in usage:
        until = _free_at(limit, counts, now=now)
        if until is not None:
            width = limit.rule.window / BUCKETS
            return LimitUsed(
                rule=limit.rule.text,
                until=until + width * random.random(),  # noqa: S311 - jitter, not a secret
                max_wait=limit.rule.window + 2 * width,
            )
    return None


def _free_at(limit: Limit, counts: _Counts, *, now: datetime) -> datetime | None:
    """When the limit has a place again; None: it has one now."""
    still = _in_window(limit, counts, now=now)
    left = sum(still.values()) - limit.rule.messages
    if left < 0:
        return None
    for bucket in sorted(still):
        left -= still[bucket]
        if left < 0:
            break
    return _end_of(limit, bucket)


def _counted(limit: Limit, counts: _Counts, *, now: datetime) -> dict[str, Any]:
    bucket = _bucket(limit, now)
    kept = _in_window(limit, counts, now=now)
    kept[bucket] = kept.get(bucket, 0) + 1
    return {
        "of_key": limit.key,
        "counts": json.dumps(kept),
        "expires_at": _end_of(limit, max(kept)),
    }


def _in_window(limit: Limit, counts: _Counts, *, now: datetime) -> _Counts:
    first = _bucket(limit, now) - BUCKETS
    return {bucket: number for bucket, number in counts.items() if bucket >= first}


def _bucket(limit: Limit, moment: datetime) -> int:
    return int(moment.timestamp() * BUCKETS // limit.rule.window.total_seconds())


def _end_of(limit: Limit, bucket: int) -> datetime:
    """When the bucket no longer counts: a window after its end."""
    seconds = (bucket + 1 + BUCKETS) * limit.rule.window.total_seconds() / BUCKETS
    return datetime.fromtimestamp(seconds, UTC)
