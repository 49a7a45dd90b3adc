"""Limits each sender to its rate: a reservation says when to try, the rate limiter decides.

Immediately before its POST a message acquires the rate limiter, which is a generic cell rate
algorithm (GCRA): `busy_until` is the time until which the segments sent so far keep the sender
busy, and a message passes only if that is less than a burst tolerance ahead. A message that does
not find its sender idle reserves a time, sleeps until then and acquires again. So the rate holds
even if reservations are not kept (a worker was down, a timer was late, the rate was lowered), and
an unused one costs only its own time.

There are three priority classes, each with its own queue of reservations. Urgent messages ignore
the other queues and use their time: a message whose reservation is affected is denied and requeued.
Retries, and messages that expire before the end of the queue, are expedited.

Every reservation and every acquisition is one statement, so many workers can share a sender. Their
clocks should agree to within half a second. One that is far ahead when it writes does not block the
sender for the others: see `rate_limiter_statements`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, select

from signedfor.store import breakers
from signedfor.store import rate_limiter_statements as statements
from signedfor.store.database import transaction
from signedfor.store.rate_limiter_statements import PriorityClass
from signedfor.store.tables import senders, utc_now
from signedfor.twilio.rates import DEFAULT_RATES, SenderKind, default_rate, kind_of

_ACCOUNT: Final = "account"
"""Stands for the sender in the row that limits the account as a whole; it counts submissions."""
_REQUEUE_FROM: Final = 0.5
"""A message that is early by less than this fraction of its own duration retries in a moment. One
that is early by more is requeued, because another message has used its time."""

Fits = Callable[[datetime], bool]
"""Whether a message may still be sent at that time."""


def always(_: datetime) -> bool:
    """Any time fits."""
    return True


@dataclass(frozen=True, kw_only=True)
class SenderState:
    """A sender's rate and backlog."""

    sender: str
    rate: float
    """Segments per second."""
    is_configured: bool
    """Whether the rate was set for this sender; otherwise it is the default of its kind."""
    is_paused: bool
    backlog: timedelta
    """How far ahead it is reserved; a new message waits this long."""
    urgent_segments: float
    """Segments that urgent messages have reserved ahead of now."""

    @property
    def kind(self) -> SenderKind:
        """Its kind of sender."""
        return kind_of(self.sender)

    @property
    def backlog_segments(self) -> float:
        """The backlog in segments."""
        return self.backlog.total_seconds() * self.rate


