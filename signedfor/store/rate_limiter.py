"""Each sender's pace: slots are plans, the gate keeps the rate.

A message plans a slot when it is admitted and waits for it. Immediately before its POST it passes
the sender's gate, which knows until when the segments sent so far keep the sender busy
(`busy_until`) and lets a message by only while that lies less than a moment ahead. So the rate
holds whatever happens to the plans: a worker that was away, a timer that came late, a rate that
was lowered. And a plan of which nothing comes costs no more than its own time.

There are three lanes, each with a tail. Urgent messages plan without regard to the others, by
which they borrow from them: those whose slot comes meanwhile are refused at the gate and plan
anew, at the end. In the lane between are those who cannot go to the end: they had their turn and
are tried again, or their time runs out before.

Every plan and every passage is one statement, so that many workers can share a sender. Their
clocks should agree within half a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, select

from signedfor.store import rate_limiter_statements as statements
from signedfor.store.database import transaction
from signedfor.store.rate_limiter_statements import PriorityClass
from signedfor.store.tables import senders, utc_now
from signedfor.twilio.rates import DEFAULT_RATES, SenderKind, default_rate

_BUMPED: Final = 0.5
"""A message refused by less than this part of its own length waits at the gate; by more, it
plans anew, which gives its time to whoever borrowed it."""

Fits = Callable[[datetime], bool]
"""Whether a message may still be sent at that moment."""


def always(_: datetime) -> bool:
    """Any moment fits."""
    return True


@dataclass(frozen=True, kw_only=True)
class SenderState:
    """How a sender stands."""

    sender: str
    rate: float
    """Segments a second."""
    is_configured: bool
    """Whether the rate was set for this sender; otherwise it is the default of its kind."""
    is_paused: bool
    backlog: timedelta
    """How far its slots are given away; a new message waits this long."""
    borrowed: float
    """Segments that urgent messages have claimed ahead of now."""

    @property
    def backlog_segments(self) -> float:
        """The backlog in segments."""
        return self.backlog.total_seconds() * self.rate


class RateLimiter:
    """The senders' pace in the database of `engine`; `rates` are those of each kind of sender."""

    def __init__(
        self,
        engine: Engine,
        *,
        rates: Mapping[SenderKind, float] = DEFAULT_RATES,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine = engine
        self._rates = rates
        self._now = now

    def reserve(
        self, sender: str, segments: int, *, is_urgent: bool, fits: Fits = always
    ) -> datetime:
        """The message's slot: when it may come to the gate. None is taken if it does not fit."""
        lane = _lane(is_urgent=is_urgent)
        try:
            with transaction(self._engine) as connection:
                slot = _plan(connection, lane, self._asked(sender, segments))
                if not fits(slot):
                    _turn_back(slot)
        except _DoesNotFit as error:
            return error.slot
        return slot

    def release(
        self,
        sender: str,
        segments: int,
        slot: datetime,
        *,
        is_urgent: bool = False,
        is_retry: bool = False,
    ) -> None:
        """Free a slot that lies ahead and will not be used.

        The tail moves, for those who come; whoever has a slot keeps it. To give one back twice
        does no harm but that somebody is refused at the gate.
        """
        lane = _lane(is_urgent=is_urgent, is_retry=is_retry)
        if slot > self._now():
            with transaction(self._engine) as connection:
                connection.execute(statements.give_back(lane), self._asked(sender, segments))

    def acquire(
        self,
        sender: str,
        segments: int,
        *,
        is_urgent: bool = False,
        is_retry: bool = False,
        fits: Fits = always,
        joining: Connection | None = None,
    ) -> datetime | None:
        """Pass the sender's gate: None, or when to come again for a message that came too early.

        `is_retry`: it was tried in its turn and is tried again. Where no slot fits, the moment told
        is one at which it is too late for the message, and not taken.
        """
        lane = _lane(is_urgent=is_urgent, is_retry=is_retry)
        with transaction(self._engine, joining=joining) as connection:
            asked = self._asked(sender, segments)
            again = _come(connection, lane, asked, fits)
            if again is not None and not fits(again) and lane is PriorityClass.NORMAL:
                again = _come(connection, PriorityClass.OVERDUE, asked, fits)
            return again

    def backlog(self, sender: str) -> timedelta:
        """How much of the sender's time is given away beyond now; zero when it is idle."""
        with transaction(self._engine, read_only=True) as connection:
            tail = connection.execute(
                select(statements.TAIL).where(senders.c.sender == sender)
            ).scalar_one_or_none()
        return timedelta(seconds=max(0.0, (tail or 0.0) - self._now().timestamp()))

    def rate(self, sender: str) -> float:
        """The sender's segments a second."""
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
        with transaction(self._engine, read_only=True) as connection:
            rows = connection.execute(
                select(
                    senders.c.sender,
                    senders.c.rate,
                    senders.c.is_paused,
                    senders.c.urgent_tail,
                    statements.TAIL,
                ).order_by(senders.c.sender)
            ).all()
        now = self._now().timestamp()
        states = []
        for row in rows:
            rate = self._default_rate(row.sender) if row.rate is None else row.rate
            states.append(
                SenderState(
                    sender=row.sender,
                    rate=rate,
                    is_configured=row.rate is not None,
                    is_paused=row.is_paused,
                    backlog=timedelta(seconds=max(0.0, row.tail - now)),
                    borrowed=max(0.0, row.urgent_tail - now) * rate,
                )
            )
        return states

    def set_rate(self, sender: str, rate: float | None) -> None:
        """Set the sender's rate; None: the default of its kind.

        It holds from the next POST on, because the gate keeps it. Whoever has a slot keeps that;
        where the rate is higher, those who come find the time ahead shorter.
        """
        with transaction(self._engine) as connection:
            default = self._default_rate(sender)
            given = {"rate": rate, "new_rate": default if rate is None else rate}
            asked = self._asked(sender, 0) | given
            connection.execute(statements.set_rate(connection.dialect.name), asked)

    def pause(self, sender: str) -> None:
        """Let nothing be sent from it any more; its messages wait."""
        self._set_paused(sender, paused=True)

    def resume(self, sender: str) -> None:
        """Let its messages go on, at its pace."""
        self._set_paused(sender, paused=False)

    def _set_paused(self, sender: str, *, paused: bool) -> None:
        columns = {"is_paused": paused}
        with transaction(self._engine) as connection:
            statement = statements.upsert(connection.dialect.name, first=columns, then=columns)
            connection.execute(statement, {"who": sender})

    def _asked(self, sender: str, segments: int) -> dict[str, Any]:
        """What every statement wants to know; to be asked in the transaction, for the time."""
        return {
            "who": sender,
            "at": self._now().timestamp(),
            "segments": float(segments),
            "default_rate": float(self._default_rate(sender)),
        }

    def _default_rate(self, sender: str) -> float:
        return default_rate(sender, self._rates)


def _lane(*, is_urgent: bool, is_retry: bool = False) -> PriorityClass:
    if is_urgent:
        return PriorityClass.URGENT
    return PriorityClass.OVERDUE if is_retry else PriorityClass.NORMAL


def _come(
    connection: Connection, lane: PriorityClass, asked: Mapping[str, Any], fits: Fits
) -> datetime | None:
    """Come to the gate in a lane: None if it is open, or when to come again."""
    gate = statements.acquire(connection.dialect.name, lane)
    if connection.execute(gate, asked).first() is not None:
        return None
    too_early_by, length = connection.execute(statements.too_early(lane), asked).one()
    if too_early_by < _BUMPED * length:
        return _moment(asked["at"] + max(too_early_by, 0.0))
    with connection.begin_nested() as planning:
        slot = _plan(connection, lane, asked)
        if not fits(slot):
            planning.rollback()
    return slot


def _plan(connection: Connection, lane: PriorityClass, asked: Mapping[str, Any]) -> datetime:
    statement = statements.plan(connection.dialect.name, lane)
    return _moment(connection.execute(statement, asked).scalar_one())


def _turn_back(slot: datetime) -> NoReturn:
    raise _DoesNotFit(slot)


class _DoesNotFit(Exception):
    """Rolls a reservation back."""

    def __init__(self, slot: datetime) -> None:
        super().__init__()
        self.slot = slot


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
