"""Inbound messages: each is stored once, and its STOP or START applied once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, func, select, tuple_, update

from signedfor.consent import (
    MAX_ADDRESS,
    MAX_CHANGED_BY,
    Reason,
    Scope,
    Source,
    Suppression,
    addresses_of,
    check_text,
    person,
)
from signedfor.inbound import InboundRecord
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages, utc_now, watermarks
from signedfor.twilio.keywords import InboundKind

_CHANGED_BY = "inbound message"
_CONSENT_KEYWORDS = (InboundKind.STOP, InboundKind.START)
_column = inbound_messages.c


@dataclass(frozen=True, kw_only=True)
class Review:
    """An inbound message that an operator must read; `reviewed_at` is None until then."""

    message_sid: str
    from_: str = field(repr=False)
    to: str = field(repr=False)
    messaging_service_sid: str | None
    body: str = field(repr=False)
    received_at: datetime
    reviewed_at: datetime | None
    reviewed_by: str | None


class InboundMessages:
    """The inbound messages in the database of `engine`, and the effect of STOP and START.

    With `scope=Scope.EVERYTHING`, a STOP opts out of everything, and a START lifts the opt-outs
    from everything and from the sender it was sent to. With `scope=Scope.SENDER`, both concern that
    sender only: the Messaging Service if there is one, otherwise the number. A START never lifts an
    opt-out from a category, or a suppression for another reason. The keyword that was sent last
    counts: an older one that arrives later is stored and changes nothing.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        scope: Scope = Scope.EVERYTHING,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if scope is Scope.CATEGORY:
            raise ValueError("scope: a STOP can cover everything or one sender, not a category")
        self._engine = engine
        self._scope = scope
        self._now = now
        self._suppressions = Suppressions(engine, now=now)

    def receive(self, record: InboundRecord, *, connection: Connection | None = None) -> bool:
        """Store the message and apply its keyword in one transaction; False if it is a duplicate.

        The body is stored only for `InboundKind.REVIEW`.
        """
        check_text("message_sid", record.message_sid, max_length=64, required=True)
        check_text("from", record.from_, max_length=MAX_ADDRESS, required=True)
        check_text("to", record.to, max_length=MAX_ADDRESS, required=True)
        check_text("messaging_service_sid", record.messaging_service_sid or "", max_length=64)
        with transaction(self._engine, joining=connection) as open_connection:
            inserted = open_connection.execute(
                insert_if_new(open_connection, inbound_messages)
                .values(
                    message_sid=record.message_sid,
                    from_address=record.from_,
                    to_address=record.to,
                    messaging_service_sid=record.messaging_service_sid or None,
                    kind=record.kind.value,
                    body=_storable(record.body) if record.kind is InboundKind.REVIEW else None,
                    received_at=record.received_at,
                )
                .returning(_column.message_sid)
            ).first()
            if inserted is None:
                return False
            if record.kind in _CONSENT_KEYWORDS and not self._is_superseded(
                record, open_connection
            ):
                if record.kind is InboundKind.STOP:
                    self._opt_out(record, open_connection)
                else:
                    self._opt_in(record, open_connection)
        return True

    def reviews(
        self,
        *,
        pending_only: bool = True,
        after: Review | None = None,
        limit: int = 100,
        connection: Connection | None = None,
    ) -> list[Review]:
        """Return one page of messages to review, oldest first; `after` is the last one shown."""
        conditions: list[ColumnElement[bool]] = [_column.kind == InboundKind.REVIEW.value]
        if pending_only:
            conditions.append(_column.reviewed_at.is_(None))
        if after is not None:
            position = tuple_(
                after.received_at,
                after.message_sid,
                types=[_column.received_at.type, _column.message_sid.type],
            )
            conditions.append(tuple_(_column.received_at, _column.message_sid) > position)
        query = (
            select(inbound_messages)
            .where(*conditions)
            .order_by(_column.received_at, _column.message_sid)
            .limit(limit)
        )
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            return [
                Review(
                    message_sid=row.message_sid,
                    from_=row.from_address,
                    to=row.to_address,
                    messaging_service_sid=row.messaging_service_sid,
                    body=row.body,
                    received_at=row.received_at,
                    reviewed_at=row.reviewed_at,
                    reviewed_by=row.reviewed_by,
                )
                for row in open_connection.execute(query)
            ]

    def mark_reviewed(
        self, message_sid: str, *, by: str, connection: Connection | None = None
    ) -> bool:
        """Record that `by` has reviewed it; False if it does not await review."""
        check_text("by", by, max_length=MAX_CHANGED_BY, required=True)
        statement = (
            update(inbound_messages)
            .where(
                _column.message_sid == message_sid,
                _column.kind == InboundKind.REVIEW.value,
                _column.reviewed_at.is_(None),
            )
            .values(reviewed_at=self._now(), reviewed_by=by)
            .returning(_column.message_sid)
        )
        with transaction(self._engine, joining=connection) as open_connection:
            return open_connection.execute(statement).first() is not None

    def _is_superseded(self, record: InboundRecord, connection: Connection) -> bool:
        """Whether the person sent a later STOP or START that concerns the same senders."""
        later = select(_column.message_sid).where(
            _column.kind.in_([keyword.value for keyword in _CONSENT_KEYWORDS]),
            _column.received_at > record.received_at,
            _column.from_address.in_(addresses_of(person(record.from_))),
        )
        if self._scope is Scope.SENDER:
            later = later.where(
                func.coalesce(_column.messaging_service_sid, _column.to_address) == _sender(record)
            )
        return connection.execute(later.limit(1)).first() is not None

    def _opt_out(self, record: InboundRecord, connection: Connection) -> None:
        suppression = Suppression(
            recipient=record.from_,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=self._scope,
            scope_value=_sender(record) if self._scope is Scope.SENDER else "",
            evidence=record.message_sid,
        )
        self._suppressions.record(suppression, by=_CHANGED_BY, connection=connection)

    def _opt_in(self, record: InboundRecord, connection: Connection) -> None:
        lifted = {Scope.SENDER: _sender(record)}
        if self._scope is Scope.EVERYTHING:
            lifted[Scope.EVERYTHING] = ""
        for scope, scope_value in lifted.items():
            self._suppressions.lift(
                record.from_,
                reason=Reason.OPTED_OUT,
                scope=scope,
                scope_value=scope_value,
                source=Source.INBOUND,
                evidence=record.message_sid,
                by=_CHANGED_BY,
                connection=connection,
            )


