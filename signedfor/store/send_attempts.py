"""The attempt records: what was about to be sent to Twilio, written before each POST."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    String,
    bindparam,
    exists,
    func,
    insert,
    select,
)

from signedfor.contract import CampaignState, MessageRequest, Priority
from signedfor.store.campaigns import campaign_is
from signedfor.store.database import delete_in_batches, transaction
from signedfor.store.rate_limiter import Fits, RateLimiter, always
from signedfor.store.rate_limiter_statements import paused
from signedfor.store.suppressions import APPLIES, applying_to
from signedfor.store.tables import send_attempts, suppressions, utc_now


@dataclass(frozen=True, kw_only=True)
class CandidateDuplicate:
    """Another message of ours to the same recipient, with an attempt record of its own."""

    message_id: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class AttemptRecords:
    """The attempt records of one message, and of others to its recipient in the same time."""

    own_since: datetime | None
    """Start of its first POST on record in that time; None: there is no record."""
    candidates: list[CandidateDuplicate]


@dataclass(frozen=True)
class Claimed:
    """The POST may be made; its record is written."""


@dataclass(frozen=True)
class NotBefore:
    """The sender is busy; a later time is reserved for the message."""

    moment: datetime


class Blocked(Enum):
    """Why the POST must not be made."""

    SUPPRESSED = auto()
    PAUSED = auto()
    """Its sender or its campaign is paused."""
    CAMPAIGN_CANCELED = auto()


# Built once, because they are used before each POST and building them costs more CPU than the
# query. A message without a campaign has None for one, which equals nothing.
_BLOCKED_BY: dict[Blocked, ColumnElement[bool]] = {
    Blocked.SUPPRESSED: exists(suppressions.c.id).where(APPLIES),
    Blocked.PAUSED: paused(bindparam("sender", type_=String))
    | campaign_is(CampaignState.PAUSED, bindparam("campaign_id", type_=String)),
    Blocked.CAMPAIGN_CANCELED: campaign_is(
        CampaignState.CANCELED, bindparam("campaign_id", type_=String)
    ),
}
_COLUMNS = (
    send_attempts.c.message_id,
    send_attempts.c.fingerprint,
    send_attempts.c.started_at,
    send_attempts.c.recipient_hash,
)
_INSERT_UNLESS_BLOCKED = (
    insert(send_attempts)
    .from_select(
        [each.name for each in _COLUMNS],
        select(*(bindparam(each.name, type_=each.type) for each in _COLUMNS)).where(
            *(~each for each in _BLOCKED_BY.values())
        ),
    )
    .returning(send_attempts.c.id)
)


class SendAttempts:
    """The attempt records in the database of `engine`.

    Twilio's list of messages does not show our message ids. These records show which of our
    messages a row of that list may belong to, and which of them cannot be distinguished there.
    """

    def __init__(
        self, engine: Engine, rate_limiter: RateLimiter, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._rate_limiter = rate_limiter
        self._now = now

    def claim(
        self,
        message_id: str,
        message: MessageRequest,
        *,
        sender: str,
        segments: int = 1,
        is_retry: bool = False,
        fits: Fits = always,
    ) -> Claimed | NotBefore | Blocked:
        """Acquire the rate limiter and record that a POST is about to be made; or do neither.

        One statement checks consent, pause and campaign and also writes the record. So once a STOP,
        a pause or a cancel is committed, no POST begins.

        Raises:
            DatabaseUnavailable: nothing may be sent.
        """
        record = {
            **applying_to(message.to, sender=sender, category=message.category),
            "campaign_id": message.campaign_id,
            "message_id": message_id,
            "fingerprint": fingerprint(message, sender=sender),
            "started_at": self._now(),
            "recipient_hash": _hashed([message.to]),
        }
        try:
            with transaction(self._engine) as connection:
                reserved_at = self._rate_limiter.acquire(
                    sender,
                    segments,
                    is_urgent=message.priority is Priority.URGENT,
                    is_retry=is_retry,
                    fits=fits,
                    joining=connection,
                )
                if reserved_at is not None:
                    return NotBefore(reserved_at)
                if connection.execute(_INSERT_UNLESS_BLOCKED, record).first() is None:
                    _block(connection, record)
        except _BlockedError as error:
            return error.by
        return Claimed()

    def around(
        self, message_id: str, message: MessageRequest, *, since: datetime
    ) -> AttemptRecords:
        """The records since that time of the message and of other messages to its recipient."""
        query = (
            select(
                send_attempts.c.message_id,
                send_attempts.c.fingerprint,
                func.min(send_attempts.c.started_at).label("started_at"),
            )
            .where(
                send_attempts.c.recipient_hash == _hashed([message.to]),
                send_attempts.c.started_at >= since,
            )
            .group_by(send_attempts.c.message_id, send_attempts.c.fingerprint)
            .order_by(send_attempts.c.message_id)
        )
        with transaction(self._engine, read_only=True) as connection:
            rows = connection.execute(query).all()
        return AttemptRecords(
            own_since=min(
                (row.started_at for row in rows if row.message_id == message_id), default=None
            ),
            candidates=[
                CandidateDuplicate(message_id=row.message_id, fingerprint=row.fingerprint)
                for row in rows
                if row.message_id != message_id
            ],
        )

    def has_any(self, message_id: str, message: MessageRequest) -> bool:
        """Whether any POST of the message is on record, however long ago.

        Times are ignored, because the clocks of workers may differ, and a POST that is missed here
        would be repeated.
        """
        query = select(
            exists(send_attempts.c.id).where(
                send_attempts.c.recipient_hash == _hashed([message.to]),
                send_attempts.c.message_id == message_id,
            )
        )
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(query).scalar_one()

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older records, which no search needs; return how many.

        They are deleted in batches, so other writers wait for one batch at most. `stop` ends it
        early.
        """
        return delete_in_batches(
            self._engine, send_attempts, send_attempts.c.started_at < before, stop=stop
        )


def _block(connection: Connection, record: Mapping[str, Any]) -> NoReturn:
    """Raise for the condition that blocks it; suppressed, if none does any more."""
    for by, condition in _BLOCKED_BY.items():
        if connection.execute(select(condition), record).scalar_one():
            raise _BlockedError(by)
    raise _BlockedError(Blocked.SUPPRESSED)


class _BlockedError(Exception):
    """Rolls back the rate limiter: the message does not use its sender's time."""

    def __init__(self, by: Blocked) -> None:
        super().__init__(by)
        self.by = by


def fingerprint(message: MessageRequest, *, sender: str) -> str:
    """Equal for two messages that Twilio's list cannot distinguish."""
    if message.content_sid is not None:
        return template_fingerprint(message.to, sender)
    return text_fingerprint(message.to, sender, message.body or "", len(message.media_urls))


def text_fingerprint(to: str, sender: str, body: str, media: int) -> str:
    """The fingerprint of a message, or of a row in Twilio's list, with a text and `media` files."""
    return _hashed([to, sender, body, media])


def template_fingerprint(to: str, sender: str) -> str:
    """The fingerprint of a message with a template.

    Twilio's list shows the rendered text, which we do not know. So all template messages to one
    recipient have the same fingerprint, and any row of the list may be one of them.
    """
    return _hashed([to, sender])


def _hashed(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
