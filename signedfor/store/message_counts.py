"""Counts of messages over time, by sender and by campaign, in the message index."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, String, func, select, type_coerce

from signedfor.contract import Outcome, retried_id
from signedfor.store.database import transaction
from signedfor.store.tables import (
    HAS_NO_REPORT,
    IS_DELIVERED_LATE,
    IS_RETRY,
    dead_letter_index,
    message_index,
    send_attempts,
)

_column = message_index.c
_BATCH: Final = 500

NO_REPORT: Final = "no_report"
"""Messages whose workflow ended without a report: bad input, or terminated."""


class Interval(StrEnum):
    """The length of a step of the counts over time."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    def begin_of(self, moment: datetime) -> datetime:
        """The begin of the interval that has this moment."""
        begin = moment.replace(second=0, microsecond=0)
        match self:
            case Interval.MINUTE:
                return begin
            case Interval.HOUR:
                return begin.replace(minute=0)
            case Interval.DAY:
                return begin.replace(hour=0, minute=0)


@dataclass(frozen=True)
class Count:
    """How many messages ended so within an interval."""

    begin: datetime
    status: str
    messages: int


@dataclass(frozen=True)
class SenderOutcomes:
    """How the messages of a sender ended."""

    sender: str
    outcomes: Mapping[str, int]

    @property
    def sent(self) -> int:
        """How many Twilio took, as far as known."""
        return sum(self.outcomes.get(each, 0) for each in _SENT)

    @property
    def delivery_rate(self) -> float | None:
        """Of those that Twilio took, how many were delivered; None without any."""
        return self.outcomes.get(Outcome.DELIVERED, 0) / self.sent if self.sent else None

    @property
    def failure_rate(self) -> float | None:
        """Of those that Twilio took or refused, how many failed or were undelivered."""
        tried = self.sent + self.outcomes.get(Outcome.FAILED, 0)
        failed = tried - sum(self.outcomes.get(each, 0) for each in _MAY_HAVE_ARRIVED)
        return failed / tried if tried else None


_SENT: Final = (Outcome.DELIVERED, Outcome.UNDELIVERED, Outcome.UNCONFIRMED)
_MAY_HAVE_ARRIVED: Final = (Outcome.DELIVERED, Outcome.UNCONFIRMED)


