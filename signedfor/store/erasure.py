"""Erasing a person: what the database has of them, and taking it away.

What identifies the person is deleted. What must outlast them gets a pseudonym in the place of the
address, because it is a decision or evidence: suppressions and their history, opt-ins, and that a
message of theirs was received. For each message one attempt record stays, without a hash, so that
its id sends nothing again.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    delete,
    func,
    select,
    tuple_,
    update,
)

from signedfor.consent import addresses_of, person
from signedfor.contract import campaign_message_id
from signedfor.store.database import insert_if_new, lock_person, transaction
from signedfor.store.fingerprints import recipient_hash
from signedfor.store.people import People
from signedfor.store.pseudonyms import BY_ERASURE, pseudonymise
from signedfor.store.tables import (
    ERASED,
    IS_PENDING,
    campaign_rows,
    campaign_upload_parts,
    campaign_uploads,
    campaigns,
    dead_letter_index,
    held_back_messages,
    inbound_messages,
    inbox,
    limit_usage,
    message_index,
    opt_ins,
    send_attempts,
    suppression_history,
    suppressions,
    utc_now,
)

_ROWS_AT_ONCE: Final = 20_000
"""Rows of a campaign that one query looks through: there is no index of their recipients."""
_BATCH: Final = 500
_DIGITS: Final = 7
"""The end of a number that is searched for in files: people leave out the country's code."""
_PART_OF: Final = campaign_upload_parts.c.upload_id
_UPLOAD_ID: Final = campaign_uploads.c.upload_id
_ROW_KEY: Final = tuple_(campaign_rows.c.campaign_id, campaign_rows.c.number)
_Value = TypeVar("_Value", str, tuple[str, int])

DELETED: Final = (
    *(campaign_rows, campaign_uploads, dead_letter_index, held_back_messages, inbox),
    *(limit_usage, message_index, send_attempts),
)
PSEUDONYMISED: Final = (inbound_messages, opt_ins, suppression_history, suppressions)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the database has of the person."""

    message_ids: frozenset[str]
    """Of messages to them."""
    inbound_sids: frozenset[str]
    """Of messages from them, also of those that are pseudonymised already."""
    campaign_rows: frozenset[tuple[str, int]]
    upload_ids: frozenset[str]
    counts: Mapping[str, int]
    """Rows, by table."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is left to erase."""
        return not any(self.counts.values())


