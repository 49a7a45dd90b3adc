"""What `RateLimiter` says to the database, each statement built once: that costs more than asking.

All take `who`, `at` (seconds since the epoch), `segments` and `default_rate`; those that write
insert the sender's row where there is none.
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

from signedfor.store.database import insert_for
from signedfor.store.tables import senders


class PriorityClass(IntEnum):
    """Where a message waits. Who waits in a lane goes before those of the lanes after it."""

    URGENT = 0
    OVERDUE = 1
    """It had its turn and is tried again, or lost it and the end of the line is too late for it."""
    NORMAL = 2


# Found by simulation over rates of 1 to 50 segments a second, messages of 1 to 10 segments and
# timers that come late by a quarter of a second on average. What holds of them is asserted in
# `tests/store/test_pacing_simulated.py`; `bench/pacing.py` measures the same on the real thing.
GATE_AHEAD: Final = 0.6
"""Seconds by which the sender may be busy ahead of now and still take a message."""
CLAIM_AHEAD: Final = 0.9
"""The same for an urgent one: more, so that it comes before whoever waits at the gate."""
_MAKES_WAY: Final = 0.3
"""Seconds before the end of what is claimed from which others pass again: who claimed and is a
little late, above all at a slow sender, should not find that one of them has just passed."""

_AHEAD = {
    PriorityClass.URGENT: CLAIM_AHEAD,
    PriorityClass.OVERDUE: GATE_AHEAD,
    PriorityClass.NORMAL: GATE_AHEAD,
}
_TAILS = {
    PriorityClass.URGENT: senders.c.urgent_tail,
    PriorityClass.OVERDUE: senders.c.overdue_tail,
    PriorityClass.NORMAL: senders.c.tail,
}

_who = bindparam("who", type_=String)
_at = bindparam("at", type_=Double)
_segments = bindparam("segments", type_=Double)
_default_rate = bindparam("default_rate", type_=Double)
_own = senders.c

_rate = func.coalesce(_own.rate, _default_rate)
_LENGTH = type_coerce(_segments / _rate, Double)
"""How long so many segments keep the sender busy, in seconds."""
_FIRST_LENGTH = type_coerce(_segments / _default_rate, Double)

Upsert = postgresql.Insert | sqlite.Insert


class _Latest(GenericFunction[float]):
    """The greatest of its arguments."""

    type = Double()
    name = "greatest"
    inherit_cache = True


@compiles(_Latest, "sqlite")
def _in_sqlite(element: _Latest, compiler: SQLCompiler, **options: Any) -> str:
    return f"max{compiler.process(element.clause_expr, **options)}"


@functools.cache
def plan(dialect: str, lane: PriorityClass) -> Any:
    """Moves the lane's tail by the message's length; returns the slot."""
    tail = _TAILS[lane]
    before = [_TAILS[each] for each in PriorityClass if each <= lane]
    slot = _Latest(_at, _own.busy_until - _AHEAD[lane], *before)
    return upsert(
        dialect, first={tail.name: _at + _FIRST_LENGTH}, then={tail.name: slot + _LENGTH}
    ).returning(tail - _LENGTH)


@functools.cache
def acquire(dialect: str, lane: PriorityClass) -> Any:
    """Moves `busy_until` by the message's length; returns no row if the gate is closed."""
    return upsert(
        dialect,
        first={"busy_until": _at + _FIRST_LENGTH},
        then={"busy_until": _Latest(_at, _own.busy_until) + _LENGTH},
        only_if=_opens(lane) <= _at,
    ).returning(_own.busy_until)


@functools.cache
def too_early(lane: PriorityClass) -> Any:
    """By how much a message came too early, and its length; to be asked when it was refused.

    The upsert that was refused has locked the row, so nothing changes in between.
    """
    return select(_opens(lane) - _at, _LENGTH).where(_own.sender == _who)


@functools.cache
def give_back(lane: PriorityClass) -> Update:
    """Moves the lane's tail back by the message's length."""
    tail = _TAILS[lane]
    earlier = {tail.name: _Latest(_at, tail - _LENGTH)}
    return update(senders).where(_own.sender == _who, tail > _at).values(earlier)


@functools.cache
def set_rate(dialect: str) -> Any:
    """Sets `rate`, by which `new_rate` is meant, and shortens what lies ahead where it is higher.

    Where it is lower nothing is stretched: those who wait come at the old pace, are refused at the
    gate and join the line once more, so that they would be counted twice.
    """
    new_rate = bindparam("new_rate", type_=Double)
    shorter = case((_rate < new_rate, _rate / new_rate), else_=1.0)
    rate = {"rate": bindparam("rate", type_=Double)}
    moments = (*_TAILS.values(), _own.busy_until)
    return upsert(
        dialect,
        first=rate,
        then=rate | {each.name: _at + (each - _at) * shorter for each in moments},
    )


TAIL: Final = _Latest(*_TAILS.values()).label("tail")
"""Where a new message's slot begins."""


def _opens(lane: PriorityClass) -> ColumnElement[float]:
    """From when the gate is open to those of the lane."""
    before = [_TAILS[each] - _MAKES_WAY for each in PriorityClass if each < lane]
    by_pace = _own.busy_until - _AHEAD[lane]
    return _Latest(by_pace, *before) if before else by_pace


def upsert(
    dialect: str,
    *,
    first: Mapping[str, Any],
    then: Mapping[str, Any],
    only_if: ColumnElement[bool] | None = None,
) -> Upsert:
    """Insert the sender's row with these values, or set those of the row that is there."""
    row = {
        "sender": _who,
        "is_paused": False,
        **dict.fromkeys(("tail", "overdue_tail", "urgent_tail", "busy_until"), 0.0),
        **first,
    }
    statement = insert_for(dialect, senders).values(row)
    return statement.on_conflict_do_update(
        index_elements=[_own.sender], set_=dict(then), where=only_if
    )


def paused(who: Any) -> Exists:
    """Whether the sender is paused, as a condition."""
    return select(_own.sender).where(_own.sender == who, _own.is_paused).exists()
