"""Each sender's breaker: it opens at a limit, which pauses the sender, until someone resumes it.

Every worker looks at the counts of all. The transaction that pauses a sender takes its row first
and counts again then, so that only one of them pauses it, and none by what an operator has lifted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    case,
    func,
    or_,
    select,
    update,
)

from signedfor.breaker_limits import SPEND_WINDOW, BreakerLimits, BreakerReason, SenderCounts
from signedfor.masks import masked_sender
from signedfor.store.audit_log import PAUSE_SENDER, AuditLog
from signedfor.store.database import insert_for, transaction
from signedfor.store.sender_results import COUNTED, minute_of
from signedfor.store.tables import sender_breakers, sender_results, senders, utc_now

BREAKER: Final = "breaker"
"""Who pauses, in the audit log."""
_LATELY: Final = timedelta(minutes=2)
"""A sender without a count within this time has nothing new to look at."""
_result = sender_results.c
_breaker = sender_breakers.c
_CLOSED: Final = {"reason": None, "opened_at": None, "because": None}
# After a resume, from the next full minute on.
_COUNTS: Final = or_(_breaker.counts_from.is_(None), _result.minute > _breaker.counts_from)


@dataclass(frozen=True, kw_only=True)
class OpenBreaker:
    """A sender that the breaker has paused."""

    sender: str
    reason: BreakerReason
    opened_at: datetime
    because: str
    """A sentence with the counts, the time and the limit; no number."""


class Breakers:
    """The breakers in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now
        self._audit_log = AuditLog(engine, now=now)

    def open_breakers(self) -> list[OpenBreaker]:
        """Those that are open, in the order of their senders."""
        query = (
            select(sender_breakers)
            .join(senders, senders.c.sender == _breaker.sender)
            .where(_breaker.reason.is_not(None), senders.c.is_paused)
            .order_by(_breaker.sender)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [
                OpenBreaker(
                    sender=row.sender,
                    reason=BreakerReason(row.reason),
                    opened_at=row.opened_at,
                    because=row.because,
                )
                for row in connection.execute(query)
            ]

    def counts_from(self) -> dict[str, datetime]:
        """When the pause of each sender was last lifted: what it sent before does not count."""
        query = select(_breaker.sender, _breaker.counts_from).where(
            _breaker.counts_from.is_not(None)
        )
        with transaction(self._engine, read_only=True) as connection:
            return {row.sender: row.counts_from for row in connection.execute(query)}

    def open_reached(self, limits: BreakerLimits) -> list[OpenBreaker]:
        """Pause each sender that has reached a limit; return those that this call has paused."""
        now = self._now()
        sent_lately = select(_result.sender).where(_result.minute >= now - _LATELY)
        query = (
            _counts(limits, now)
            .join(senders, senders.c.sender == _result.sender)
            .where(~senders.c.is_paused, _result.sender.in_(sent_lately))
        )
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(query).all()
        opened = []
        for row in found:
            if row.is_open:
                # Somebody has resumed it with a version that knows no breaker.
                self._take_note_of_resume(row.sender, now)
            elif limits.exceeded_by(*_split(row)) is not None:
                opened.append(self._open(row.sender, limits, now))
        return [each for each in opened if each is not None]

    def _open(self, sender: str, limits: BreakerLimits, now: datetime) -> OpenBreaker | None:
        pause = (
            update(senders)
            .where(senders.c.sender == sender, ~senders.c.is_paused)
            .values(is_paused=True)
        )
        with transaction(self._engine) as connection:
            is_new = connection.execute(pause).rowcount == 1
            row = connection.execute(_counts(limits, now).where(_result.sender == sender)).first()
            exceeded = None
            if is_new and row is not None and not row.is_open:
                exceeded = limits.exceeded_by(*_split(row))
            if exceeded is None:
                connection.rollback()
                return None
            opened = OpenBreaker(
                sender=sender,
                reason=exceeded.reason,
                opened_at=now,
                because=exceeded.because,
            )
            _write(
                connection,
                sender,
                {"reason": opened.reason.value, "opened_at": now, "because": opened.because},
            )
            self._audit_log.add(
                who=BREAKER,
                role="worker",
                action=PAUSE_SENDER,
                subject=masked_sender(sender),
                why=opened.because,
                connection=connection,
            )
        return opened

    def _take_note_of_resume(self, sender: str, now: datetime) -> None:
        with transaction(self._engine) as connection:
            still = select(senders.c.sender).where(senders.c.sender == sender, ~senders.c.is_paused)
            connection.execute(
                update(sender_breakers)
                .where(_breaker.sender == sender, _breaker.sender.in_(still))
                .values(**_CLOSED, counts_from=now)
            )


def close(connection: Connection, sender: str, *, at: datetime) -> None:
    """Somebody resumes the sender, in this transaction, which has taken the sender's row."""
    _write(connection, sender, _CLOSED | {"counts_from": at})


def _write(connection: Connection, sender: str, values: dict[str, Any]) -> None:
    insert = insert_for(connection.dialect.name, sender_breakers).values(sender=sender, **values)
    connection.execute(insert.on_conflict_do_update(index_elements=[_breaker.sender], set_=values))


def _counts(limits: BreakerLimits, now: datetime) -> Select[Any]:
    """For each sender, its counts within the window and today, and whether its breaker is open."""
    window_begins = minute_of(now - limits.window)
    begins = window_begins
    if limits.spend_per_day is not None:
        begins = min(begins, minute_of(now - SPEND_WINDOW))
    within = _result.minute >= window_begins
    sums: list[ColumnElement[Any]] = []
    for name in COUNTED:
        sums.append(func.sum(case((within, _result[name]), else_=0)).label(f"recent_{name}"))
        sums.append(func.sum(_result[name]).label(f"today_{name}"))
    is_open = func.coalesce(func.max(case((_breaker.reason.is_not(None), 1))), 0)
    return (
        select(_result.sender, is_open.label("is_open"), *sums)
        .outerjoin(sender_breakers, _breaker.sender == _result.sender)
        .where(_result.minute >= begins, or_(_COUNTS, _breaker.reason.is_not(None)))
        .group_by(_result.sender)
    )


def _split(row: Row[Any]) -> tuple[SenderCounts, SenderCounts]:
    """The counts within the window, and today's; PostgreSQL's sums are decimals."""
    values = row._mapping  # noqa: SLF001 - its public name, which no column can hide
    recent, today = (
        SenderCounts(**{name: int(values[f"{when}_{name}"]) for name in COUNTED})
        for when in ("recent", "today")
    )
    return recent, today
