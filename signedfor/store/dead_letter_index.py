"""The index of dead letters: what Temporal shows of each, for listing and counting."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, select

from signedfor.contract import OPEN
from signedfor.store.database import transaction
from signedfor.store.tables import IS_OPEN, dead_letter_index
from signedfor.store.visibility_index import VisibilityIndex

_column = dead_letter_index.c
Wanted = Mapping[str, str | int | bool | None]
"""Columns and the values that they must have."""


@dataclass(frozen=True, kw_only=True)
class IndexedDeadLetter:
    """A dead letter as the index has it."""

    message_id: str
    run_id: str
    started_at: datetime
    closed_at: datetime | None
    """None while it waits for a decision."""
    status: str = OPEN
    """`open`, or how it was closed."""
    failure_class: str | None = None
    error_code: int | None = None
    may_have_arrived: bool = True
    sender: str | None = None
    """Masked, if it is a number."""
    tenant: str | None = None
    campaign_id: str | None = None
    message_sid: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeadLetterCount:
    """How many open dead letters are alike in this."""

    failure_class: str | None
    error_code: int | None
    sender: str | None
    may_have_arrived: bool
    count: int
    oldest: datetime
    newest: datetime


_SHOWN: Final = tuple(_column[each.name] for each in fields(IndexedDeadLetter))
_ALIKE: Final = tuple(
    _column[name] for name in ("failure_class", "error_code", "sender", "may_have_arrived")
)


class DeadLetterIndex(VisibilityIndex[IndexedDeadLetter]):
    """The index."""

    table = dead_letter_index

    def find_open(self, wanted: Wanted, *, limit: int) -> list[IndexedDeadLetter]:
        """The open ones, newest first."""
        query = (
            select(*_SHOWN)
            .where(*_conditions(wanted))
            .order_by(_column.started_at.desc(), _column.message_id.desc())
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [IndexedDeadLetter(**row) for row in connection.execute(query).mappings()]

    def count_open(self, wanted: Wanted) -> list[DeadLetterCount]:
        """The open ones, counted by cause, sender and whether they may have arrived."""
        counts = (
            func.count().label("count"),
            func.min(_column.started_at).label("oldest"),
            func.max(_column.started_at).label("newest"),
        )
        query = select(*_ALIKE, *counts).where(*_conditions(wanted)).group_by(*_ALIKE)
        with transaction(self._engine, read_only=True) as connection:
            return [DeadLetterCount(**row) for row in connection.execute(query).mappings()]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    return [IS_OPEN, *(_column[name] == value for name, value in wanted.items())]
