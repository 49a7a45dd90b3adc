"""Opt-ins, with their evidence."""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    String,
    and_,
    bindparam,
    exists,
    select,
    update,
)

from signedfor.consent import MAX_CHANGED_BY, MAX_EVIDENCE, OptIn, check_text, person
from signedfor.store.database import delete_in_batches, insert_if_new, transaction
from signedfor.store.tables import STANDS, opt_ins, utc_now

_table = opt_ins.c

HAS_OPTED_IN: Final[ColumnElement[bool]] = exists(_table.id).where(
    STANDS,
    _table.recipient == bindparam("person", type_=String),
    _table.category == bindparam("category", type_=String),
)
"""Whether the person has agreed to the category; `suppressions.applying_to` has its parameters."""


_MAX_AHEAD: Final = timedelta(hours=1)
"""How much another clock may be ahead of ours."""


def is_ahead(opted_in_at: datetime) -> bool:
    """Whether nobody can have agreed at that time yet. It would outlast what the person says."""
    return opted_in_at > datetime.now(UTC) + _MAX_AHEAD


class OptIns:
    """The opt-ins in the database of `engine`. None is deleted while it stands: it is withdrawn.

    An opt-in is no leave to send on its own: an opt-out, whenever it was made, stands beside it and
    stops the message until it is lifted.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def record_all(
        self, batch: Iterable[OptIn], *, by: str, connection: Connection | None = None
    ) -> int:
        """Record them in one transaction; return how many are new."""
        check_text("by", by, max_length=MAX_CHANGED_BY, required=True)
        now = self._now()
        rows = [
            {
                "recipient": person(each.recipient),
                "category": each.category,
                "source": each.source,
                "evidence": each.evidence,
                "wording": each.wording,
                "opted_in_at": each.opted_in_at or now,
                "recorded_at": now,
                "recorded_by": by,
            }
            for each in batch
        ]
        if not rows:
            return 0
        with transaction(self._engine, joining=connection) as open_connection:
            statement = insert_if_new(open_connection, opt_ins).returning(_table.id)
            return len(open_connection.execute(statement, rows).all())

    def withdraw(
        self,
        recipient: str,
        *,
        category: str | None,
        until: datetime | None = None,
        because: str,
        by: str,
        connection: Connection | None = None,
    ) -> int:
        """Withdraw the person's opt-ins to the category; return how many there were.

        A category of None means any. With `until`, those that were given later stay.
        """
        check_text("by", by, max_length=MAX_CHANGED_BY, required=True)
        check_text("because", because, max_length=MAX_EVIDENCE)
        conditions = [STANDS, _table.recipient == person(recipient)]
        if category is not None:
            conditions.append(_table.category == category)
        if until is not None:
            conditions.append(_table.opted_in_at <= until)
        statement = (
            update(opt_ins)
            .where(*conditions)
            .values(withdrawn_at=self._now(), withdrawn_by=by, withdrawn_because=because)
            .returning(_table.id)
        )
        with transaction(self._engine, joining=connection) as open_connection:
            return len(open_connection.execute(statement).all())

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete those that were withdrawn before then, in batches; return how many."""
        return delete_in_batches(self._engine, opt_ins, _table.withdrawn_at < before, stop=stop)

    def list_(
        self,
        *,
        recipient: str | None = None,
        category: str | None = None,
        include_withdrawn: bool = False,
        after_id: int = 0,
        limit: int = 100,
    ) -> list[OptIn]:
        """Return one page, by id; the next page starts `after_id` of this one's last row."""
        conditions = [_table.id > after_id]
        if recipient is not None:
            conditions.append(_table.recipient == person(recipient))
        if category is not None:
            conditions.append(_table.category == category)
        if not include_withdrawn:
            conditions.append(STANDS)
        query = select(opt_ins).where(and_(*conditions)).order_by(_table.id).limit(limit)
        with transaction(self._engine, read_only=True) as connection:
            return [_opt_in(row) for row in connection.execute(query)]


def _opt_in(row: Row[Any]) -> OptIn:
    return OptIn(
        id=row.id,
        recipient=row.recipient,
        category=row.category,
        source=row.source,
        evidence=row.evidence,
        wording=row.wording,
        opted_in_at=row.opted_in_at,
        recorded_at=row.recorded_at,
        recorded_by=row.recorded_by,
        withdrawn_at=row.withdrawn_at,
        withdrawn_by=row.withdrawn_by,
        withdrawn_because=row.withdrawn_because,
    )
