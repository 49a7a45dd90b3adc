"""The message index: what Temporal shows of each message, for searching and counting.

`signedfor.message_indexer` fills it. Temporal has the truth: a row may be some seconds old.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from threading import Event
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Engine,
    String,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from signedfor.contract import Outcome, Stage, retried_id
from signedfor.store.database import insert_for, transaction
from signedfor.store.tables import (
    held_back_messages,
    message_index,
    send_attempts,
    watermarks,
)

_column = message_index.c
_BATCH: Final = 500
_UPDATED: Final = (
    "run_id",
    "started_at",
    "closed_at",
    "status",
    "sender",
    "tenant",
    "campaign_id",
    "message_sid",
    "error_code",
)


@dataclass(frozen=True, kw_only=True)
class IndexedMessage:
    """A message as the index has it."""

    message_id: str
    run_id: str
    started_at: datetime
    closed_at: datetime | None
    """None while it runs."""
    status: str
    """A `Stage` or an `Outcome`; `failed` for a workflow that ended without a report."""
    sender: str | None
    """Masked, if it is a number."""
    tenant: str | None = None
    campaign_id: str | None = None
    message_sid: str | None = None
    """The SID of its newest submission."""
    error_code: int | None = None
    person: str | None = None
    """The reference of the recipient (`signedfor.store.people`), once it is known; empty if it
    cannot be read."""


@dataclass(frozen=True, kw_only=True)
class MessageFilter:
    """Which messages; None leaves a field open."""

    person: str | None = None
    message_id: str | None = None
    message_sid: str | None = None
    sender: str | None = None
    tenant: str | None = None
    campaign_id: str | None = None
    statuses: tuple[str, ...] = ()
    error_code: int | None = None
    since: datetime | None = None
    until: datetime | None = None


class Interval(StrEnum):
    """The length of a step of the counts over time."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


_PREFIXES: Final = {Interval.MINUTE: 16, Interval.HOUR: 13, Interval.DAY: 10}
"""How much of SQLite's text for a time names the interval."""


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
_WAITING: Final = (Stage.WAITING, Stage.RETRYING, Stage.RESOLVING, Stage.DELAYED, Stage.SENDING)


