"""The inbound outbox: inbound messages that await the start of the service's workflow.

`InboundMessages.receive` writes a message there in the transaction that stores it, so that none is
lost between the two.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, case, func, null, select, update

from signedfor.consent import addresses_of, person
from signedfor.contract import InboundMessage
from signedfor.store.database import current_time, transaction
from signedfor.store.inbound import CLOCK_MARGIN, media_in
from signedfor.store.inbox import Backlog
from signedfor.store.send_attempts import last_message_id
from signedfor.store.tables import IS_PENDING, inbound_messages

_column = inbound_messages.c


class InboundOutbox:
    """The outbox in the database of `engine`; several processes may dispatch from it.

    A message is leased to one process at a time. Times are the database's.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, keeps_texts: bool) -> None:
        """Without `keeps_texts`, text and media are deleted once the workflow is started."""
        self._engine = engine
        self._keeps_texts = keeps_texts

    def lease(self, *, limit: int, duration: timedelta) -> list[InboundMessage]:
        """The messages that are due, oldest first, leased to the caller until it settles them.

        When the lease expires, another process may lease them.
        """
        with transaction(self._engine) as connection:
            now = current_time(connection)
            due = (
                select(inbound_messages)
                .where(_column.dispatch_at <= now)
                .order_by(_column.dispatch_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(due).all()
            if rows:
                _postpone(connection, [row.message_sid for row in rows], to=now + duration)
            return [_message(connection, row) for row in rows]

    def settle(
        self, *, started: Collection[str] = (), postponed: Mapping[str, timedelta] | None = None
    ) -> None:
        """Report, by message SID, what became of leased messages.

        The workflows of those `started` exist. Those `postponed` can be leased again after a time.
        """
        with transaction(self._engine) as connection:
            now = current_time(connection)
            for message_sid, wait in (postponed or {}).items():
                _postpone(connection, [message_sid], to=now + wait)
            if started:
                values: dict[str, Any] = {"dispatch_at": None, "dispatched_at": now}
                if not self._keeps_texts:
                    values |= {
                        each.name: case((~IS_PENDING, null()), else_=each)
                        for each in (_column.body, _column.media)
                    }
                connection.execute(
                    update(inbound_messages)
                    .where(_column.message_sid.in_(started))
                    .values(**values)
                )

    def backlog(self) -> Backlog:
        """How many messages await their workflow, including those leased and postponed."""
        query = select(func.count(), func.min(_column.received_at)).where(
            _column.dispatch_at.is_not(None)
        )
        with transaction(self._engine, read_only=True) as connection:
            count, oldest = connection.execute(query).one()
        return Backlog(count=count, oldest=oldest)


def _postpone(connection: Connection, message_sids: Collection[str], *, to: datetime) -> None:
    connection.execute(
        update(inbound_messages)
        # Not one that another process has dispatched since the lease expired.
        .where(_column.message_sid.in_(message_sids), _column.dispatch_at.is_not(None))
        .values(dispatch_at=to)
    )


def _message(connection: Connection, row: Row[Any]) -> InboundMessage:
    service = row.messaging_service_sid
    return InboundMessage(
        message_sid=row.message_sid,
        from_=row.from_address,
        to=row.to_address,
        messaging_service_sid=service,
        text=row.body or "",
        media=media_in(row.media),
        kind=row.kind,
        received_at=row.received_at,
        last_message_id=last_message_id(
            connection,
            addresses_of(person(row.from_address)),
            senders=[row.to_address, *([service] if service else [])],
            # A message to which this is an answer may have a later time, by another clock.
            until=row.received_at + CLOCK_MARGIN,
        ),
    )
