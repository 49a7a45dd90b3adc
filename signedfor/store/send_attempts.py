"""What was about to be submitted to Twilio, noted before each POST."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from signedfor.contract import CampaignState, MessageRequest, Priority
from signedfor.steps import Decision
from signedfor.store.campaigns import campaign_is
from signedfor.store.database import transaction
from signedfor.store.rate_limiter import Fits, RateLimiter, always
from signedfor.store.rate_limiter_statements import paused
from signedfor.store.suppressions import APPLIES, applying_to
from signedfor.store.tables import send_attempts, suppressions, utc_now


@dataclass(frozen=True, kw_only=True)
class CandidateDuplicate:
    """Another message of ours to the same recipient, for which a POST was about to be made."""

    message_id: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is noted of the time in which a message was submitted."""

    own_since: datetime | None
    """When its first POST of that time was about to be made; None: no note of one is kept."""
    candidates: list[CandidateDuplicate]


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Whether a POST may begin: GO, or why not."""

    decision: Decision
    slot: datetime | None = None
    """From when to try again, where it is NOT_YET."""


# Built once, because they are asked before each POST and to build them costs more CPU than to ask.
# A message without a campaign has None for one, which equals nothing.
_FORBIDDEN: dict[Decision, ColumnElement[bool]] = {
    Decision.SUPPRESSED: exists(suppressions.c.id).where(APPLIES),
    Decision.HELD: paused(bindparam("sender", type_=String))
    | campaign_is(CampaignState.PAUSED, bindparam("campaign_id", type_=String)),
    Decision.CANCELED: campaign_is(CampaignState.CANCELED, bindparam("campaign_id", type_=String)),
}
_NOTE = (
    send_attempts.c.message_id,
    send_attempts.c.fingerprint,
    send_attempts.c.started_at,
    send_attempts.c.recipient_hash,
)
_NOTED = (
    insert(send_attempts)
    .from_select(
        [each.name for each in _NOTE],
        select(*(bindparam(each.name, type_=each.type) for each in _NOTE)).where(
            *(~each for each in _FORBIDDEN.values())
        ),
    )
    .returning(send_attempts.c.id)
)


class SendAttempts:
    """The notes in the database of `engine`.

    Twilio's list of messages does not say which row is whose; these notes say which of our own
    messages a row to one recipient may belong to, and which could be mistaken for one another.
    """

    def __init__(
        self, engine: Engine, pacing: RateLimiter, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._pacing = pacing
        self._now = now

    def begin(
        self,
        message_id: str,
        message: MessageRequest,
        *,
        sender: str,
        segments: int = 1,
        is_retry: bool = False,
        fits: Fits = always,
    ) -> Beginning:
        """Take the message's turn and note that a POST is about to be made; or do neither.

        GO, SUPPRESSED, CANCELED (its campaign was), HELD (its sender or campaign is paused) or
        NOT_YET with a new slot. One statement checks all but the turn and writes the note, so that
        they cannot come apart: once a STOP, a pause or a cancel is committed, no POST begins.

        Raises:
            DatabaseUnavailable: nothing may be sent.
        """
        note = {
            **applying_to(message.to, sender=sender, category=message.category),
            "campaign_id": message.campaign_id,
            "message_id": message_id,
            "fingerprint": fingerprint(message, sender=sender),
            "started_at": self._now(),
            "recipient_hash": _hashed([message.to]),
        }
        try:
            with transaction(self._engine) as connection:
                slot = self._pacing.acquire(
                    sender,
                    segments,
                    is_urgent=message.priority is Priority.URGENT,
                    is_retry=is_retry,
                    fits=fits,
                    joining=connection,
                )
                if slot is not None:
                    return Beginning(decision=Decision.NOT_YET, slot=slot)
                if connection.execute(_NOTED, note).first() is None:
                    _forbid(connection, note)
        except _Forbidden as error:
            return Beginning(decision=error.decision)
        return Beginning(decision=Decision.GO)

    def around(
        self, message_id: str, message: MessageRequest, *, sender: str, since: datetime
    ) -> Notes:
        """What was noted since then for a message, and for others to its recipient.

        Of those noted without their recipient, as older versions did, the ones that look the same.
        """
        query = (
            select(
                send_attempts.c.message_id,
                send_attempts.c.fingerprint,
                func.min(send_attempts.c.started_at).label("started_at"),
            )
            .where(
                or_(
                    send_attempts.c.recipient_hash == _hashed([message.to]),
                    and_(
                        send_attempts.c.recipient_hash.is_(None),
                        send_attempts.c.fingerprint == fingerprint(message, sender=sender),
                    ),
                ),
                send_attempts.c.started_at >= since,
            )
            .group_by(send_attempts.c.message_id, send_attempts.c.fingerprint)
            .order_by(send_attempts.c.message_id)
        )
        with transaction(self._engine, read_only=True) as connection:
            rows = connection.execute(query).all()
        return Notes(
            own_since=min(
                (row.started_at for row in rows if row.message_id == message_id), default=None
            ),
            candidates=[
                CandidateDuplicate(message_id=row.message_id, fingerprint=row.fingerprint)
                for row in rows
                if row.message_id != message_id
            ],
        )

    def has_begun(self, message_id: str, message: MessageRequest) -> bool:
        """Whether any POST of the message is noted, as far back as notes are kept.

        Without regard to times: the clocks of workers may be far apart, and a POST that is not
        seen here would be made once more.
        """
        query = select(
            exists(send_attempts.c.id).where(
                or_(
                    send_attempts.c.recipient_hash == _hashed([message.to]),
                    send_attempts.c.recipient_hash.is_(None),
                ),
                send_attempts.c.message_id == message_id,
            )
        )
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(query).scalar_one()

    def forget(self, *, before: datetime) -> int:
        """Drop notes older than that; return how many. No search looks farther back."""
        with transaction(self._engine) as connection:
            return connection.execute(
                delete(send_attempts).where(send_attempts.c.started_at < before)
            ).rowcount


def _forbid(connection: Connection, note: Mapping[str, Any]) -> NoReturn:
    """Say by which of the conditions it is forbidden; suppressed, if that is over by now."""
    for decision, condition in _FORBIDDEN.items():
        if connection.execute(select(condition), note).scalar_one():
            raise _Forbidden(decision)
    raise _Forbidden(Decision.SUPPRESSED)


class _Forbidden(Exception):
    """Rolls the passage of the gate back: the message does not use it."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


def fingerprint(message: MessageRequest, *, sender: str) -> str:
    """What two messages share that Twilio's list cannot tell apart."""
    if message.content_sid is not None:
        return template_fingerprint(message.to, sender)
    return text_fingerprint(message.to, sender, message.body or "", len(message.media_urls))


def text_fingerprint(to: str, sender: str, body: str, media: int) -> str:
    """The fingerprint of a message with that text and so many media; a row of the list has one."""
    return _hashed([to, sender, body, media])


def template_fingerprint(to: str, sender: str) -> str:
    """The fingerprint of a message made of a template.

    Twilio's list shows its rendered text, which we do not know: all templates to one recipient look
    alike to us, and any row may be one.
    """
    return _hashed([to, sender])


def _hashed(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