class MessageCounts:
    """Counts in the index in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def over_time(self, interval: Interval, *, since: datetime, until: datetime) -> list[Count]:
        """How many messages ended, by interval and outcome, in order of time.

        Both times are the begin of an interval, or later than every end.
        """
        with transaction(self._engine, read_only=True) as connection:
            if interval is Interval.MINUTE:
                column, begin = _column.closed_at, _minute(connection.dialect.name)
            else:
                column = begin = _column.closed_hour
            query = (
                select(begin, _column.status, func.count())
                .where(column >= since, column < until)
                .group_by(begin, _column.status)
            )
            counts: Counter[tuple[datetime, str]] = Counter()
            for at, status, messages in connection.execute(query):
                counts[interval.begin_of(_time(at)), status] += messages
        return [Count(begin, status, counts[begin, status]) for begin, status in sorted(counts)]

    def open_by_stage(self) -> dict[str, int]:
        """How many messages run, by stage."""
        query = (
            select(_column.status, func.count())
            .where(_column.closed_at.is_(None))
            .group_by(_column.status)
        )
        with transaction(self._engine, read_only=True) as connection:
            return dict(connection.execute(query).all())

    def by_sender(self, *, since: datetime) -> list[SenderOutcomes]:
        """How the messages that ended since then ended, by sender."""
        next_hour = Interval.HOUR.begin_of(since) + timedelta(hours=1)
        # In the order of their indexes, which is that of the groups of the second.
        within_the_hour = (
            select(_column.status, _column.sender, func.count())
            .where(_column.closed_at >= since, _column.closed_at < next_hour)
            .group_by(_column.status, _column.sender)
        )
        later = (
            select(_column.closed_hour, _column.status, _column.sender, func.count().label("n"))
            .where(_column.closed_hour >= next_hour)
            .group_by(_column.closed_hour, _column.status, _column.sender)
            .subquery()
        )
        by_hour = select(later.c.status, later.c.sender, func.sum(later.c.n)).group_by(
            later.c.status, later.c.sender
        )
        found: dict[str, Counter[str]] = {}
        with transaction(self._engine, read_only=True) as connection:
            for query in (within_the_hour, by_hour):
                for status, sender, messages in connection.execute(query):
                    if sender:
                        found.setdefault(sender, Counter())[status] += int(messages)
        return [SenderOutcomes(sender, found[sender]) for sender in sorted(found)]

    def by_campaign(self, campaign_ids: Collection[str]) -> dict[str, dict[str, int]]:
        """How many rows of each campaign are at which stage or outcome: by their newest message.

        One whose workflow ended without a report counts as `no_report`; one that was delivered
        after its dead letter was opened, as delivered.
        """
        of_campaigns = _column.campaign_id.in_(campaign_ids)
        counts = (
            select(_column.campaign_id, _column.status, func.count())
            .where(of_campaigns)
            .group_by(_column.campaign_id, _column.status)
        )
        without_report = (
            select(_column.campaign_id, func.count())
            .where(of_campaigns, HAS_NO_REPORT)
            .group_by(_column.campaign_id)
        )
        letter = dead_letter_index.c
        late = (
            select(_column.campaign_id, _column.status, func.count())
            .join(dead_letter_index, letter.message_id == _column.message_id)
            .where(letter.campaign_id.in_(campaign_ids), IS_DELIVERED_LATE, of_campaigns)
            .group_by(_column.campaign_id, _column.status)
        )
        retries = select(_column.message_id).where(of_campaigns, IS_RETRY)
        found: dict[str, Counter[str]] = {each: Counter() for each in campaign_ids}
        with transaction(self._engine, read_only=True) as connection:
            for campaign_id, status, count in connection.execute(counts):
                found[campaign_id][status] = count
            for campaign_id, count in connection.execute(without_report):
                found[campaign_id].update({str(Outcome.FAILED): -count, NO_REPORT: count})
            for campaign_id, status, count in connection.execute(late):
                found[campaign_id].update({status: -count, str(Outcome.DELIVERED): count})
            retried = list(filter(None, map(retried_id, connection.scalars(retries))))
            for start in range(0, len(retried), _BATCH):
                replaced = select(_column.campaign_id, _column.status).where(
                    _column.message_id.in_(retried[start : start + _BATCH])
                )
                for campaign_id, status in connection.execute(replaced):
                    if campaign_id in found:
                        found[campaign_id][status] -= 1
        return {each: dict(+counted) for each, counted in found.items()}

    def receipt_delays(self, *, since: datetime, limit: int = 2_000) -> list[timedelta]:
        """From submission to delivery, of the newest messages delivered since then, ascending.

        The attempt record has the time of the submission; a message whose record is gone is left
        out.
        """
        delivered = (
            select(_column.message_id, _column.closed_at)
            # Not by the index of statuses: most messages have this one.
            .where(_column.closed_at >= since, func.lower(_column.status) == Outcome.DELIVERED)
            .order_by(_column.closed_at.desc())
            .limit(limit)
            .subquery()
        )
        query = (
            select(delivered.c.closed_at, func.max(send_attempts.c.started_at))
            .join(send_attempts, send_attempts.c.message_id == delivered.c.message_id)
            .group_by(delivered.c.message_id, delivered.c.closed_at)
        )
        with transaction(self._engine, read_only=True) as connection:
            return sorted(closed - submitted for closed, submitted in connection.execute(query))


def _minute(dialect: str) -> ColumnElement[Any]:
    """The minute in which a message ended."""
    if dialect == "sqlite":
        # SQLite stores times as text, in UTC.
        return func.substr(type_coerce(_column.closed_at, String), 1, len("2026-11-29 20:44"))
    return func.date_trunc("minute", _column.closed_at, "UTC")


def _time(begin: str | datetime) -> datetime:
    if isinstance(begin, str):
        return datetime.fromisoformat(begin).replace(tzinfo=UTC)
    return begin.astimezone(UTC)
