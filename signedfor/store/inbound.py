"""Inbound messages: each is stored once, and its STOP or START applied once."""

import json
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select, tuple_, update

from signedfor.consent import (
    ALL_CATEGORIES,
    CATEGORY_SCOPES,
    DEFAULT_REVIEW_SUPPRESSES,
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
from signedfor.contract import InboundKind, InboundMedia
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import NO_TEXTS, TextPolicy
from signedfor.store.database import (
    current_time,
    delete_in_batches,
    insert_if_new,
    lock_person,
    transaction,
    update_in_batches,
)
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import IS_PENDING, IS_REVIEW, inbound_messages, utc_now, watermarks

_CHANGED_BY = "inbound message"
_OPT_INS = (InboundKind.START, InboundKind.YES)
ABOUT_CONSENT: Final = frozenset({InboundKind.STOP, InboundKind.REVIEW, *_OPT_INS})
"""The kinds of messages that have changed what may be sent, or may have."""
CLOCK_MARGIN: Final = timedelta(seconds=5)
"""A START counts over a STOP if it is newer by at least this much: the times may be by the clocks
of the database, Temporal and Twilio, whose lists have whole seconds."""
_column = inbound_messages.c
_to_sender = func.coalesce(_column.messaging_service_sid, _column.to_address)
TEXT_IS_DONE_WITH: Final = _column.dispatch_at.is_(None) & ~IS_PENDING
"""The service's workflow was started, if there is one, and nobody has to read it any more."""


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

    @property
    def to_sender(self) -> str:
        """The Messaging Service that it was sent to if there is one, otherwise the number."""
        return self.messaging_service_sid or self.to


@dataclass(frozen=True, kw_only=True)
class PendingReviews:
    """How many inbound messages await review, and when the oldest was received."""

    count: int
    oldest: datetime | None


class Decision(Enum):
    """What came of an operator's decision about an inbound message."""

    OPT_OUT = auto()
    """It is an opt-out, which was recorded."""
    OPTED_IN_SINCE = auto()
    """It was an opt-out, but the person has opted in since; none was recorded."""
    NO_OPT_OUT = auto()


@dataclass(frozen=True, kw_only=True)
class Received:
    """An inbound message in the list of what came; `text` is None if it is not stored."""

    message_sid: str
    from_: str = field(repr=False)
    to: str = field(repr=False)
    messaging_service_sid: str | None
    kind: InboundKind
    text: str | None = field(repr=False)
    media: tuple[InboundMedia, ...]
    received_at: datetime
    awaits_dispatch: bool
    dispatched_at: datetime | None
    """When the service's workflow was started; None: not yet, or there was none to start."""


class InboundMessages:
    """The inbound messages in the database of `engine`, and the effect of STOP, START and YES.

    A STOP is recorded with the sender that it was sent to: the Messaging Service if there is one,
    otherwise the number. With `scope=Scope.EVERYTHING` it covers everything, with
    `scope=Scope.SENDER` that sender only.

    A START lifts the person's own opt-outs: all of them, or with `scope=Scope.SENDER` those to the
    sender that it was sent to. A YES, which may as well answer a question, always lifts only
    those. Neither lifts what an operator or a file added, or an opt-out from a category.

    Of a STOP and a START, the later one counts, in whatever order they arrive; in doubt the STOP
    (`CLOCK_MARGIN`). Messages of one person are processed one after the other.

    A message that an operator must read suppresses `review_suppresses` until they have, as far as
    a STOP would; an opt-in ends that too.

    Any message from an address shows that it can be reached after all.

    If a message names several addresses of its person (`also_from`), all this holds for each.

    `texts` says which messages are stored with their text and media, and whether they await the
    start of the service's workflow (`signedfor.store.inbound_outbox`).

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        scope: Scope = Scope.EVERYTHING,
        review_suppresses: Collection[str] = DEFAULT_REVIEW_SUPPRESSES,
        texts: TextPolicy = NO_TEXTS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if scope in CATEGORY_SCOPES:
            raise ValueError("scope: a STOP can cover everything or one sender, not a category")
        self._engine = engine
        self._scope = scope
        self._review_suppresses = review_suppresses
        self.texts = texts
        self._now = now
        self._suppressions = Suppressions(engine, now=now)

    @property
    def scope(self) -> Scope:
        """What a STOP covers."""
        return self._scope

    def receive(self, record: InboundRecord, *, connection: Connection | None = None) -> bool:
        """Store it and apply its keyword in one transaction; False if it is a duplicate."""
        check_text("message_sid", record.message_sid, max_length=64, required=True)
        for each in (record.from_, *record.also_from):
            check_text("from", each, max_length=MAX_ADDRESS, required=True)
        check_text("to", record.to, max_length=MAX_ADDRESS, required=True)
        check_text("messaging_service_sid", record.messaging_service_sid or "", max_length=64)
        stored = record if self.texts.stores(record.kind) else None
        with transaction(self._engine, joining=connection) as open_connection:
            # In the same order in every transaction, so that none waits for another in a circle.
            for each in sorted({person(each) for each in (record.from_, *record.also_from)}):
                lock_person(open_connection, each)
            received_at = record.received_at or current_time(open_connection)
            inserted = open_connection.execute(
                insert_if_new(open_connection, inbound_messages)
                .values(
                    message_sid=record.message_sid,
                    from_address=record.from_,
                    to_address=record.to,
                    messaging_service_sid=record.messaging_service_sid or None,
                    kind=record.kind.value,
                    body=None if stored is None else _storable(stored.body),
                    media=None if stored is None else _media_document(stored.media),
                    received_at=received_at,
                    dispatch_at=received_at if self.texts.dispatches else None,
                )
                .returning(_column.message_sid)
            ).first()
            if inserted is None:
                return False
            message = _ConsentMessage(
                (record.from_, *record.also_from),
                _sender(record),
                received_at,
                record.message_sid,
                by=_CHANGED_BY,
            )
            if record.kind is InboundKind.STOP:
                self._opt_out(message, open_connection)
            elif record.kind in _OPT_INS:
                self._opt_in(message, open_connection, is_narrow=record.kind is InboundKind.YES)
            elif record.kind is InboundKind.REVIEW:
                self._suppress_until_reviewed(message, open_connection)
            for address in message.addresses:
                self._suppressions.lift_undeliverable(
                    address,
                    until=received_at,
                    source=Source.INBOUND,
                    evidence=record.message_sid,
                    by=_CHANGED_BY,
                    connection=open_connection,
                )
        return True

    def is_recorded(self, message_sid: str) -> bool:
        """Whether this message is stored."""
        query = select(_column.message_sid).where(_column.message_sid == message_sid)
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(query).first() is not None

    def decide(
        self, message_sid: str, *, is_opt_out: bool, by: str, connection: Connection | None = None
    ) -> Decision | None:
        """Record the decision of `by` about a message; None if it does not await review.

        In one transaction it ends what the review suppresses and records the opt-out, if it is one.
        """
        check_text("by", by, max_length=MAX_CHANGED_BY, required=True)
        with transaction(self._engine, joining=connection) as open_connection:
            review = self.review(message_sid, connection=open_connection)
            if review is None:
                return None
            lock_person(open_connection, person(review.from_))
            if not self._mark_reviewed(message_sid, by=by, connection=open_connection):
                return None
            message = _ConsentMessage(
                (review.from_,), review.to_sender, review.received_at, message_sid, by=by
            )
            self._suppressions.end_review(
                review.from_,
                message_sid=message_sid,
                next_pending=self._next_pending(message, open_connection),
                by=by,
                connection=open_connection,
            )
            if not is_opt_out:
                return Decision.NO_OPT_OUT
            is_recorded = self._opt_out(message, open_connection)
            return Decision.OPT_OUT if is_recorded else Decision.OPTED_IN_SINCE

    def review(self, message_sid: str, *, connection: Connection | None = None) -> Review | None:
        """Return the message to review, or reviewed by now, with this SID; None: there is none."""
        query = select(inbound_messages).where(_column.message_sid == message_sid, IS_REVIEW)
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            row = open_connection.execute(query).first()
        return None if row is None else _review(row)

    def pending_reviews(self, *, connection: Connection | None = None) -> PendingReviews:
        """Return how many messages await review, and since when the oldest does."""
        query = select(func.count(), func.min(_column.received_at)).where(IS_PENDING)
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            count, oldest = open_connection.execute(query).one()
        return PendingReviews(count=count, oldest=oldest)

    def reviews(
        self,
        *,
        pending_only: bool = True,
        after: Review | None = None,
        limit: int = 100,
        connection: Connection | None = None,
    ) -> list[Review]:
        """Return one page of messages to review, oldest first; `after` is the last one shown."""
        conditions = [IS_PENDING if pending_only else IS_REVIEW]
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
            return [_review(row) for row in open_connection.execute(query)]

    def _mark_reviewed(self, message_sid: str, *, by: str, connection: Connection) -> bool:
        statement = (
            update(inbound_messages)
            .where(_column.message_sid == message_sid, IS_PENDING)
            .values(reviewed_at=self._now(), reviewed_by=by)
            .returning(_column.message_sid)
        )
        return connection.execute(statement).first() is not None

    def list_(
        self,
        *,
        kind: InboundKind | None = None,
        since: datetime | None = None,
        undispatched_only: bool = False,
        from_person: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Received]:
        """One page of what came, newest first; `after` is the SID of the last one shown.

        `from_person` is an address of the person who sent it.
        """
        conditions: list[ColumnElement[bool]] = []
        if kind is not None:
            conditions.append(_column.kind == kind.value)
        if since is not None:
            conditions.append(_column.received_at >= since)
        if undispatched_only:
            conditions.append(_column.dispatch_at.is_not(None))
        if from_person is not None:
            conditions.append(_column.from_address.in_(addresses_of(person(from_person))))
        if after is not None:
            shown = inbound_messages.alias()
            at = select(shown.c.received_at).where(shown.c.message_sid == after).scalar_subquery()
            conditions.append(
                (_column.received_at < at)
                | (_column.received_at == at) & (_column.message_sid > after)
            )
        query = (
            select(inbound_messages)
            .where(*conditions)
            .order_by(_column.received_at.desc(), _column.message_sid)
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [
                Received(
                    message_sid=row.message_sid,
                    from_=row.from_address,
                    to=row.to_address,
                    messaging_service_sid=row.messaging_service_sid,
                    kind=InboundKind(row.kind),
                    text=row.body,
                    media=media_in(row.media),
                    received_at=row.received_at,
                    awaits_dispatch=row.dispatch_at is not None,
                    dispatched_at=row.dispatched_at,
                )
                for row in connection.execute(query)
            ]

    def purge_texts(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete the texts and media of older messages in batches; return of how many.

        A message keeps them until the service's workflow is started, and until it was read if it
        is for review. `stop` ends it early.
        """
        return update_in_batches(
            self._engine,
            _column.message_sid,
            _column.body.is_not(None) & (_column.received_at < before) & TEXT_IS_DONE_WITH,
            {"body": None, "media": None},
            stop=stop,
        )

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older messages that were not about consent, in batches; return how many."""
        kinds = [kind for kind in InboundKind if kind not in ABOUT_CONSENT]
        return self._purge(kinds, before=before, stop=stop)

    def purge_about_consent(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older messages that were about consent, in batches; return how many."""
        return self._purge(ABOUT_CONSENT, before=before, stop=stop)

    def _purge(
        self, kinds: Collection[InboundKind], *, before: datetime, stop: threading.Event | None
    ) -> int:
        is_old = _column.kind.in_([kind.value for kind in kinds]) & (_column.received_at < before)
        return delete_in_batches(
            self._engine, inbound_messages, is_old & TEXT_IS_DONE_WITH, stop=stop
        )

    def _next_pending(
        self, message: "_ConsentMessage", connection: Connection
    ) -> tuple[str, datetime] | None:
        """SID and time of the newest other message to the sender that still suppresses."""
        query = (
            select(_column.message_sid, _column.received_at)
            .where(
                IS_PENDING,
                _column.from_address.in_(message.all_addresses),
                _to_sender == message.to_sender,
            )
            .order_by(_column.received_at.desc(), _column.message_sid)
            .limit(1)
        )
        row = connection.execute(query).first()
        if row is None:
            return None
        newest = replace(message, at=row.received_at, message_sid=row.message_sid)
        # What is older than an opt-in suppresses nothing; the others are older still.
        if self._has_opted_in_since(newest, connection):
            return None
        return row.message_sid, row.received_at

    def _suppress_until_reviewed(self, message: "_ConsentMessage", connection: Connection) -> None:
        """Record what the review suppresses unless the person has opted in since."""
        coverage = self._review_coverage(message.to_sender)
        if not coverage or self._has_opted_in_since(message, connection):
            return
        for scope, scope_value in coverage:
            suppression = Suppression(
                recipient=message.addresses[0],  # the one that is stored with the review
                reason=Reason.REVIEW,
                source=Source.INBOUND,
                scope=scope,
                scope_value=scope_value,
                evidence=message.message_sid,
                to_sender=message.to_sender,
                created_at=message.at,
            )
            self._suppressions.renew(suppression, by=message.by, connection=connection)

    def _review_coverage(self, to_sender: str) -> list[tuple[Scope, str]]:
        is_wide = self._scope is Scope.EVERYTHING
        if ALL_CATEGORIES in self._review_suppresses:
            return [(self._scope, "" if is_wide else to_sender)]
        scope = Scope.CATEGORY if is_wide else Scope.SENDER_CATEGORY
        return [(scope, category) for category in self._review_suppresses]

    def _opt_out(self, message: "_ConsentMessage", connection: Connection) -> bool:
        """Record it unless the person has opted in since."""
        if self._has_opted_in_since(message, connection):
            return False
        for address in message.addresses:
            suppression = Suppression(
                recipient=address,
                reason=Reason.OPTED_OUT,
                source=Source.INBOUND,
                scope=self._scope,
                scope_value=message.to_sender if self._scope is Scope.SENDER else "",
                evidence=message.message_sid,
                to_sender=message.to_sender,
                created_at=message.at,
            )
            self._suppressions.renew(suppression, by=message.by, connection=connection)
        return True

    def _has_opted_in_since(self, message: "_ConsentMessage", connection: Connection) -> bool:
        concerns = _to_sender == message.to_sender
        if self._scope is Scope.EVERYTHING:
            concerns |= _column.kind == InboundKind.START.value
        later = select(_column.message_sid).where(
            _column.kind.in_([kind.value for kind in _OPT_INS]),
            _column.received_at >= message.at + CLOCK_MARGIN,
            _column.from_address.in_(message.all_addresses),
            concerns,
        )
        return connection.execute(later.limit(1)).first() is not None

    def _opt_in(
        self, message: "_ConsentMessage", connection: Connection, *, is_narrow: bool
    ) -> None:
        for address in message.addresses:
            self._suppressions.lift_own_opt_outs(
                address,
                to_sender=message.to_sender if is_narrow or self._scope is Scope.SENDER else None,
                until=message.at - CLOCK_MARGIN,
                evidence=message.message_sid,
                by=message.by,
                connection=connection,
            )


@dataclass(frozen=True)
class _ConsentMessage:
    """An inbound message as far as it concerns consent; `by` is who says what it means."""

    addresses: tuple[str, ...] = field(repr=False)
    to_sender: str = field(repr=False)
    at: datetime
    message_sid: str
    by: str

    @property
    def all_addresses(self) -> list[str]:
        """Every address of the person, or the people, of `addresses`."""
        return [one for each in self.addresses for one in addresses_of(person(each))]


def _review(row: Row[Any]) -> Review:
    return Review(
        message_sid=row.message_sid,
        from_=row.from_address,
        to=row.to_address,
        messaging_service_sid=row.messaging_service_sid,
        body=row.body,
        received_at=row.received_at,
        reviewed_at=row.reviewed_at,
        reviewed_by=row.reviewed_by,
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

    def names(self, prefix: str, *, since: datetime) -> list[str]:
        """The watermarks whose name begins so, and that are at or after `since`."""
        query = select(watermarks.c.name).where(
            watermarks.c.name.startswith(prefix, autoescape=True), watermarks.c.at >= since
        )
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(query))

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


def _media_document(media: Sequence[InboundMedia]) -> str | None:
    return json.dumps([each.model_dump() for each in media]) if media else None


def media_in(document: str | None) -> tuple[InboundMedia, ...]:
    """The media in the column of that name."""
    return tuple(InboundMedia.model_validate(each) for each in json.loads(document or "[]"))
