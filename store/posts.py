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
    insert,
    select,
)

from messaging.contract import CampaignState, MessageRequest
from messaging.steps import Verdict
from store.campaigns import campaign_is
from store.database import transaction
from store.pace_statements import paused
from store.pacing import Pacing
from store.suppressions import APPLIES, applying_to
from store.tables import posts, suppressions, utc_now


@dataclass(frozen=True, kw_only=True)
class Post:
    """A POST that was about to be made for a message."""

    message_id: str
    fingerprint: str
    begun_at: datetime


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Whether a POST may begin: GO, or why not."""

    verdict: Verdict
    slot: datetime | None = None
    """From when to try again, where it is NOT_YET."""


# Built once, because they are asked before each POST and to build them costs more CPU than to ask.
# A message without a campaign has None for one, which equals nothing.
_FORBIDDEN: dict[Verdict, ColumnElement[bool]] = {
    Verdict.SUPPRESSED: exists(suppressions.c.id).where(APPLIES),
    Verdict.HELD: paused(bindparam("sender", type_=String))
    | campaign_is(CampaignState.PAUSED, bindparam("campaign_id", type_=String)),
    Verdict.CANCELED: campaign_is(CampaignState.CANCELED, bindparam("campaign_id", type_=String)),
}
_NOTED = (
    insert(posts)
    .from_select(
        ["message_id", "fingerprint", "begun_at"],
        select(
            *(
                bindparam(each.name, type_=each.type)
                for each in (posts.c.message_id, posts.c.fingerprint, posts.c.begun_at)
            )
        ).where(*(~each for each in _FORBIDDEN.values())),
    )
    .returning(posts.c.id)
)


class Posts:
    """The notes in the database of `engine`.

    Twilio's list of messages cannot say which row is whose when two messages have the same text,
    sender and recipient; these notes say which of our own could be mistaken for one another.
    """

    def __init__(
        self, engine: Engine, pacing: Pacing, *, now: Callable[[], datetime] = utc_now
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
        has_priority: bool = False,
        claimed: datetime | None = None,
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
            "begun_at": self._now(),
        }
        try:
            with transaction(self._engine) as connection:
                slot = self._pacing.take_turn(
                    sender,
                    segments,
                    has_priority=has_priority,
                    claimed=claimed,
                    joining=connection,
                )
                if slot is not None:
                    return Beginning(verdict=Verdict.NOT_YET, slot=slot)
                if connection.execute(_NOTED, note).first() is None:
                    _forbid(connection, note)
        except _Forbidden as error:
            return Beginning(verdict=error.verdict)
        return Beginning(verdict=Verdict.GO)

    def rivals(self, message_id: str, mark: str, *, since: datetime) -> list[str]:
        """Other messages with this fingerprint for which a POST was begun since then."""
        query = (
            select(posts.c.message_id)
            .where(
                and_(
                    posts.c.fingerprint == mark,
                    posts.c.message_id != message_id,
                    posts.c.begun_at >= since,
                )
            )
            .distinct()
            .order_by(posts.c.message_id)
        )
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.execute(query).scalars())

    def forget(self, *, before: datetime) -> int:
        """Drop notes older than that; return how many. Nothing asks for them after a day."""
        with transaction(self._engine) as connection:
            return connection.execute(delete(posts).where(posts.c.begun_at < before)).rowcount


def _forbid(connection: Connection, note: Mapping[str, Any]) -> NoReturn:
    """Say by which of the conditions it is forbidden; suppressed, if that is over by now."""
    for verdict, condition in _FORBIDDEN.items():
        if connection.execute(select(condition), note).scalar_one():
            raise _Forbidden(verdict)
    raise _Forbidden(Verdict.SUPPRESSED)


class _Forbidden(Exception):
    """Rolls the passage of the gate back: the message does not use it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def fingerprint(message: MessageRequest, *, sender: str) -> str:
    """What two messages share that Twilio's list cannot tell apart.

    A message made of a template shows there as its rendered text, which we do not know: all
    templates to one recipient look alike to us.
    """
    shown: list[object] = [message.to, sender]
    if message.content_sid is None:
        shown += [message.body or "", len(message.media_urls)]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
