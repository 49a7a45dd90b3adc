"""Each sender's pace: slots are plans, the gate keeps the rate.

A message takes a slot when it is admitted and waits for it. Immediately before its POST it passes
the sender's gate, which knows until when the segments sent so far keep the sender busy
(`busy_until`) and lets a message by only while that lies less than a moment ahead. So the rate
holds whatever happens to the plans: a worker that was away, a timer that came late, a rate that
was lowered.

An urgent message does not queue. It claims the sender's next moment at once, by which it borrows
from the others: those whose slot comes meanwhile are refused at the gate and take a new one.

Every reservation, claim and passage is one statement, so that many workers can share a sender.
Their clocks must agree within a fraction of a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, select

from messaging.rates import DEFAULT_RATES, SenderKind, default_rate
from store import pace_statements as statements
from store.database import transaction
from store.tables import senders, utc_now

CLAIM_GOOD_FOR: Final = timedelta(seconds=2)
"""A claim not used by then is void: after an outage many would be used at once."""
_AT_ONCE: Final = timedelta(seconds=0.05)
"""Not worth a timer."""
_BUMPED: Final = 0.5
"""A message refused by less than this part of its own length waits at the gate; by more, it
takes a new slot at the end, which gives its time to whoever borrowed it."""


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
    """Segments sent or claimed ahead of its pace."""

    @property
    def backlog_segments(self) -> float:
        """The backlog in segments."""
        return self.backlog.total_seconds() * self.rate


class Pacing:
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

    def plan(
        self,
        sender: str,
        segments: int,
        *,
        has_priority: bool,
        fits: Callable[[datetime], bool] = lambda _: True,
    ) -> datetime:
        """Take a slot, or claim one; nothing is taken if it does not fit."""
        take = self.claim if has_priority else self.reserve
        try:
            with transaction(self._engine) as connection:
                slot = take(sender, segments, joining=connection)
                if not fits(slot):
                    _turn_back(slot)
        except _DoesNotFit as error:
            return error.slot
        return slot

    def reserve(self, sender: str, segments: int, *, joining: Connection | None = None) -> datetime:
        """Take the sender's next free slot: when a message of so many segments may come."""
        with transaction(self._engine, joining=joining) as connection:
            statement = statements.reserve(connection.dialect.name)
            asked = self._asked(sender, segments)
            end, length = connection.execute(statement, asked).one()
        return _moment(end - length)

    def claim(self, sender: str, segments: int, *, joining: Connection | None = None) -> datetime:
        """Claim the sender's next moment for an urgent message: when it may be sent."""
        with transaction(self._engine, joining=joining) as connection:
            statement = statements.claim(connection.dialect.name)
            asked = self._asked(sender, segments)
            busy_until, length = connection.execute(statement, asked).one()
        return _moment(max(asked["at"], busy_until - length - statements.CLAIM_AHEAD))

    def pass_gate(
        self, sender: str, segments: int, *, joining: Connection | None = None
    ) -> datetime | None:
        """Pass the sender's gate: None, or the new slot of a message that came too early."""
        with transaction(self._engine, joining=joining) as connection:
            statement = statements.pass_gate(connection.dialect.name)
            asked = self._asked(sender, segments)
            if connection.execute(statement, asked).first() is not None:
                return None
            busy_until, length = connection.execute(statements.BUSY_UNTIL, asked).one()
            too_early_by = busy_until - asked["at"] - statements.GATE_AHEAD
            if too_early_by < _BUMPED * length:
                return _moment(asked["at"] + max(too_early_by, 0))
            return self.reserve(sender, segments, joining=connection)

    def take_turn(
        self,
        sender: str,
        segments: int,
        *,
        has_priority: bool,
        claimed: datetime | None,
        joining: Connection | None = None,
    ) -> datetime | None:
        """Whether a message may be sent this moment: None, or its new slot.

        One that has priority needs a claim, `claimed` if that is still good, and the others pass
        the gate.
        """
        if not has_priority:
            return self.pass_gate(sender, segments, joining=joining)
        now = self._now()
        if claimed is not None and claimed - _AT_ONCE <= now <= claimed + CLAIM_GOOD_FOR:
            return None
        slot = self.claim(sender, segments, joining=joining)
        return None if slot <= now + _AT_ONCE else slot

    def ahead(self, sender: str) -> timedelta:
        """How much of the sender's time is given away beyond now; zero when it is idle."""
        with transaction(self._engine, read_only=True) as connection:
            tail = connection.execute(
                select(senders.c.tail).where(senders.c.sender == sender)
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
            rows = connection.execute(select(senders).order_by(senders.c.sender)).all()
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
                    borrowed=max(0.0, row.busy_until - now) * rate,
                )
            )
        return states

    def set_rate(self, sender: str, rate: float | None) -> None:
        """Set the sender's rate; None: the default of its kind. Slots given away stay as they are.

        A lower rate holds from the next POST on, because the gate keeps it.
        """
        self._set(sender, rate=rate)

    def pause(self, sender: str) -> None:
        """Let nothing be sent from it any more; its messages wait."""
        self._set(sender, is_paused=True)

    def resume(self, sender: str) -> None:
        """Let its messages go on, at its pace."""
        self._set(sender, is_paused=False)

    def _set(self, sender: str, **columns: float | bool | None) -> None:
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


def _turn_back(slot: datetime) -> NoReturn:
    raise _DoesNotFit(slot)


class _DoesNotFit(Exception):
    """Rolls a reservation back."""

    def __init__(self, slot: datetime) -> None:
        super().__init__()
        self.slot = slot


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
