"""What was about to be submitted to Twilio, noted before each POST."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, and_, delete, exists, insert, literal, select

from messaging.contract import MessageRequest
from store.database import transaction
from store.suppressions import applies
from store.tables import posts, suppressions, utc_now


@dataclass(frozen=True, kw_only=True)
class Post:
    """A POST that was about to be made for a message."""

    message_id: str
    fingerprint: str
    begun_at: datetime


class Posts:
    """The notes in the database of `engine`.

    Twilio's list of messages cannot say which row is whose when two messages have the same text,
    sender and recipient; these notes say which of our own could be mistaken for one another.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def begin(self, message_id: str, message: MessageRequest, *, sender: str) -> bool:
        """Note that a POST is about to be made; False, noting nothing, if it is suppressed.

        One statement checks consent and writes the note, so that the two cannot come apart and the
        straight way costs no query more than the check alone.

        Raises:
            DatabaseUnavailable: nothing may be sent.
        """
        suppressed = exists(suppressions.c.id).where(
            applies(message.to, sender=sender, category=message.category)
        )
        noted = (
            insert(posts)
            .from_select(
                ["message_id", "fingerprint", "begun_at"],
                select(
                    literal(message_id),
                    literal(fingerprint(message, sender=sender)),
                    literal(self._now(), posts.c.begun_at.type),
                ).where(~suppressed),
            )
            .returning(posts.c.id)
        )
        with transaction(self._engine) as connection:
            return connection.execute(noted).first() is not None

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


def fingerprint(message: MessageRequest, *, sender: str) -> str:
    """What two messages share that Twilio's list cannot tell apart.

    A message made of a template shows there as its rendered text, which we do not know: all
    templates to one recipient look alike to us.
    """
    shown: list[object] = [message.to, sender]
    if message.content_sid is None:
        shown += [message.body or "", len(message.media_urls)]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
