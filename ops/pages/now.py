"""What happens now: messages over time, what waits, and what is wrong."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from anyio import to_thread
from sqlalchemy import Engine
from starlette.responses import Response
from temporalio.client import Client
from temporalio.service import RPCError

from ops.access import Role
from ops.charts import BarChart, series_of
from ops.index_state import IndexState, index_state
from ops.web import Page, Pages
from signedfor.checks import Finding, Level
from signedfor.checks.database import HOLD, check_account_hold
from signedfor.contract import Outcome
from signedfor.dead_letters import Groups
from signedfor.open_dead_letters import OpenDeadLetters
from signedfor.store.inbound import InboundMessages, PendingReviews
from signedfor.store.inbox import Inbox
from signedfor.store.message_counts import Interval, MessageCounts, SenderOutcomes
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.temporal import is_never_connected
from signedfor.workers import Condition, WorkerState, has_pollers, list_workers

pages = Pages()


@dataclass(frozen=True)
class Range:
    """How far back the page looks, and in which steps."""

    name: str
    length: timedelta
    interval: Interval
    label: str
    """The form of a step's label."""


RANGES: Final = {
    each.name: each
    for each in (
        Range("1 h", timedelta(hours=1), Interval.MINUTE, "%H:%M"),
        Range("24 h", timedelta(hours=24), Interval.HOUR, "%H:00"),
        Range("7 d", timedelta(days=7), Interval.DAY, "%m-%d"),
    )
}
_STEPS: Final = {
    Interval.MINUTE: timedelta(minutes=1),
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
}
_OUTCOMES: Final = (
    *(Outcome.DELIVERED, Outcome.UNDELIVERED, Outcome.FAILED, Outcome.UNCONFIRMED),
    *(Outcome.SUPPRESSED, Outcome.EXPIRED, Outcome.CANCELED),
)


_ANSWER_SECONDS: Final = 5.0
_PROBLEMS: Final = frozenset({Level.FAIL, Level.WARN})


@dataclass(frozen=True)
class _Figures:
    """What the database knows."""

    index: IndexState
    chart: BarChart
    stages: Mapping[str, int]
    senders: Sequence[SenderOutcomes]
    receipt_delays: Sequence[timedelta]
    oldest: Sequence[IndexedMessage]
    paused: Sequence[SenderState]
    reviews: PendingReviews
    callbacks: int
    hold: Sequence[Finding]
    letters: Groups


@dataclass(frozen=True)
class _Live:
    """What Temporal knows."""

    workers: Sequence[WorkerState]
    has_pollers: bool


@pages.get("/")
async def now(page: Page) -> Response:
    """Show it all."""
    chosen = RANGES.get(page.text("range"), RANGES["24 h"])
    figures = await to_thread.run_sync(_figures, page.services.engine, chosen)
    client, checker = page.services.client, page.services.checker
    of_temporal = await _of_temporal(client)
    # The hold is known at once; what the check of the database says of it may be a minute old.
    findings = [*figures.hold, *(each for each in checker.findings if each.name != HOLD)]
    return page.render(
        "now.html",
        figures=figures,
        problems=[each for each in findings if each.level in _PROBLEMS],
        others=[each for each in findings if each.level not in _PROBLEMS],
        looks=checker.looks,
        of_temporal=of_temporal,
        ranges=RANGES,
        chosen=chosen,
        median=_at(figures.receipt_delays, 0.5),
        slow=_at(figures.receipt_delays, 0.95),
        total=sum(figures.chart.totals),
    )


@pages.post("/checks", role=Role.ACT)
async def check_again(page: Page) -> Response:
    """Make all checks now, in the background."""
    await page.record("checks.again")
    page.services.checker.look_again()
    return page.redirect("/", done="Checking.")


def _figures(engine: Engine, chosen: Range) -> _Figures:
    messages, until = MessageCounts(engine), datetime.now(UTC)
    since = chosen.interval.begin_of(until - chosen.length)
    counts = {
        (each.begin.strftime(chosen.label), each.status): each.messages
        for each in messages.over_time(chosen.interval, since=since, until=until)
    }
    labels = []
    while since <= until:
        labels.append(since.strftime(chosen.label))
        since += _STEPS[chosen.interval]
    # The first step is not over the whole of it, and would have the label of the last one.
    labels = labels[1:]
    inbound = InboundMessages(engine)
    return _Figures(
        index=index_state(engine),
        chart=BarChart("Messages that ended", labels, series_of(counts, labels, _OUTCOMES)),
        stages=messages.open_by_stage(),
        senders=messages.by_sender(since=until - chosen.length),
        receipt_delays=messages.receipt_delays(since=until - chosen.length),
        oldest=MessageIndex(engine).oldest_waiting(),
        paused=[each for each in RateLimiter(engine).states() if each.is_paused],
        reviews=inbound.pending_reviews(),
        callbacks=Inbox(engine).backlog().count,
        hold=check_account_hold(engine),
        letters=OpenDeadLetters(engine).group(),
    )


async def _of_temporal(client: Client) -> _Live | None:
    """What Temporal knows; None if it does not answer: the rest of the page is needed then."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            workers, is_polled = await asyncio.gather(list_workers(client), has_pollers(client))
    except (RPCError, TimeoutError):
        return None
    except RuntimeError as error:
        if not is_never_connected(error):
            raise
        return None
    return _Live(
        workers=[each for each in workers if each.condition is not Condition.ENDED],
        has_pollers=is_polled,
    )


def _at(delays: Sequence[timedelta], share: float) -> timedelta | None:
    """The delay that this share of the messages does not exceed."""
    return delays[int(share * (len(delays) - 1))] if delays else None
