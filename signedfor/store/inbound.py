"""Keeps inbound messages, so that a callback that comes twice changes nothing the second time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, func, or_, select, tuple_, update

from signedfor.consent import (
    MAX_ADDRESS,
    MAX_WHO,
    Reason,
    Scope,
    Source,
    Suppression,
    check_text,
    person,
)
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages, utc_now
from signedfor.twilio.keywords import InboundKind

_WHO = "inbound message"
_WORDS = (InboundKind.STOP, InboundKind.START)
"""What changes consent."""
_table = inbound_messages.c


@dataclass(frozen=True, kw_only=True)
class Review:
    """An inbound message that a person has to read; `reviewed_at` None means nobody has yet."""

    message_sid: str
    from_: str = field(repr=False)
    to: str = field(repr=False)
    messaging_service_sid: str | None
    body: str = field(repr=False)
    received_at: datetime
    reviewed_at: datetime | None
    reviewed_by: str | None


class InboundMessages:
    """The inbound messages in the database of `engine`, and what STOP and START do.

    With `scope=Scope.EVERYTHING`, a STOP ends everything, and a START lifts the opt-outs from
    everything and from the sender it was sent to. With `scope=Scope.SENDER`, both concern that
    sender only: the Messaging Service if there is one, else the number written to. A START never
    lifts an opt-out from a category, nor anything that is not an opt-out. The later word counts:
    a STOP or START older than one that was obeyed before is kept and changes nothing.

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
            raise ValueError("scope: a STOP can end everything or one sender, not a category")
        self._engine = engine
        self._scope = scope
        self._now = now
        self._suppressions = Suppressions(engine, now=now)

    def receive(
        self,
        *,
        message_sid: str,
        from_: str,
        to: str,
        kind: InboundKind,
        body: str,
        messaging_service_sid: str | None = None,
        received_at: datetime | None = None,
        connection: Connection | None = None,
    ) -> bool:
        """Keep the message and do what it asks, in one transaction; False if it came before.

        `body` is only kept for `InboundKind.REVIEW`. `received_at` is when it was sent or reached
        us, for one that is handed in later; default now.
        """
        check_text("message_sid", message_sid, longest=64, required=True)
        check_text("from", from_, longest=MAX_ADDRESS, required=True)
        check_text("to", to, longest=MAX_ADDRESS, required=True)
        check_text("messaging_service_sid", messaging_service_sid or "", longest=64)
        sender = messaging_service_sid or to
        with transaction(self._engine, joining=connection) as open_connection:
            at = received_at or self._now()
            new = open_connection.execute(
                insert_if_new(open_connection, inbound_messages)
                .values(
                    message_sid=message_sid,
                    from_address=from_,
                    to_address=to,
                    messaging_service_sid=messaging_service_sid or None,
                    kind=kind.value,
                    body=_storable(body) if kind is InboundKind.REVIEW else None,
                    received_at=at,
                )
                .returning(_table.message_sid)
            ).first()
            if new is None:
                return False
            if kind not in _WORDS or self._was_overtaken(from_, sender, at, open_connection):
                return True
            if kind is InboundKind.STOP:
                self._opt_out(from_, sender, message_sid, open_connection)
            else:
                self._opt_in(from_, sender, message_sid, open_connection)
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
        conditions: list[ColumnElement[bool]] = [_table.kind == InboundKind.REVIEW.value]
        if pending_only:
            conditions.append(_table.reviewed_at.is_(None))
        if after is not None:
            place = tuple_(
                after.received_at,
                after.message_sid,
                types=[_table.received_at.type, _table.message_sid.type],
            )
            conditions.append(tuple_(_table.received_at, _table.message_sid) > place)
        query = (
            select(inbound_messages)
            .where(*conditions)
            .order_by(_table.received_at, _table.message_sid)
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
        self, message_sid: str, *, who: str, connection: Connection | None = None
    ) -> bool:
        """Note that `who` has read it; False if it is not there to review, or no longer."""
        check_text("who", who, longest=MAX_WHO, required=True)
        statement = (
            update(inbound_messages)
            .where(
                _table.message_sid == message_sid,
                _table.kind == InboundKind.REVIEW.value,
                _table.reviewed_at.is_(None),
            )
            .values(reviewed_at=self._now(), reviewed_by=who)
            .returning(_table.message_sid)
        )
        with transaction(self._engine, joining=connection) as open_connection:
            return open_connection.execute(statement).first() is not None

    def _was_overtaken(self, from_: str, sender: str, at: datetime, connection: Connection) -> bool:
        """Whether the person has said STOP or START later than this, about the same."""
        who = person(from_)
        later = select(_table.message_sid).where(
            _table.kind.in_([word.value for word in _WORDS]),
            _table.received_at > at,
            or_(
                _table.from_address == who, _table.from_address.endswith(f":{who}", autoescape=True)
            ),
        )
        if self._scope is Scope.SENDER:
            later = later.where(
                func.coalesce(_table.messaging_service_sid, _table.to_address) == sender
            )
        return connection.execute(later.limit(1)).first() is not None

    def _opt_out(self, from_: str, sender: str, message_sid: str, connection: Connection) -> None:
        suppression = Suppression(
            recipient=from_,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=self._scope,
            scope_value=sender if self._scope is Scope.SENDER else "",
            evidence=message_sid,
        )
        self._suppressions.record(suppression, who=_WHO, connection=connection)

    def _opt_in(self, from_: str, sender: str, message_sid: str, connection: Connection) -> None:
        lifted = {Scope.SENDER: sender}
        if self._scope is Scope.EVERYTHING:
            lifted[Scope.EVERYTHING] = ""
        for scope, scope_value in lifted.items():
            self._suppressions.lift(
                from_,
                reason=Reason.OPTED_OUT,
                scope=scope,
                scope_value=scope_value,
                source=Source.INBOUND,
                evidence=message_sid,
                who=_WHO,
                connection=connection,
            )


def _storable(body: str) -> str:
    """Return `body` without what PostgreSQL or UTF-8 cannot hold; a request must never be lost."""
    return body.replace("\0", "\ufffd").encode(errors="replace").decode()
