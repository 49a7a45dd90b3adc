"""A table that has a row for each workflow of one type: what Temporal's visibility shows of it.

`signedfor.visibility_follower` fills it. Temporal has the truth: a row may be some seconds old, and
the table can be made again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, func, or_, select

from signedfor.store.database import delete_in_batches, insert_for, transaction
from signedfor.store.inbound import Watermarks

BATCH: Final = 500
_Item = TypeVar("_Item")


class VisibilityRow(Protocol):
    """What every row has."""

    @property
    def message_id(self) -> str:
        """The message's id, which the workflow's id ends with."""

    @property
    def run_id(self) -> str:
        """Of the workflow's newest run."""

    @property
    def started_at(self) -> datetime:
        """When that run was started."""

    @property
    def closed_at(self) -> datetime | None:
        """None while it runs."""


_Row = TypeVar("_Row", bound=VisibilityRow)


class VisibilityIndex(Generic[_Row]):
    """The table in the database of `engine`.

    Every transaction is short, however many rows there are. Raises
    `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    table: ClassVar[Table]
    """With the columns `message_id`, its key, `run_id`, `started_at` and `closed_at`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, rows: Sequence[_Row], *, overrides: bool = False) -> None:
        """Add the rows that are new, and update those that differ.

        What an older run or an earlier look says replaces nothing newer, unless it `overrides`:
        then the rows are as given.
        """
        for batch in batches(list(_newest_runs(rows))):
            with transaction(self._engine, read_only=True) as connection:
                differing = self._complete(connection, self._differing(connection, batch))
            # Most of what is read from Temporal is known already: nothing is locked or written.
            if differing:
                with transaction(self._engine) as connection:
                    self._write(connection, differing, overrides=overrides)

    def size(self) -> int:
        """How many rows it has."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(select(func.count()).select_from(self.table)).scalar_one()

    def open_ids(self) -> list[str]:
        """The ids of those that run by what the index has; the oldest first."""
        column = self.table.c
        query = (
            select(column.message_id).where(column.closed_at.is_(None)).order_by(column.started_at)
        )
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(query))

    def all_ids(self) -> list[str]:
        """The ids of all rows."""
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(select(self.table.c.message_id)))

    def remove(self, message_ids: Sequence[str]) -> None:
        """Forget these, which Temporal does not have any more."""
        for batch in batches(message_ids):
            with transaction(self._engine) as connection:
                connection.execute(delete(self.table).where(self.table.c.message_id.in_(batch)))

    def purge(self, *, before: datetime, stop: Event | None = None) -> int:
        """Delete the rows of what ended before then, in batches; how many there were."""
        where = self.table.c.closed_at < before
        return delete_in_batches(self._engine, self.table, where, batch_size=BATCH, stop=stop)

    def _row(self, row: _Row) -> dict[str, Any]:
        """The columns of a row."""
        return vars(row)

    def _complete(self, connection: Connection, rows: list[_Row]) -> list[_Row]:
        """The rows, with what visibility does not show."""
        del connection
        return rows

    def _kept(self, new: Any) -> Mapping[str, ColumnElement[Any]]:
        """The columns that an update does not simply replace by `new`."""
        del new
        return {}

    def _is_stored(self, row: _Row, stored: Mapping[str, Any]) -> bool:
        return all(value == stored[name] for name, value in self._row(row).items())

    def _differing(self, connection: Connection, rows: Sequence[_Row]) -> list[_Row]:
        """The rows of which the table does not say the same, or that it does not have."""
        ids = [each.message_id for each in rows]
        query = select(self.table).where(self.table.c.message_id.in_(ids))
        stored = {
            found["message_id"]: dict(found) for found in connection.execute(query).mappings()
        }
        return [
            each
            for each in rows
            if each.message_id not in stored or not self._is_stored(each, stored[each.message_id])
        ]

    def _write(self, connection: Connection, rows: Sequence[_Row], *, overrides: bool) -> None:
        column, insert = self.table.c, insert_for(connection.dialect.name, self.table)
        new = insert.excluded
        is_newer = or_(
            new.started_at > column.started_at,
            and_(
                new.run_id == column.run_id,
                or_(column.closed_at.is_(None), new.closed_at.is_not(None)),
            ),
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[column.message_id],
                set_={each.name: new[each.name] for each in column} | dict(self._kept(new)),
                where=None if overrides else is_newer,
            ),
            [self._row(each) for each in rows],
        )


def read_name(table: Table) -> str:
    """The name of the watermark up to which a table shows what Temporal does."""
    return f"{table.name}_read"


def read_at(engine: Engine, *tables: Table) -> datetime | None:
    """When Temporal was last read for all of these; None if it was not yet.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    marks = Watermarks(engine)
    found = [marks.read(read_name(each)) for each in tables]
    return None if None in found else min(filter(None, found))


def _newest_runs(rows: Sequence[_Row]) -> Collection[_Row]:
    """Each once: Temporal lists every run of a workflow that was reset."""
    newest: dict[str, _Row] = {}
    for each in rows:
        known = newest.get(each.message_id)
        if known is None or each.started_at >= known.started_at:
            newest[each.message_id] = each
    return newest.values()


def batches(values: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """The values, in parts that one statement may have."""
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
