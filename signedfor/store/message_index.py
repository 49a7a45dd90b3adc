"""The message index: what Temporal shows of each message, for searching and counting.

`signedfor.message_indexer` fills it, `signedfor.store.message_counts` counts in it. Temporal has
the truth: a row may be some seconds old.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, func, literal, select, tuple_, update

from signedfor.contract import Stage
from signedfor.store.database import transaction
from signedfor.store.tables import held_back_messages, message_index, send_attempts
from signedfor.store.visibility_index import VisibilityIndex, batches

_column = message_index.c
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
    has_report: bool = True
    """False for a workflow that ended without one."""


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


class MessageIndex(VisibilityIndex[IndexedMessage]):
    """The index. Recipients that an attempt record knows are filled in by `put`."""

    table = message_index

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
        for batch in batches(list(people.items())):
            known = dict(batch)
            with transaction(self._engine) as connection:
                connection.execute(
                    update(message_index)
                    .where(_column.message_id.in_(known))
                    .values(person=case(known, value=_column.message_id))
                )

    def _row(self, row: IndexedMessage) -> dict[str, Any]:
        closed_at = row.closed_at
        hour = None if closed_at is None else closed_at.replace(minute=0, second=0, microsecond=0)
        return vars(row) | {"closed_hour": hour}

    def _complete(self, connection: Connection, rows: list[IndexedMessage]) -> list[IndexedMessage]:
        return _with_people(connection, rows)

    def _is_stored(self, row: IndexedMessage, stored: Mapping[str, Any]) -> bool:
        # Temporal does not say who the recipient is.
        person = row.person or stored["person"]
        return super()._is_stored(replace(row, person=person), stored)

    def _kept(self, new: Any) -> Mapping[str, ColumnElement[Any]]:
        # Another run may have another recipient: the id was corrected.
        person = case(
            (new.run_id == _column.run_id, func.coalesce(new.person, _column.person)),
            else_=new.person,
        )
        return {"person": person}


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
