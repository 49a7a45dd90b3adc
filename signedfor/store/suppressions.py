"""Suppressions; every change adds a row to the history."""

import functools
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    RowMapping,
    and_,
    case,
    delete,
    or_,
    select,
)

from signedfor.consent import (
    CATEGORY_SCOPES,
    MAX_CHANGED_BY,
    MAX_EVIDENCE,
    OWN_SOURCES,
    Reason,
    Scope,
    Source,
    Suppression,
    addresses_of,
    check_text,
    person,
    suppression_key,
)
from signedfor.store.database import (
    delete_in_batches,
    delete_oldest,
    insert_for,
    insert_if_new,
    transaction,
)
from signedfor.store.people import People
from signedfor.store.suppression_checks import (
    APPLIES,
    LIFTED_BY_REACH,
    STANDS,
    applying_to,
    scopes_of,
)
from signedfor.store.tables import suppression_history, suppressions, utc_now
from signedfor.twilio.rates import kind_of

_table = suppressions.c
_KEY = (
    *(_table.recipient, _table.scope, _table.scope_value, _table.reason),
    *(_table.source, _table.to_sender),
)
_CHANGED = (*_KEY, _table.evidence)
"""What the history keeps of a change."""
# If several apply, the report names the one whose reason comes first in `Reason`.
_BY_REASON = case({reason.value: rank for rank, reason in enumerate(Reason)}, value=_table.reason)

_FIRST_APPLICABLE = select(suppressions).where(APPLIES).order_by(_BY_REASON, _table.id).limit(1)