class Erasure:
    """The records of the person whom `recipient` reaches, in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer. Each
    method can be repeated.
    """

    def __init__(
        self, engine: Engine, recipient: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._now = now
        self._person = person(recipient)
        people = People(engine)
        self.reference = people.reference(recipient)
        """By which logs may name the person."""
        self.addresses = tuple(dict.fromkeys((recipient, *addresses_of(self._person))))
        """Every address that reaches them."""
        self._pseudonyms = {each: people.pseudonym(each) for each in self.addresses}

    def find(self) -> Found:
        """What the database has of them now."""
        rows = frozenset(self._campaign_rows())
        with transaction(self._engine, read_only=True) as connection:
            sids = frozenset(
                connection.scalars(
                    select(inbound_messages.c.message_sid).where(
                        inbound_messages.c.from_address.in_(
                            (*self.addresses, *self._pseudonyms.values())
                        )
                    )
                )
            )
            ids = {
                *connection.scalars(select(held_back_messages.c.message_id).where(self._held_back)),
                *connection.scalars(select(send_attempts.c.message_id).where(self._attempted)),
                *connection.scalars(select(message_index.c.message_id).where(self._indexed)),
                *(campaign_message_id(*row) for row in rows),
            }
            conditions: dict[Table, list[ColumnElement[bool]]] = {
                held_back_messages: [self._held_back],
                inbound_messages: [self._is_inbound],
                opt_ins: [opt_ins.c.recipient.in_(self.addresses)],
                suppression_history: [suppression_history.c.recipient.in_(self.addresses)],
                suppressions: [suppressions.c.recipient.in_(self.addresses)],
                dead_letter_index: _in(dead_letter_index.c.message_id, ids),
                inbox: _in(inbox.c.message_id, ids),
                limit_usage: [self._is_limit],
                message_index: [self._indexed],
                send_attempts: [self._attempted],
            }
            counts = {
                table.name: sum(_count(connection, table, each) for each in where)
                for table, where in conditions.items()
            }
        uploads = frozenset(self._uploads())
        counts |= {campaign_rows.name: len(rows), campaign_uploads.name: len(uploads)}
        return Found(
            message_ids=frozenset(ids),
            inbound_sids=sids,
            campaign_rows=rows,
            upload_ids=uploads,
            counts=dict(sorted(counts.items())),
        )

    def unidentified(self) -> tuple[int, int]:
        """How many messages in the index have a recipient who is not known yet, and never will be.

        The latter: their history is gone, or cannot be read.
        """
        column = message_index.c.person
        with transaction(self._engine, read_only=True) as connection:
            unknown = _count(connection, message_index, column.is_(None))
            return unknown, _count(connection, message_index, column == "")

    def hold(self, found: Found) -> None:
        """Have no further message and no workflow started from these records.

        Nothing is lost by which they can be found again.
        """
        column = inbound_messages.c
        nothing = {"recipient": self._pseudonyms[self._person], "fields": "{}", "cells": None}
        with transaction(self._engine) as connection:
            for some in _batches(found.campaign_rows):
                connection.execute(
                    update(campaign_rows).where(_ROW_KEY.in_(some)).values(**nothing)
                )
            connection.execute(
                update(inbound_messages)
                .where(self._is_inbound, IS_PENDING)
                .values(reviewed_at=self._now(), reviewed_by=BY_ERASURE)
            )
            connection.execute(
                update(inbound_messages)
                .where(self._is_inbound)
                .values({column.body: None, column.media: None, column.dispatch_at: None})
            )

    def block(self, message_ids: Iterable[str]) -> None:
        """Have no POST of these messages begin from now on."""
        with transaction(self._engine) as connection:
            self._block(connection, message_ids)

    def newest_claim(self, message_ids: Collection[str]) -> datetime | None:
        """When the newest POST of these messages began, as far as Twilio may have it."""
        column = send_attempts.c
        with transaction(self._engine, read_only=True) as connection:
            newest = [
                connection.scalar(
                    select(func.max(column.started_at)).where(
                        each, ~column.is_refused, column.submission != ERASED
                    )
                )
                for each in _in(column.message_id, message_ids)
            ]
        return max(filter(None, newest), default=None)

    def finish(self, found: Found, *, by: str) -> None:
        """Delete and pseudonymise it all in one transaction; `by` is who asked for it.

        Only when no workflow has these messages any more: afterwards nobody can tell which they
        were.
        """
        ids = found.message_ids
        deletions: list[tuple[Table, ColumnElement[bool]]] = [
            (held_back_messages, self._held_back),
            (send_attempts, self._attempted),
            (limit_usage, self._is_limit),
            (message_index, self._indexed),
            *((inbox, each) for each in _in(inbox.c.message_id, ids)),
            *((dead_letter_index, each) for each in _in(dead_letter_index.c.message_id, ids)),
            *((send_attempts, each) for each in _in(send_attempts.c.message_id, ids)),
            *((message_index, each) for each in _in(message_index.c.message_id, ids)),
            *((campaign_rows, _ROW_KEY.in_(some)) for some in _batches(found.campaign_rows)),
            *((campaign_upload_parts, each) for each in _in(_PART_OF, found.upload_ids)),
            *((campaign_uploads, each) for each in _in(_UPLOAD_ID, found.upload_ids)),
        ]
        with transaction(self._engine) as connection:
            lock_person(connection, self._person)
            for table, condition in deletions:
                connection.execute(delete(table).where(condition))
            self._block(connection, ids)
            pseudonymise(connection, self._pseudonyms, at=self._now(), by=by)

    def _block(self, connection: Connection, message_ids: Iterable[str]) -> None:
        rows = [
            {
                "message_id": each,
                "submission": ERASED,
                "attempt": 1,
                "is_refused": False,
                "fingerprint": "",
                "started_at": self._now(),
                "recipient_hash": "",
            }
            for each in sorted(message_ids)
        ]
        if rows:
            connection.execute(insert_if_new(connection, send_attempts), rows)

    @property
    def _held_back(self) -> ColumnElement[bool]:
        return held_back_messages.c.recipient.in_(self.addresses)

    @property
    def _is_inbound(self) -> ColumnElement[bool]:
        return inbound_messages.c.from_address.in_(self.addresses)

    @property
    def _attempted(self) -> ColumnElement[bool]:
        # Not by the reference, of which there is no index, and which old records lack.
        return send_attempts.c.recipient_hash.in_(list(map(recipient_hash, self.addresses)))

    @property
    def _indexed(self) -> ColumnElement[bool]:
        return message_index.c.person == self.reference

    @property
    def _is_limit(self) -> ColumnElement[bool]:
        return limit_usage.c.person_reference == self.reference

    def _campaign_rows(self) -> Iterator[tuple[str, int]]:
        column = campaign_rows.c
        with transaction(self._engine, read_only=True) as connection:
            ids = connection.scalars(select(campaigns.c.campaign_id)).all()
        held = self._pseudonyms[self._person]
        for campaign_id in ids:
            after: int | None = 0
            while after is not None:
                page = (
                    select(column.number, column.recipient)
                    .where(column.campaign_id == campaign_id, column.number > after)
                    .order_by(column.number)
                    .limit(_ROWS_AT_ONCE)
                    .subquery()
                )
                theirs = select(page.c.number).where(page.c.recipient.in_((*self.addresses, held)))
                with transaction(self._engine, read_only=True) as connection:
                    for number in connection.scalars(theirs):
                        yield campaign_id, number
                    after = connection.scalar(select(func.max(page.c.number)))

    def _uploads(self) -> Iterator[str]:
        """The files that have their number, in any punctuation."""
        with transaction(self._engine, read_only=True) as connection:
            ids = connection.scalars(select(_UPLOAD_ID)).all()
        for upload_id in ids:
            if self._has_number(upload_id):
                yield upload_id

    def _has_number(self, upload_id: str) -> bool:
        part, number, before = campaign_upload_parts.c, 1, b""
        end = re.sub(r"[^0-9]", "", self._person)[-_DIGITS:].encode()
        while True:
            query = select(part.content).where(part.upload_id == upload_id, part.number == number)
            with transaction(self._engine, read_only=True) as connection:
                content = connection.scalar(query)
            if content is None:
                return False
            digits = before + re.sub(rb"[^0-9]", b"", content)
            if end and end in digits:
                return True
            before, number = digits[-_DIGITS:], number + 1


def _in(column: Column[str], values: Collection[str]) -> list[ColumnElement[bool]]:
    """Conditions of which each compares some of the values."""
    return [column.in_(some) for some in _batches(values)]


def _count(connection: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(condition)
    return connection.execute(query).scalar_one()


def _batches(values: Collection[_Value]) -> Iterator[Sequence[_Value]]:
    ordered = sorted(values)
    for begin in range(0, len(ordered), _BATCH):
        yield ordered[begin : begin + _BATCH]