class RateLimiter:
    """The rate limiters in the database of `engine`; `rates` has the default of each sender kind.

    `account_rate` limits the submissions per second from all senders together.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        rates: Mapping[SenderKind, float] = DEFAULT_RATES,
        account_rate: float | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine = engine
        self._rates = rates
        self._account_rate = account_rate
        self._now = now

    def reserve(
        self, sender: str, segments: int, *, is_urgent: bool, fits: Fits = always
    ) -> datetime:
        """Reserve the next free time and return it; if it does not fit, reserve nothing."""
        priority = _priority(is_urgent=is_urgent)
        with transaction(self._engine) as connection:
            reserved_at = _reserve(connection, priority, self._parameters(sender, segments))
            if not fits(reserved_at):
                connection.rollback()
        return reserved_at

    def release(
        self,
        sender: str,
        segments: int,
        reserved_at: datetime,
        *,
        is_urgent: bool = False,
        is_retry: bool = False,
    ) -> None:
        """Release a future reservation that will not be used.

        New messages move up; messages with a reservation keep it. Releasing one twice does no harm
        except that another message may be denied and requeued.
        """
        priority = _priority(is_urgent=is_urgent, is_retry=is_retry)
        if reserved_at > self._now():
            with transaction(self._engine) as connection:
                connection.execute(statements.release(priority), self._parameters(sender, segments))

    def acquire(
        self,
        sender: str,
        segments: int,
        *,
        is_urgent: bool = False,
        is_reserved: bool = True,
        is_retry: bool = False,
        fits: Fits = always,
        joining: Connection | None = None,
    ) -> datetime | None:
        """Take permission to send now: None, or when to try again if it is too early.

        A message whose time is not reserved goes behind all that are; `is_retry` means an earlier
        attempt had permission. If no time fits, nothing is reserved and the returned time is one at
        which the message can no longer be sent.
        """
        priority = _priority(is_urgent=is_urgent, is_retry=is_retry)
        with transaction(self._engine, joining=joining) as connection:
            parameters = self._parameters(sender, segments)
            if not is_reserved and not is_retry:
                return _acquire_if_idle(connection, priority, parameters, fits)
            retry_at = _acquire(connection, priority, parameters, fits)
            if retry_at is not None and not fits(retry_at) and priority is PriorityClass.NORMAL:
                retry_at = _acquire(connection, PriorityClass.EXPEDITED, parameters, fits)
            return retry_at

    def acquire_account(
        self,
        *,
        is_urgent: bool,
        is_reserved: bool,
        is_retry: bool,
        fits: Fits,
        joining: Connection,
    ) -> datetime | None:
        """The same as `acquire` for the account as a whole, which has no limit by default."""
        if self._account_rate is None:
            return None
        return self.acquire(
            _ACCOUNT,
            1,
            is_urgent=is_urgent,
            is_reserved=is_reserved,
            is_retry=is_retry,
            fits=fits,
            joining=joining,
        )

    def give_back(self, sender: str, segments: int, *, joining: Connection) -> None:
        """Return what `acquire` has just taken in this transaction: nothing is sent now."""
        joining.execute(statements.give_back(), self._parameters(sender, segments))

    def backlog(self, sender: str) -> timedelta:
        """How far ahead the sender is reserved; zero when it is idle."""
        now = self._now().timestamp()
        with transaction(self._engine, read_only=True) as connection:
            reserved_until = connection.execute(
                select(statements.RESERVED_UNTIL).where(senders.c.sender == sender), {"at": now}
            ).scalar_one_or_none()
        return timedelta(seconds=max(0.0, (reserved_until or 0.0) - now))

    def rate(self, sender: str) -> float:
        """The sender's segments per second."""
        with transaction(self._engine, read_only=True) as connection:
            configured = connection.execute(
                select(senders.c.rate).where(senders.c.sender == sender)
            ).scalar_one_or_none()
        return float(configured) if configured is not None else self._default_rate(sender)

    def is_paused(self, sender: str) -> bool:
        """Whether nothing may be sent from it now."""
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(select(statements.paused(sender))).scalar_one()

    def states(self) -> list[SenderState]:
        """Every sender that was used or configured, in order."""
        now = self._now().timestamp()
        with transaction(self._engine, read_only=True) as connection:
            rows = connection.execute(
                select(
                    senders.c.sender,
                    senders.c.rate,
                    senders.c.is_paused,
                    statements.URGENT_RESERVED_UNTIL,
                    statements.RESERVED_UNTIL,
                )
                .where(senders.c.sender != _ACCOUNT)
                .order_by(senders.c.sender),
                {"at": now},
            ).all()
        states = []
        for row in rows:
            rate = self._default_rate(row.sender) if row.rate is None else row.rate
            states.append(
                SenderState(
                    sender=row.sender,
                    rate=rate,
                    is_configured=row.rate is not None,
                    is_paused=row.is_paused,
                    backlog=timedelta(seconds=max(0.0, row.reserved_until - now)),
                    urgent_segments=max(0.0, row.urgent_reserved_until - now) * rate,
                )
            )
        return states

    def set_rate(self, sender: str, rate: float | None) -> None:
        """Set the sender's rate; None restores the default of its kind.

        It holds from the next POST, because `acquire` enforces it. Existing reservations stay; if
        the rate is higher, new messages find a shorter backlog.
        """
        with transaction(self._engine) as connection:
            default = self._default_rate(sender)
            rates = {"rate": rate, "new_rate": default if rate is None else rate}
            parameters = self._parameters(sender, 0) | rates
            connection.execute(statements.set_rate(connection.dialect.name), parameters)

    def is_known(self, sender: str) -> bool:
        """Whether a message was sent from it, or its rate or pause was set."""
        query = select(senders.c.sender).where(senders.c.sender == sender)
        with transaction(self._engine, read_only=True) as connection:
            return connection.execute(query).first() is not None

    def pause(self, sender: str) -> None:
        """Stop sending from it; its messages wait."""
        with transaction(self._engine) as connection:
            _set_paused(connection, sender, paused=True)

    def resume(self, sender: str) -> None:
        """Send its messages again, at its rate; its breaker, if that has paused it, closes."""
        with transaction(self._engine) as connection:
            _set_paused(connection, sender, paused=False)
            breakers.close(connection, sender, at=self._now())

    def _parameters(self, sender: str, segments: int) -> dict[str, Any]:
        """The parameters of every statement; call it inside the transaction, for the clock."""
        return {
            "for_sender": sender,
            "at": self._now().timestamp(),
            "segments": float(segments),
            "default_rate": float(self._default_rate(sender)),
        }

    def _default_rate(self, sender: str) -> float:
        if sender == _ACCOUNT and self._account_rate is not None:
            return self._account_rate
        return default_rate(sender, self._rates)


def _set_paused(connection: Connection, sender: str, *, paused: bool) -> None:
    columns = {"is_paused": paused}
    statement = statements.upsert(
        connection.dialect.name, insert_values=columns, update_values=columns
    )
    connection.execute(statement, {"for_sender": sender})


def _priority(*, is_urgent: bool, is_retry: bool = False) -> PriorityClass:
    if is_urgent:
        return PriorityClass.URGENT
    return PriorityClass.EXPEDITED if is_retry else PriorityClass.NORMAL


def _acquire_if_idle(
    connection: Connection, priority: PriorityClass, parameters: Mapping[str, Any], fits: Fits
) -> datetime | None:
    statement = statements.acquire_if_idle(connection.dialect.name, priority)
    if connection.execute(statement, parameters).first() is not None:
        return None
    return _reserve_fitting(connection, priority, parameters, fits)


def _acquire(
    connection: Connection, priority: PriorityClass, parameters: Mapping[str, Any], fits: Fits
) -> datetime | None:
    statement = statements.acquire(connection.dialect.name, priority)
    if connection.execute(statement, parameters).first() is not None:
        return None
    early_by, duration = connection.execute(statements.early_by(priority), parameters).one()
    if early_by < _REQUEUE_FROM * duration:
        return _time(parameters["at"] + max(early_by, 0.0))
    return _reserve_fitting(connection, priority, parameters, fits)


def _reserve_fitting(
    connection: Connection, priority: PriorityClass, parameters: Mapping[str, Any], fits: Fits
) -> datetime:
    with connection.begin_nested() as reserving:
        reserved_at = _reserve(connection, priority, parameters)
        if not fits(reserved_at):
            reserving.rollback()
    return reserved_at


def _reserve(
    connection: Connection, priority: PriorityClass, parameters: Mapping[str, Any]
) -> datetime:
    statement = statements.reserve(connection.dialect.name, priority)
    return _time(connection.execute(statement, parameters).scalar_one())


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
