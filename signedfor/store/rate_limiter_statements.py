"""The SQL statements of `RateLimiter`, each built once: building one costs more than running it.

All take `for_sender`, `at` (seconds since the epoch), `segments` and `default_rate`; those that
write insert the sender's row if there is none.

A writer whose clock is far ahead leaves times far ahead. A long backlog does too, and must keep
them. So each priority class has, besides the end of its reservations, the time since which it has
any. A reader that finds *that* in the future knows the writer's clock was wrong, and counts the
reservations from its own time on instead: what remains is what the backlog explains. And nobody is
busy for longer than the longest message takes. Where the sender's row is written next, it is so
corrected.
"""

import functools
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Double,
    Exists,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from signedfor.clock import MAX_SKEW
from signedfor.contract.fields import MAX_BODY_CHARACTERS
from signedfor.store.database import insert_for
from signedfor.store.tables import senders


class PriorityClass(IntEnum):
    """A message's priority at its sender; a lower value goes first."""

    URGENT = 0
    EXPEDITED = 1
    """A retry, or a message that was requeued and would expire before the end of the queue."""
    NORMAL = 2


# Found by simulation over rates of 1 to 50 segments per second, messages of 1 to 10 segments and
# timers that are late by a quarter of a second on average. The resulting guarantees are asserted in
# `tests/signedfor/store/test_rate_limiter_simulated.py` and measured by the pacing benchmark.
BURST_TOLERANCE: Final = 0.6
"""Seconds by which the sender may be busy ahead of now and still send another message."""
URGENT_BURST_TOLERANCE: Final = 0.9
"""The same for an urgent message: more, so that it goes before messages that wait a moment."""
_URGENT_GUARD: Final = 0.3
"""Seconds before the end of the urgent reservations from which other messages pass again, so that
an urgent message that is slightly late, above all at a slow sender, is not held up by one of them.
"""

