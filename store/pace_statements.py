"""What `Pacing` says to the database, each statement built once: building costs more than asking.

All take `who`, `at` (seconds since the epoch), `segments` and `default_rate`; those that write
insert the sender's row where there is none.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Double,
    Exists,
    String,
    bindparam,
    case,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite

from store.database import insert_for
from store.tables import senders

# Found by simulation over rates of 1 to 50 segments a second, messages of 1 to 10 segments and
# timers that come late by a quarter of a second on average: at least 98 % of the rate is used, and
# no second sees more than twice the rate. `bench/pacing.py` measures the same on the real thing.
GATE_AHEAD: Final = 0.6
"""Seconds by which the sender may be busy ahead of now and still take a message."""
CLAIM_AHEAD: Final = 0.9
"""The same for an urgent one: more, so that it comes before whoever waits at the gate."""

_at = bindparam("at", type_=Double)
_segments = bindparam("segments", type_=Double)
_default_rate = bindparam("default_rate", type_=Double)
_own = senders.c

LENGTH: Final = type_coerce(_segments / func.coalesce(_own.rate, _default_rate), Double)
"""How long so many segments keep the sender busy, in seconds."""
_FIRST_LENGTH = type_coerce(_segments / _default_rate, Double)

Upsert = postgresql.Insert | sqlite.Insert


@functools.cache
def reserve(dialect: str) -> Any:
    """Moves the tail by the message's length; returns it and the length."""
    slot = _latest(_at, _own.tail, _own.busy_until - GATE_AHEAD)
    return upsert(
        dialect, first={"tail": _at + _FIRST_LENGTH}, then={"tail": slot + LENGTH}
    ).returning(_own.tail, LENGTH)


@functools.cache
def claim(dialect: str) -> Any:
    """Moves `busy_until` by the message's length, and the tail where nobody waits."""
    slot = _latest(_at, _own.busy_until - CLAIM_AHEAD)
    first = _at + _FIRST_LENGTH
    return upsert(
        dialect,
        first={"tail": first, "busy_until": first},
        then={
            "busy_until": _latest(_at, _own.busy_until) + LENGTH,
            "tail": _latest(_own.tail, slot + LENGTH),
        },
    ).returning(_own.busy_until, LENGTH)


@functools.cache
def pass_gate(dialect: str) -> Any:
    """Moves `busy_until` by the message's length; returns no row if the gate is closed."""
    return upsert(
        dialect,
        first={"busy_until": _at + _FIRST_LENGTH},
        then={"busy_until": _latest(_at, _own.busy_until) + LENGTH},
        only_if=_own.busy_until <= _at + GATE_AHEAD,
    ).returning(_own.busy_until)


BUSY_UNTIL: Final = select(_own.busy_until, LENGTH).where(
    _own.sender == bindparam("who", type_=String)
)


def upsert(
    dialect: str,
    *,
    first: Mapping[str, Any],
    then: Mapping[str, Any],
    only_if: ColumnElement[bool] | None = None,
) -> Upsert:
    """Insert the sender's row with these values, or set those of the row that is there."""
    row = {
        "sender": bindparam("who", type_=String),
        "is_paused": False,
        "tail": 0.0,
        "busy_until": 0.0,
        **first,
    }
    statement = insert_for(dialect, senders).values(row)
    return statement.on_conflict_do_update(
        index_elements=[_own.sender], set_=dict(then), where=only_if
    )


def paused(who: Any) -> Exists:
    """Whether the sender is paused, as a condition."""
    return select(_own.sender).where(_own.sender == who, _own.is_paused).exists()


def _latest(first: Any, *others: ColumnElement[float]) -> ColumnElement[float]:
    """The greatest; neither database has a word for it that the other understands."""
    latest: ColumnElement[float] = first
    for each in others:
        latest = case((each > latest, each), else_=latest)
    return latest