class MessageIndex:
    """The index in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, messages: Sequence[IndexedMessage]) -> None:
        """Add or update rows. What an older run or an earlier look says replaces nothing newer."""
        for start in range(0, len(messages), _BATCH):
            # The last one counts if a message occurs twice.
            batch = {each.message_id: each for each in messages[start : start + _BATCH]}
            with transaction(self._engine) as connection:
                insert = insert_for(connection.dialect.name, message_index)
                new = insert.excluded
                is_newer = or_(
                    new.started_at > _column.started_at,
                    and_(
                        new.run_id == _column.run_id,
                        or_(_column.closed_at.is_(None), new.closed_at.is_not(None)),
                    ),
                )
                connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=[_column.message_id],
                        # Another run may have another recipient: the id was corrected.
                        set_={name: new[name] for name in _UPDATED}
                        | {
                            "person": case(
                                (
                                    new.run_id == _column.run_id,
                                    func.coalesce(new.person, _column.person),
                                ),
                                else_=new.person,
                            )
                        },
                        where=is_newer,
                    ),
                    [vars(each) for each in batch.values()],
                )

    def find(
        self,
        wanted: MessageFilter,
        *,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
    ) -> list[IndexedMessage]:
        """The newest first. `before` is the start and the id of the last one of the page before."""
        query = (
            select(message_index)
            .where(*_conditions(wanted))
            .order_by(_column.started_at.desc(), _column.message_id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(
                tuple_(_column.started_at, _column.message_id)
                < tuple_(
                    literal(before[0], _column.started_at.type),
                    literal(before[1], _column.message_id.type),
                )
            )
        with transaction(self._engine, read_only=True) as connection:
            return [IndexedMessage(**row) for row in connection.execute(query).mappings()]

    def size(self) -> int:
        """How many messages it has."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(select(func.count()).select_from(message_index)).scalar_one()

    def counts(self, interval: Interval, *, since: datetime, until: datetime) -> list[Count]:
        """How many messages ended, by interval and outcome, in order of time."""
        with transaction(self._engine, read_only=True) as connection:
            begin = _begin(interval, connection.dialect.name)
            query = (
                select(begin.label("begin"), _column.status, func.count().label("messages"))
                .where(_column.closed_at >= since, _column.closed_at < until)
                .group_by(begin, _column.status)
                .order_by(begin, _column.status)
            )
            return [
                Count(_time(row.begin), row.status, row.messages)
                for row in connection.execute(query)
            ]

    def open_by_stage(self) -> dict[str, int]:
        """How many messages run, by stage."""
        query = (
            select(_column.status, func.count())
            .where(_column.closed_at.is_(None))
            .group_by(_column.status)
        )
        with transaction(self._engine, read_only=True) as connection:
            return dict(connection.execute(query).all())

    def outcomes_by_sender(self, *, since: datetime) -> list[SenderOutcomes]:
        """How the messages that ended since then ended, by sender."""
        # An expression, so that the rows are found by time, not by the index of senders.
        sender = func.coalesce(_column.sender, "")
        query = (
            select(sender, _column.status, func.count())
            .where(_column.closed_at >= since)
            .group_by(sender, _column.status)
        )
        found: dict[str, dict[str, int]] = {}
        with transaction(self._engine, read_only=True) as connection:
            for name, status, count in connection.execute(query):
                if name:
                    found.setdefault(name, {})[status] = count
        return [SenderOutcomes(name, found[name]) for name in sorted(found)]

    def rows_by_campaign(self, campaign_ids: Collection[str]) -> dict[str, dict[str, int]]:
        """How many rows of each campaign are at which stage or outcome: by their newest message."""
        of_campaigns = _column.campaign_id.in_(campaign_ids)
        counts = (
            select(_column.campaign_id, _column.status, func.count())
            .where(of_campaigns)
            .group_by(_column.campaign_id, _column.status)
        )
        retries = select(_column.message_id).where(
            of_campaigns, _column.message_id.like("%.retry-%")
        )
        found: dict[str, Counter[str]] = {each: Counter() for each in campaign_ids}
        with transaction(self._engine, read_only=True) as connection:
            for campaign_id, status, count in connection.execute(counts):
                found[campaign_id][status] = count
            retried = list(filter(None, map(retried_id, connection.scalars(retries))))
            for start in range(0, len(retried), _BATCH):
                replaced = select(_column.campaign_id, _column.status).where(
                    of_campaigns, _column.message_id.in_(retried[start : start + _BATCH])
                )
                for campaign_id, status in connection.execute(replaced):
                    found[campaign_id][status] -= 1
        return {each: dict(+counted) for each, counted in found.items()}

    def oldest_waiting(self, limit: int = 5) -> list[IndexedMessage]:
        """The messages that have waited longest to be sent."""
        query = (
            select(message_index)
            .where(_column.closed_at.is_(None), _column.status.in_(_WAITING))
            .order_by(_column.started_at)
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [IndexedMessage(**row) for row in connection.execute(query).mappings()]

    def durations(self, *, since: datetime, limit: int = 2_000) -> list[timedelta]:
        """From start to end, of the newest messages that were delivered since then, ascending."""
        query = (
            select(_column.started_at, _column.closed_at)
            # Not by the index of statuses: most messages have this one.
            .where(_column.closed_at >= since, func.lower(_column.status) == Outcome.DELIVERED)
            .order_by(_column.closed_at.desc())
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return sorted(closed - started for started, closed in connection.execute(query))

    def without_person(self, limit: int) -> list[str]:
        """Ids of messages whose recipient is not known yet, the newest first.

        What the attempt records know is filled in first.
        """
        known = (
            select(func.max(send_attempts.c.person_reference))
            .where(send_attempts.c.message_id == _column.message_id)
            .scalar_subquery()
        )
        recorded = select(send_attempts.c.id).where(
            send_attempts.c.message_id == _column.message_id,
            send_attempts.c.person_reference.is_not(None),
        )
        fill = (
            update(message_index)
            .where(_column.person.is_(None), recorded.exists())
            .values(person=known)
        )
        rest = (
            select(_column.message_id)
            .where(_column.person.is_(None))
            .order_by(_column.started_at.desc())
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            connection.execute(fill)
        with transaction(self._engine, read_only=True) as connection:
            return list(connection.scalars(rest))

    def held_back(self, message_ids: Iterable[str]) -> dict[str, str]:
        """The recipients of those of these messages that were held back."""
        query = select(held_back_messages.c.message_id, held_back_messages.c.recipient).where(
            held_back_messages.c.message_id.in_(list(message_ids))
        )
        with transaction(self._engine, read_only=True) as connection:
            return dict(connection.execute(query).all())

    def set_people(self, people: Mapping[str, str]) -> None:
        """Set the references of the recipients, by message id."""
        if not people:
            return
        change = case(people, value=_column.message_id)
        with transaction(self._engine) as connection:
            connection.execute(
                update(message_index).where(_column.message_id.in_(people)).values(person=change)
            )

    def clear(self, *watermark_names: str) -> None:
        """Forget everything, so that the index is made again."""
        with transaction(self._engine) as connection:
            connection.execute(delete(message_index))
            connection.execute(delete(watermarks).where(watermarks.c.name.in_(watermark_names)))

    def purge(self, *, before: datetime, stop: Event | None = None) -> int:
        """Delete the rows of messages that ended before then, in batches; how many there were."""
        stop = stop or Event()
        deleted = 0
        batch = select(_column.message_id).where(_column.closed_at < before).limit(_BATCH)
        while not stop.is_set():
            with transaction(self._engine) as connection:
                keys = connection.scalars(batch).all()
                connection.execute(delete(message_index).where(_column.message_id.in_(keys)))
            deleted += len(keys)
            if len(keys) < _BATCH:
                break
        return deleted


def _conditions(wanted: MessageFilter) -> list[ColumnElement[bool]]:
    conditions = [
        column == value
        for column, value in (
            (_column.person, wanted.person),
            (_column.message_id, wanted.message_id),
            (_column.message_sid, wanted.message_sid),
            (_column.sender, wanted.sender),
            (_column.tenant, wanted.tenant),
            (_column.campaign_id, wanted.campaign_id),
            (_column.error_code, wanted.error_code),
        )
        if value is not None
    ]
    if wanted.statuses:
        conditions.append(_column.status.in_(wanted.statuses))
    if wanted.since is not None:
        conditions.append(_column.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_column.started_at < wanted.until)
    return conditions


def _begin(interval: Interval, dialect: str) -> ColumnElement[Any]:
    """The begin of the interval in which a message ended."""
    if dialect == "sqlite":
        # SQLite stores times as text, in UTC.
        return func.substr(type_coerce(_column.closed_at, String), 1, _PREFIXES[interval])
    return func.date_trunc(interval.value, _column.closed_at, "UTC")


def _time(begin: str | datetime) -> datetime:
    if isinstance(begin, str):
        return datetime.fromisoformat(begin).replace(tzinfo=UTC)
    return begin.astimezone(UTC)