class Action(StrEnum):
    """What happened to a suppression."""

    RECORDED = "recorded"
    LIFTED = "lifted"


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One change of a suppression: who made it, when, and on what evidence."""

    id: int
    at: datetime
    recipient: str = field(repr=False)
    action: Action
    scope: Scope
    scope_value: str = field(repr=False)
    reason: Reason
    source: Source
    evidence: str = field(repr=False)
    to_sender: str = field(repr=False)
    changed_by: str


class Suppressions:
    """The suppressions in the database of `engine`.

    Addresses must be normalized. Opt-outs are stored for the person, so one of
    `whatsapp:+15558675309` also covers `+15558675309`; other reasons apply to the exact address.
    Every method accepts an open `connection` to join its transaction, and raises
    `DatabaseUnavailable` when the database cannot answer: then nothing may be sent.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._people = People(engine)
        self._now = now

    def find(
        self,
        recipient: str,
        *,
        sender: str | None,
        category: str | None,
        connection: Connection | None = None,
    ) -> Suppression | None:
        """Return the suppression that blocks this message, or None if it may be sent."""
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            parameters = applying_to(
                recipient,
                sender=sender,
                category=category,
                now=self._now(),
                pseudonym=self._pseudonyms(open_connection),
            )
            row = open_connection.execute(_FIRST_APPLICABLE, parameters).first()
        return None if row is None else _suppression(row)

    def find_suppressed(
        self,
        recipients: Collection[str],
        *,
        sender: str | None,
        category: str | None,
        connection: Connection | None = None,
    ) -> frozenset[str]:
        """Return those of `recipients`, at most a thousand, for whom `find` finds a suppression."""
        scopes = scopes_of(sender=sender, category=category)
        parameters = {"suppressed_at": self._now()}
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            pseudonym = self._pseudonyms(open_connection)
            addresses = {
                each: {each, pseudonym(each)} for each in (*recipients, *map(person, recipients))
            }
            query = select(_table.recipient, _table.reason).where(
                STANDS, _table.recipient.in_(set().union(*addresses.values())), or_(*scopes)
            )
            rows = open_connection.execute(query, parameters).all()
        suppressed = {row.recipient for row in rows}
        people = {row.recipient for row in rows if row.reason != Reason.UNDELIVERABLE}
        return frozenset(
            each
            for each in recipients
            if addresses[each] & suppressed or addresses[person(each)] & people
        )

    def record(
        self, suppression: Suppression, *, by: str, connection: Connection | None = None
    ) -> bool:
        """Record `suppression`; return False, and change nothing, if it exists."""
        return self.record_all([suppression], by=by, connection=connection) == 1

    def record_all(
        self,
        batch: Sequence[Suppression],
        *,
        by: str,
        connection: Connection | None = None,
    ) -> int:
        """Record all of `batch` in one transaction; return how many are new."""
        _check_by(by)
        if not batch:
            return 0
        now = self._now()
        with transaction(self._engine, joining=connection) as open_connection:
            new = open_connection.execute(
                insert_if_new(open_connection, suppressions).returning(*_CHANGED),
                [_row(each, now=now) for each in batch],
            )
            return _append(open_connection, new.mappings(), action=Action.RECORDED, at=now, by=by)

    def renew(
        self, suppression: Suppression, *, by: str, connection: Connection | None = None
    ) -> bool:
        """Record `suppression`, or newer evidence for it; False, and no change, if it is older."""
        _check_by(by)
        now = self._now()
        with transaction(self._engine, joining=connection) as open_connection:
            statement = insert_for(open_connection.dialect.name, suppressions)
            renewed = {
                name: statement.excluded[name] for name in ("evidence", "created_at", "expires_at")
            }
            changed = open_connection.execute(
                statement.on_conflict_do_update(
                    index_elements=_KEY,
                    set_=renewed,
                    where=and_(
                        _table.created_at < statement.excluded.created_at,
                        # A retried activity has the same evidence.
                        or_(
                            _table.evidence != statement.excluded.evidence,
                            _table.expires_at <= statement.excluded.created_at,
                        ),
                    ),
                ).returning(*_CHANGED),
                _row(suppression, now=now),
            )
            return (
                _append(open_connection, changed.mappings(), action=Action.RECORDED, at=now, by=by)
                > 0
            )

    def was_recorded(self, suppression: Suppression, *, connection: Connection) -> bool:
        """Whether it was ever recorded on this evidence, lifted since or not."""
        column = suppression_history.c
        key = suppression_key(suppression.recipient, suppression.reason)
        recorded = select(column.id).where(
            column.recipient.in_((key, self._pseudonyms(connection)(key))),
            column.action == Action.RECORDED,
            column.evidence == suppression.evidence,
        )
        return connection.execute(recorded.limit(1)).first() is not None

    def lift(
        self,
        recipient: str,
        *,
        reason: Reason | None = None,
        scope: Scope | None = None,
        scope_value: str | None = None,
        ids: Collection[int] | None = None,
        source: Source,
        evidence: str,
        by: str,
        connection: Connection | None = None,
    ) -> int:
        """Lift the matching suppressions of `recipient`; return how many there were.

        None matches any. `source`, `evidence` and `by` go into the history.
        """
        conditions = []
        if scope is not None:
            conditions.append(_table.scope == scope)
        if scope_value is not None:
            conditions.append(_table.scope_value == scope_value)
        if ids is not None:
            conditions.append(_table.id.in_(ids))
        with transaction(self._engine, joining=connection) as open_connection:
            reasons = list(Reason) if reason is None else [reason]
            conditions.append(self._concern(recipient, reasons, open_connection))
            return self._lift(
                conditions, source=source, evidence=evidence, by=by, connection=open_connection
            )

    def lift_own_opt_outs(
        self,
        recipient: str,
        *,
        to_sender: str | None,
        until: datetime,
        evidence: str,
        by: str,
        connection: Connection | None = None,
    ) -> int:
        """Lift the opt-outs that the person made to the sender, or to any, until that time.

        It also lifts what a message suppresses that awaits review. An opt-out from a category
        stays: the person did not name it.
        """
        conditions = [
            _table.source.in_([source.value for source in OWN_SOURCES]),
            or_(
                _table.reason == Reason.REVIEW,
                _table.scope.not_in([scope.value for scope in CATEGORY_SCOPES]),
            ),
            _table.created_at <= until,
        ]
        if to_sender is not None:
            conditions.append(_table.to_sender == to_sender)
        with transaction(self._engine, joining=connection) as open_connection:
            reasons = [Reason.OPTED_OUT, Reason.REVIEW]
            conditions.append(self._concern(recipient, reasons, open_connection))
            return self._lift(
                conditions,
                source=Source.INBOUND,
                evidence=evidence,
                by=by,
                connection=open_connection,
            )

    def end_review(
        self,
        recipient: str,
        *,
        message_sid: str,
        next_pending: tuple[str, datetime] | None,
        by: str,
        connection: Connection | None = None,
    ) -> None:
        """Lift what stands because the message awaited review.

        It stands on if another message of the person does, `next_pending`: its SID and time.
        """
        with transaction(self._engine, joining=connection) as open_connection:
            conditions = [
                self._concern(recipient, [Reason.REVIEW], open_connection),
                _table.source == Source.INBOUND,
                _table.evidence == message_sid,
            ]
            ended = open_connection.execute(select(suppressions).where(*conditions)).all()
            self._lift(
                conditions,
                source=Source.OPERATOR,
                evidence=message_sid,
                by=by,
                connection=open_connection,
            )
            if next_pending is not None:
                sid, at = next_pending
                standing = [
                    replace(_suppression(row), evidence=sid, created_at=at) for row in ended
                ]
                self.record_all(standing, by=by, connection=open_connection)

    def lift_undeliverable(
        self,
        address: str,
        *,
        by_sender: str | None = None,
        until: datetime | None = None,
        source: Source,
        evidence: str,
        by: str,
        connection: Connection | None = None,
    ) -> int:
        """Lift what Twilio's codes said of the address, because it can be reached after all.

        A delivery `by_sender` shows it for senders of its kind. A message from the address shows it
        for all, but not for what was recorded after its time, `until`.
        """
        with transaction(self._engine, joining=connection) as open_connection:
            addresses = (address, self._pseudonyms(open_connection)(address))
            conditions = [_table.recipient.in_(addresses), LIFTED_BY_REACH]
            if until is not None:
                conditions.append(_table.created_at <= until)
            if by_sender is not None:
                senders = open_connection.scalars(
                    select(_table.scope_value).where(*conditions, _table.scope == Scope.SENDER)
                )
                alike = [each for each in senders if kind_of(each) is kind_of(by_sender)]
                conditions.append(
                    or_(_table.scope == Scope.EVERYTHING, _table.scope_value.in_(alike))
                )
            return self._lift(
                conditions, source=source, evidence=evidence, by=by, connection=open_connection
            )

    def _lift(
        self,
        conditions: Sequence[ColumnElement[bool]],
        *,
        source: Source,
        evidence: str,
        by: str,
        connection: Connection | None,
    ) -> int:
        _check_by(by)
        check_text("evidence", evidence, max_length=MAX_EVIDENCE)
        with transaction(self._engine, joining=connection) as open_connection:
            lifted = open_connection.execute(
                delete(suppressions).where(*conditions).returning(*_CHANGED)
            ).mappings()
            entries = [{**row, "source": source.value, "evidence": evidence} for row in lifted]
            return _append(open_connection, entries, action=Action.LIFTED, at=self._now(), by=by)

    def list_(
        self,
        *,
        recipient: str | None = None,
        reason: Reason | None = None,
        scope: Scope | None = None,
        source: Source | None = None,
        senders: Collection[str] | None = None,
        since: datetime | None = None,
        after_id: int = 0,
        before_id: int | None = None,
        is_newest_first: bool = False,
        limit: int = 100,
        connection: Connection | None = None,
    ) -> list[Suppression]:
        """Return one page, by id; the next page starts `after_id` of this one's last row.

        The newest first, it starts `before_id`. With `recipient`, a channel address also shows the
        suppressions of its person; with `senders`, only those of messages from one of them.
        """
        conditions: list[ColumnElement[bool]] = [_table.id > after_id]
        if before_id is not None:
            conditions.append(_table.id < before_id)
        if reason is not None:
            conditions.append(_table.reason == reason)
        if scope is not None:
            conditions.append(_table.scope == scope)
        if source is not None:
            conditions.append(_table.source == source)
        if senders is not None:
            conditions.append(_is_from(senders))
        if since is not None:
            conditions.append(_table.created_at >= since)
        order = _table.id.desc() if is_newest_first else _table.id
        query = select(suppressions).where(*conditions).order_by(order).limit(limit)
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            if recipient is not None:
                addresses = self._with_pseudonyms({recipient, person(recipient)}, open_connection)
                query = query.where(_table.recipient.in_(addresses))
            return [_suppression(row) for row in open_connection.execute(query)]

    def of(self, recipient: str, *, connection: Connection | None = None) -> list[Suppression]:
        """Return all that is recorded for the person whom the address reaches, on any channel."""
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            query = (
                select(suppressions)
                .where(_table.recipient.in_(self._all_of(recipient, open_connection)))
                .order_by(_table.id)
            )
            return [_suppression(row) for row in open_connection.execute(query)]

    def history(
        self, recipient: str, *, connection: Connection | None = None
    ) -> list[HistoryEntry]:
        """Return every change for the person whom it reaches, on any channel, oldest first."""
        column = suppression_history.c
        with transaction(self._engine, joining=connection, read_only=True) as open_connection:
            query = (
                select(suppression_history)
                .where(column.recipient.in_(self._all_of(recipient, open_connection)))
                .order_by(column.id)
            )
            return [_entry(row) for row in open_connection.execute(query)]

    def purge_expired(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete those that have been over since then, in batches; return how many."""
        return delete_in_batches(self._engine, suppressions, _table.expires_at < before, stop=stop)

    def purge_history(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older changes from the history in batches; return how many."""
        at = suppression_history.c.at
        return delete_oldest(self._engine, suppression_history, at, before=before, stop=stop)

    def _pseudonyms(self, connection: Connection) -> Callable[[str], str]:
        return functools.partial(self._people.pseudonym_if_any, connection=connection)

    def _with_pseudonyms(self, addresses: Collection[str], connection: Connection) -> set[str]:
        return {*addresses, *map(self._pseudonyms(connection), addresses)}

    def _all_of(self, recipient: str, connection: Connection) -> set[str]:
        """Every address of the person, and every pseudonym if they were erased."""
        return self._with_pseudonyms({recipient, *addresses_of(person(recipient))}, connection)

    def _concern(
        self, recipient: str, reasons: Sequence[Reason], connection: Connection
    ) -> ColumnElement[bool]:
        """The suppressions of the recipient for these reasons."""
        keys = {each: suppression_key(recipient, each) for each in reasons}
        pseudonym = self._pseudonyms(connection)
        return or_(
            *(
                and_(_table.reason == each, _table.recipient.in_((key, pseudonym(key))))
                for each, key in keys.items()
            )
        )


def _is_from(senders: Collection[str]) -> ColumnElement[bool]:
    """The suppressions of messages from one of the senders, and not from others."""
    return or_(
        and_(_table.scope == Scope.SENDER, _table.scope_value.in_(senders)),
        and_(_table.scope == Scope.SENDER_CATEGORY, _table.to_sender.in_(senders)),
    )


def _row(suppression: Suppression, *, now: datetime) -> dict[str, Any]:
    return {
        "recipient": suppression_key(suppression.recipient, suppression.reason),
        "scope": suppression.scope.value,
        "scope_value": suppression.scope_value,
        "reason": suppression.reason.value,
        "source": suppression.source.value,
        "evidence": suppression.evidence,
        "to_sender": suppression.to_sender,
        "created_at": suppression.created_at or now,
        "expires_at": suppression.expires_at,
    }


def _append(
    connection: Connection,
    entries: Iterable[RowMapping | dict[str, Any]],
    *,
    action: Action,
    at: datetime,
    by: str,
) -> int:
    """Add the changes to the history; return how many there are."""
    rows = [{**entry, "action": action.value, "at": at, "changed_by": by} for entry in entries]
    if rows:
        connection.execute(suppression_history.insert(), rows)
    return len(rows)


def _check_by(by: str) -> None:
    check_text("by", by, max_length=MAX_CHANGED_BY, required=True)


def _suppression(row: Row[Any]) -> Suppression:
    return Suppression(
        id=row.id,
        recipient=row.recipient,
        scope=Scope(row.scope),
        scope_value=row.scope_value,
        reason=Reason(row.reason),
        source=Source(row.source),
        evidence=row.evidence,
        to_sender=row.to_sender,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def _entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        id=row.id,
        at=row.at,
        recipient=row.recipient,
        action=Action(row.action),
        scope=Scope(row.scope),
        scope_value=row.scope_value,
        reason=Reason(row.reason),
        source=Source(row.source),
        evidence=row.evidence,
        to_sender=row.to_sender,
        changed_by=row.changed_by,
    )