MAX_AHEAD: Final = 2 * MAX_SKEW.total_seconds()
"""Seconds by which the clock of a writer that may send is ahead of a reader's, at most."""
MAX_SEGMENTS: Final = -(-MAX_BODY_CHARACTERS // 33)
"""More than any message has: a segment of UCS-2 holds 67 code units, and a character takes two."""

_TOLERANCE = {
    PriorityClass.URGENT: URGENT_BURST_TOLERANCE,
    PriorityClass.EXPEDITED: BURST_TOLERANCE,
    PriorityClass.NORMAL: BURST_TOLERANCE,
}
_RESERVED_UNTIL = {
    PriorityClass.URGENT: senders.c.urgent_reserved_until,
    PriorityClass.EXPEDITED: senders.c.expedited_reserved_until,
    PriorityClass.NORMAL: senders.c.normal_reserved_until,
}
_RESERVED_SINCE = {
    PriorityClass.URGENT: senders.c.urgent_reserved_since,
    PriorityClass.EXPEDITED: senders.c.expedited_reserved_since,
    PriorityClass.NORMAL: senders.c.normal_reserved_since,
}

_for_sender = bindparam("for_sender", type_=String)
_at = bindparam("at", type_=Double)
_segments = bindparam("segments", type_=Double)
_default_rate = bindparam("default_rate", type_=Double)
_column = senders.c

_rate = func.coalesce(_column.rate, _default_rate)
_DURATION = type_coerce(_segments / _rate, Double)
"""How long the segments keep the sender busy, in seconds."""
_DURATION_OF_FIRST = type_coerce(_segments / _default_rate, Double)

Upsert = postgresql.Insert | sqlite.Insert


class _Latest(GenericFunction[float]):
    """The greatest of its arguments."""

    type = Double()
    name = "greatest"
    inherit_cache = True


class _Earliest(GenericFunction[float]):
    """The least of its arguments."""

    type = Double()
    name = "least"
    inherit_cache = True


@compiles(_Latest, "sqlite")
def _latest_in_sqlite(element: _Latest, compiler: SQLCompiler, **options: Any) -> str:
    return f"max{compiler.process(element.clause_expr, **options)}"


@compiles(_Earliest, "sqlite")
def _earliest_in_sqlite(element: _Earliest, compiler: SQLCompiler, **options: Any) -> str:
    return f"min{compiler.process(element.clause_expr, **options)}"


def _end_of(priority: PriorityClass) -> ColumnElement[float]:
    """The end of the priority class's reservations, without what its backlog does not explain."""
    end, since = _RESERVED_UNTIL[priority], _RESERVED_SINCE[priority]
    return case((since > _at + MAX_AHEAD, _at + (end - since)), else_=end)


_ENDS = {each: _end_of(each) for each in PriorityClass}
_LONGEST = type_coerce(MAX_SEGMENTS / _rate, Double)
_BUSY_UNTIL = _Earliest(_column.busy_until, _at + MAX_AHEAD + max(_TOLERANCE.values()) + _LONGEST)
"""`busy_until`, but no later than the longest message explains."""


@functools.cache
def reserve(dialect: str, priority: PriorityClass) -> Any:
    """Extends the priority class's reservations by the message's duration; returns its time."""
    reserved_until, since = _RESERVED_UNTIL[priority], _RESERVED_SINCE[priority]
    others = [each for each in PriorityClass if each is not priority]
    corrected = {_RESERVED_UNTIL[each].name: _ENDS[each] for each in others}
    corrected |= {
        _RESERVED_SINCE[each].name: _Earliest(_RESERVED_SINCE[each], _at) for each in others
    }
    return upsert(
        dialect,
        insert_values={reserved_until.name: _at + _DURATION_OF_FIRST, since.name: _at},
        update_values={
            **corrected,
            "busy_until": _BUSY_UNTIL,
            reserved_until.name: _Latest(_at, *_free_from(priority)) + _DURATION,
            since.name: case((_ENDS[priority] > _at, _Earliest(since, _at)), else_=_at),
        },
    ).returning(reserved_until - _DURATION)


@functools.cache
def acquire_if_idle(dialect: str, priority: PriorityClass) -> Any:
    """Reserves and acquires now; returns no row if `reserve` would give a later time."""
    free_from = _free_from(priority)
    reserved_until = _RESERVED_UNTIL[priority].name
    since = {_RESERVED_SINCE[priority].name: _at}
    return upsert(
        dialect,
        insert_values={
            **dict.fromkeys((reserved_until, "busy_until"), _at + _DURATION_OF_FIRST),
            **since,
        },
        update_values={
            reserved_until: _at + _DURATION,
            "busy_until": _Latest(_at, _BUSY_UNTIL) + _DURATION,
            **since,
        },
        where=_Latest(*free_from) <= _at,
    ).returning(_column.busy_until)


def _free_from(priority: PriorityClass) -> list[ColumnElement[float]]:
    """The times from the latest of which on a message without a reservation may be sent."""
    not_after = [_ENDS[each] for each in PriorityClass if each <= priority]
    return [_BUSY_UNTIL - _TOLERANCE[priority], *not_after]


@functools.cache
def acquire(dialect: str, priority: PriorityClass) -> Any:
    """Extends `busy_until` by the message's duration; returns no row if it is too early."""
    return upsert(
        dialect,
        insert_values={"busy_until": _at + _DURATION_OF_FIRST},
        update_values={"busy_until": _Latest(_at, _BUSY_UNTIL) + _DURATION},
        where=_allowed_from(priority) <= _at,
    ).returning(_column.busy_until)


@functools.cache
def give_back() -> Update:
    """Undoes the newest `acquire`, in its own transaction; the reservation stays."""
    return (
        update(senders)
        .where(_column.sender == _for_sender)
        .values(busy_until=_column.busy_until - _DURATION)
    )


@functools.cache
def early_by(priority: PriorityClass) -> Any:
    """How many seconds too early a denied message is, and its duration.

    The upsert that was denied has locked the row, so nothing changes in between.
    """
    return select(_allowed_from(priority) - _at, _DURATION).where(_column.sender == _for_sender)


@functools.cache
def release(priority: PriorityClass) -> Update:
    """Shortens the reservations of the priority class by the message's duration."""
    reserved_until = _RESERVED_UNTIL[priority]
    return (
        update(senders)
        .where(_column.sender == _for_sender, reserved_until > _at)
        .values({reserved_until.name: _Latest(_at, reserved_until - _DURATION)})
    )


@functools.cache
def set_rate(dialect: str) -> Any:
    """Sets `rate`, which stands for `new_rate`; a higher rate shortens what is reserved ahead.

    A lower rate stretches nothing: the waiting messages arrive at the old rate, are denied and
    requeued, and would otherwise be counted twice.
    """
    new_rate = bindparam("new_rate", type_=Double)
    factor = _rate / new_rate
    rate = {"rate": bindparam("rate", type_=Double)}
    times = (*_RESERVED_UNTIL.values(), _column.busy_until)
    return upsert(
        dialect,
        insert_values=rate,
        update_values=rate
        | {
            # A time that has passed stays: if this clock is ahead, it would move into the future.
            each.name: case(
                (and_(each > _at, _rate < new_rate), _at + (each - _at) * factor), else_=each
            )
            for each in times
        },
    )


RESERVED_UNTIL: Final = _Latest(*_ENDS.values()).label("reserved_until")
"""Where a new message's reservation begins; takes `at`."""
URGENT_RESERVED_UNTIL: Final = _ENDS[PriorityClass.URGENT].label("urgent_reserved_until")
"""The end of the reservations of urgent messages; takes `at`."""


def _allowed_from(priority: PriorityClass) -> ColumnElement[float]:
    """When a message of the priority class may be sent."""
    higher = [_ENDS[each] - _URGENT_GUARD for each in PriorityClass if each < priority]
    by_rate = _BUSY_UNTIL - _TOLERANCE[priority]
    return _Latest(by_rate, *higher) if higher else by_rate


def upsert(
    dialect: str,
    *,
    insert_values: Mapping[str, Any],
    update_values: Mapping[str, Any],
    where: ColumnElement[bool] | None = None,
) -> Upsert:
    """Insert the sender's row, or update the existing one (only if `where` holds)."""
    ends_and_starts = (*_RESERVED_UNTIL.values(), *_RESERVED_SINCE.values())
    times = (*(each.name for each in ends_and_starts), "busy_until")
    row = {
        "sender": _for_sender,
        "is_paused": False,
        **dict.fromkeys(times, 0.0),
        **insert_values,
    }
    statement = insert_for(dialect, senders).values(row)
    return statement.on_conflict_do_update(
        index_elements=[_column.sender], set_=dict(update_values), where=where
    )


def paused(sender: Any) -> Exists:
    """Whether the sender is paused, as a condition."""
    return select(_column.sender).where(_column.sender == sender, _column.is_paused).exists()