class OlderDatabase(Exception):
    """The database was restored from an older copy; `at` is the copy's watermark."""

    def __init__(self, at: datetime | None) -> None:
        super().__init__(at)
        self.at = at


class Watermarks:
    """The time up to which something has been processed, by name; a watermark never moves back.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, name: str) -> datetime | None:
        """The watermark; None if it was never set."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.scalar(select(watermarks.c.at).where(watermarks.c.name == name))

    def advance(self, name: str, to: datetime) -> None:
        """Set the watermark; a later one stays."""
        with transaction(self._engine) as connection:
            _advance(connection, name, to)

    def advance_from(self, last: datetime | None, name: str, to: datetime) -> datetime:
        """Set the watermark, which was `last` or later; return what it is now.

        Raises:
            OlderDatabase: it is earlier, so this is an older copy of the database. It stays.
        """
        query = select(watermarks.c.at).where(watermarks.c.name == name).with_for_update()
        with transaction(self._engine) as connection:
            at = connection.scalar(query)
            if last is not None and (at is None or at < last):
                raise OlderDatabase(at)
            _advance(connection, name, to)
            return to if at is None else max(at, to)


def _advance(connection: Connection, name: str, to: datetime) -> None:
    connection.execute(insert_if_new(connection, watermarks).values(name=name, at=to))
    connection.execute(
        update(watermarks).where(watermarks.c.name == name, watermarks.c.at < to).values(at=to)
    )


def _sender(record: InboundRecord) -> str:
    return record.messaging_service_sid or record.to


def _storable(body: str) -> str:
    """Replace what PostgreSQL or UTF-8 cannot store; the message must not be lost."""
    return body.replace("\0", "\ufffd").encode(errors="replace").decode()
