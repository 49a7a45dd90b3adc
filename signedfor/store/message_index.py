"""The message index: what Temporal shows of each message, for searching and counting.

`signedfor.message_indexer` fills it, `signedfor.store.message_counts` counts in it. Temporal has
the truth: a row may be some seconds old.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from threading import Event
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from signedfor.contract import Stage
from signedfor.store.database import delete_in_batches, insert_for, transaction
from signedfor.store.tables import held_back_messages, message_index, send_attempts

_Item = TypeVar("_Item")

_column = message_index.c
_BATCH: Final = 500
_WAITING: Final = (Stage.WAITING, Stage.RETRYING, Stage.RESOLVING, Stage.DELAYED, Stage.SENDING)


@dataclass(frozen=True, kw_only=True)
class IndexedMessage:
    """A message as the index has it."""

    message_id: str
    run_id: str
    started_at: datetime
    closed_at: datetime | None
    """None while it runs."""
    status: str
    """A `Stage` or an `Outcome`; `failed` for a workflow that ended without a report."""
    sender: str | None
    """Masked, if it is a number."""
    tenant: str | None = None
    campaign_id: str | None = None
    message_sid: str | None = None
    """The SID of its newest submission."""
    error_code: int | None = None
    person: str | None = None
    """The reference of the recipient (`signedfor.store.people`), once it is known; empty if it
    cannot be read."""


_SHOWN: Final = tuple(_column[each.name] for each in fields(IndexedMessage))


@dataclass(frozen=True, kw_only=True)
class MessageFilter:
    """Which messages; None leaves a field open."""

    person: str | None = None
    message_id: str | None = None
    message_sid: str | None = None
    sender: str | None = None
    tenant: str | None = None
    campaign_id: str | None = None
    statuses: tuple[str, ...] = ()
    error_code: int | None = None
    since: datetime | None = None
    until: datetime | None = None


class MessageIndex:
    """The index in the database of `engine`.

    Every transaction is short, however many messages there are. Raises
    `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, messages: Sequence[IndexedMessage], *, overrides: bool = False) -> None:
        """Add the rows that are new, and update those that differ.

        What an older run or an earlier look says replaces nothing newer, unless it `overrides`:
        then the rows are as given. Recipients that an attempt record knows are filled in.
        """
        for batch in _batches(list(_newest_runs(messages))):
            with transaction(self._engine, read_only=True) as connection:
                differing = _with_people(connection, _differing(connection, batch))
            # Most of what is read from Temporal is known already: nothing is locked or written.
            if differing:
                with transaction(self._engine) as connection:
                    _write(connection, differing, overrides=overrides)

    def find(
        self,
        wanted: MessageFilter,
        *,
        limit: int = 100,
        before: tuple[datetime, str] | None = None,
    ) -> list[IndexedMessage]:
        """Messages, newest first; `before` is the start and id of the last one of a page."""
        query = (
            select(*_SHOWN)
            .where(*_conditions(wanted))
            .order_by(_column.started_at.desc(), _column.message_id.desc())
            .limit(limit)
        )
        if before is not None:
            started_at, message_id = before
            query = query.where(
                tuple_(_column.started_at, _column.message_id)
                < tuple_(
                    literal(started_at, _column.started_at.type),
                    literal(message_id, _column.message_id.type),
                )
            )
        with transaction(self._engine, read_only=True) as connection:
            return [IndexedMessage(**row) for row in connection.execute(query).mappings()]

    def oldest_waiting(self, limit: int = 5) -> list[IndexedMessage]:
        """The messages that have waited longest to be sent."""
        query = (
            select(*_SHOWN)
            .where(_column.closed_at.is_(None), _column.status.in_(_WAITING))
            .order_by(_column.started_at)
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [IndexedMessage(**row) for row in connection.execute(query).mappings()]

    def size(self) -> int:
        """How many messages it has."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(select(func.count()).select_from(message_index)).scalar_one()

    def open_ids(self) -> list[str]:
        """The ids of the messages that run by what the index has; the oldest first."""
        query = (
            select(_column.message_id)
            .where(_column.closed_at.is_(None))
            .order_by(_column.started_at)
        )
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(query))

    def all_ids(self) -> list[str]:
        """The ids of all messages."""
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(select(_column.message_id)))

    def without_person(self, limit: int) -> list[str]:
        """Ids of messages whose recipient is not known yet, the newest first."""
        query = (
            select(_column.message_id)
            .where(_column.person.is_(None))
            .order_by(_column.started_at.desc())
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(query))

    def recorded_people(self, message_ids: Collection[str]) -> dict[str, str]:
        """The references of the recipients of those of these messages with an attempt record."""
        with transaction(self._engine, read_only=True) as connection:
            return _recorded_people(connection, message_ids)

    def held_back(self, message_ids: Collection[str]) -> dict[str, str]:
        """The recipients of those of these messages that were held back."""
        query = select(held_back_messages.c.message_id, held_back_messages.c.recipient).where(
            held_back_messages.c.message_id.in_(message_ids)
        )
        with transaction(self._engine, read_only=True) as connection:
            return dict(connection.execute(query).all())

    def set_people(self, people: Mapping[str, str]) -> None:
        """Set the references of the recipients, by message id."""
        for batch in _batches(list(people.items())):
            known = dict(batch)
            with transaction(self._engine) as connection:
                connection.execute(
                    update(message_index)
                    .where(_column.message_id.in_(known))
                    .values(person=case(known, value=_column.message_id))
                )

    def remove(self, message_ids: Sequence[str]) -> None:
        """Forget these messages, which Temporal does not have any more."""
        for batch in _batches(message_ids):
            with transaction(self._engine) as connection:
                connection.execute(delete(message_index).where(_column.message_id.in_(batch)))

    def purge(self, *, before: datetime, stop: Event | None = None) -> int:
        """Delete the rows of messages that ended before then, in batches; how many there were."""
        return delete_in_batches(
            self._engine, message_index, _column.closed_at < before, batch_size=_BATCH, stop=stop
        )


def _newest_runs(messages: Sequence[IndexedMessage]) -> Collection[IndexedMessage]:
    """Each message once: Temporal lists every run of one that was reset."""
    newest: dict[str, IndexedMessage] = {}
    for each in messages:
        known = newest.get(each.message_id)
        if known is None or each.started_at >= known.started_at:
            newest[each.message_id] = each
    return newest.values()


def _differing(connection: Connection, messages: Sequence[IndexedMessage]) -> list[IndexedMessage]:
    """The messages whose row does not say the same, or that have none."""
    query = select(message_index).where(
        _column.message_id.in_([each.message_id for each in messages])
    )
    stored = {row["message_id"]: dict(row) for row in connection.execute(query).mappings()}
    return [each for each in messages if not _is_stored(each, stored.get(each.message_id))]


def _is_stored(message: IndexedMessage, row: Mapping[str, Any] | None) -> bool:
    # Temporal does not say who the recipient is.
    return row is not None and all(
        value == row[name] or (name == "person" and value is None)
        for name, value in _row(message).items()
    )


def _row(message: IndexedMessage) -> dict[str, Any]:
    closed_at = message.closed_at
    hour = None if closed_at is None else closed_at.replace(minute=0, second=0, microsecond=0)
    return vars(message) | {"closed_hour": hour}


def _with_people(
    connection: Connection, messages: Sequence[IndexedMessage]
) -> list[IndexedMessage]:
    """The messages with their recipients, as far as attempt records know them."""
    unknown = [each.message_id for each in messages if each.person is None]
    known = _recorded_people(connection, unknown) if unknown else {}
    return [replace(each, person=each.person or known.get(each.message_id)) for each in messages]


def _recorded_people(connection: Connection, message_ids: Collection[str]) -> dict[str, str]:
    query = (
        select(send_attempts.c.message_id, func.max(send_attempts.c.person_reference))
        .where(
            send_attempts.c.message_id.in_(message_ids),
            send_attempts.c.person_reference.is_not(None),
        )
        .group_by(send_attempts.c.message_id)
    )
    return dict(connection.execute(query).all())


def _write(connection: Connection, messages: Sequence[IndexedMessage], *, overrides: bool) -> None:
    insert = insert_for(connection.dialect.name, message_index)
    new = insert.excluded
    is_newer = or_(
        new.started_at > _column.started_at,
        and_(
            new.run_id == _column.run_id,
            or_(_column.closed_at.is_(None), new.closed_at.is_not(None)),
        ),
    )
    # Another run may have another recipient: the id was corrected.
    person = case(
        (new.run_id == _column.run_id, func.coalesce(new.person, _column.person)),
        else_=new.person,
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[_column.message_id],
            set_={each.name: new[each.name] for each in message_index.c} | {"person": person},
            where=None if overrides else is_newer,
        ),
        [_row(each) for each in messages],
    )


def _conditions(wanted: MessageFilter) -> list[ColumnElement[bool]]:
    conditions = [
        column == value
        for column, value in (
            (_column.person, wanted.person),
            (_column.message_id, wanted.message_id),
            (_column.message_sid, wanted.message_sid),
            (_column.sender, wanted.sender),
            (_column.tenant, wanted.tenant),
            (_column.campaign_id, wanted.campaign_id),
            (_column.error_code, wanted.error_code),
        )
        if value is not None
    ]
    if wanted.statuses:
        conditions.append(_column.status.in_(wanted.statuses))
    if wanted.since is not None:
        conditions.append(_column.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_column.started_at < wanted.until)
    return conditions


def _batches(values: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
