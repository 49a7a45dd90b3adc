"""Backlogs of messages that wait for their reservations, and the POSTs that follow."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine, select

from devtools.bench.environment import PRODUCT, Environment, at_rate
from devtools.bench.figures import Bound, Post, Sample, after_the_first, used, worst_window
from devtools.bench.sizes import Sizes
from devtools.sandbox.client import AcceptedRow
from devtools.stack.local import row_message_id
from signedfor.store.database import open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.rate_limiter_statements import BURST_TOLERANCE, URGENT_BURST_TOLERANCE
from signedfor.store.tables import send_attempts

_CONCURRENCY = 50
_MIN_HEAD_START = 2.0
_POLL_SECONDS = 0.25
_MOMENT = timedelta(milliseconds=50)
_FINE_RATE = 1000.0
"""Segments a second while the head start is reserved, which makes it exact to a millisecond."""
_TEXT = "Your parcel is at the door. "
_CHARACTERS_A_SEGMENT = 153
"""In a text of several."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Messages that all wait for their reserved times."""

    senders: Sequence[str]
    messages: int
    begins_at: float
    """Epoch seconds: the first reserved time of the sender that starts last."""
    set_up_seconds: float
    """From the first start until all were admitted."""
    seconds_to_spare: float
    """Seconds from the last admission to the first reserved time; below zero they overlapped."""


class Backlogs:
    """Starts messages of an environment's senders, and reads what was posted."""

    def __init__(self, environment: Environment, engine: Engine) -> None:
        self._environment = environment
        self._engine = engine
        self._rate_limiter = RateLimiter(engine)
        self._since = time.time()
        self._before = environment.stack.sandbox.summary()["accepted"]
        self._ids: set[str] = set()

    async def start(self, sender: str, *, segments: int = 1, **fields: Any) -> str:
        """Start one message; its id."""
        side = self._environment.side(PRODUCT)
        fields = {"from": sender, "body": text(segments), **fields}
        handle = await self._environment.start(side, **fields)
        message_id = handle.id.removeprefix(side.prefix)
        self._ids.add(message_id)
        return message_id

    async def fill(
        self,
        senders: Sequence[str],
        *,
        each: int,
        segments: int,
        rate: float,
        head_start: float,
        apart: float = 0.0,
    ) -> Backlog:
        """Start `each` messages of every sender; their reserved times begin after the head start.

        The head start is an unused reservation. Messages are started and admitted while it lasts,
        so that this costs nothing once the first of them is due. The senders start one after the
        other, so many seconds `apart`.
        """
        begin_at = time.time() + _MIN_HEAD_START + head_start
        moments = {sender: begin_at + number * apart for number, sender in enumerate(senders)}
        begins = await asyncio.to_thread(self._reserve_head_start, moments, rate=rate)
        left = (sender for _ in range(each) for sender in senders)
        started = time.perf_counter()

        async def start_the_rest() -> None:
            for sender in left:
                await self.start(sender, segments=segments)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(start_the_rest())
        length = each * segments / rate
        ends = {sender: at + length for sender, at in begins.items()}
        while not await asyncio.to_thread(self._all_reserved, ends):  # noqa: ASYNC110 - remote
            await asyncio.sleep(_POLL_SECONDS)
        return Backlog(
            senders=senders,
            messages=each * len(senders),
            begins_at=max(begins.values()),
            set_up_seconds=time.perf_counter() - started,
            seconds_to_spare=min(begins.values()) - time.time(),
        )

    async def start_at_rate(
        self, sender: str, *, count: int, rate: float, **fields: Any
    ) -> dict[str, float]:
        """Start messages at a steady rate; when each was due, by its id."""
        due_at: dict[str, float] = {}

        async def start(_number: int, due: float) -> None:
            at = time.time() - (time.perf_counter() - due)
            due_at[await self.start(sender, **fields)] = at

        await at_rate(count, rate, start)
        return due_at

    async def set_rate(self, sender: str, rate: float) -> None:
        """Give the sender its rate, in segments a second."""
        await asyncio.to_thread(self._rate_limiter.set_rate, sender, rate)

    async def until_posted(self, *, within: float) -> int:
        """Return when every message was posted, or the time is up; how many are missing."""
        give_up_at = time.monotonic() + within
        while True:
            is_over = time.monotonic() > give_up_at
            # The whole ledger is long: it is read only when the count is reached.
            if is_over or await self._accepted() >= self._before + len(self._ids):
                missing = len(self._ids - (await self.posted()).message_ids)
                if is_over or not missing:
                    return missing
            await asyncio.sleep(_POLL_SECONDS)

    async def posted(self) -> "Posted":
        """Everything posted so far, by the sandbox's ledger and our attempt records."""
        ledger = await asyncio.to_thread(self._environment.stack.sandbox.ledger, since=self._since)
        return Posted(ledger["accepted"], await asyncio.to_thread(self._attempts))

    async def _accepted(self) -> int:
        return (await asyncio.to_thread(self._environment.stack.sandbox.summary))["accepted"]

    def _attempts(self) -> list[tuple[str, float]]:
        """The messages that passed the last check, and when."""
        query = select(send_attempts.c.message_id, send_attempts.c.started_at)
        with transaction(self._engine, read_only=True) as connection:
            return [(each, at.timestamp()) for each, at in connection.execute(query)]

    def _reserve_head_start(self, until: Mapping[str, float], *, rate: float) -> dict[str, float]:
        """Set each sender's rate and make an unused reservation until then; when that ends."""
        ends = {}
        for sender, moment in until.items():
            self._rate_limiter.set_rate(sender, _FINE_RATE)
            segments = max(1, round((moment - time.time()) * _FINE_RATE))
            reserved_at = self._rate_limiter.reserve(sender, segments, is_urgent=False)
            self._rate_limiter.set_rate(sender, rate)
            ends[sender] = reserved_at.timestamp() + segments / _FINE_RATE
        return ends

    def _all_reserved(self, until: dict[str, float]) -> bool:
        """Whether the senders are fully reserved until then, or then is past."""
        now = time.time()
        backlogs = {each.sender: each.backlog for each in self._rate_limiter.states()}
        return all(
            backlogs[sender] + _MOMENT >= timedelta(seconds=at - now)
            for sender, at in until.items()
        )


class Posted:
    """What was posted by Twilio's ledger; driver, database and sandbox share one clock."""

    def __init__(self, rows: Sequence[AcceptedRow], attempts: Sequence[tuple[str, float]]) -> None:
        self._rows = rows
        self._attempts = attempts

    @property
    def message_ids(self) -> set[str]:
        """Of the messages that were posted."""
        return {message_id for row in self._rows if (message_id := row_message_id(row))}

    def of(self, sender: str) -> list[Post]:
        """This sender's POSTs."""
        return [
            Post(at=row["created"], segments=row["segments"])
            for row in self._rows
            if row["from"] == sender
        ]

    def at_last_check(self, sender: str) -> list[Post]:
        """The same POSTs, at the time of their last check: without their way to Twilio."""
        own = {row_message_id(row): row for row in self._rows if row["from"] == sender}
        return [
            Post(at=at, segments=own[each]["segments"])
            for each, at in self._attempts
            if each in own
        ]

    def twice(self, *senders: str) -> int:
        """How many POSTs of these senders are of a message that was posted before."""
        ids = [row_message_id(row) for row in self._rows if row["from"] in senders]
        return len(ids) - len(set(ids))

    def waits(self, due_at: dict[str, float]) -> list[float]:
        """Seconds until the POST, of those of these messages that were posted."""
        at = {row_message_id(row): row["created"] for row in self._rows}
        return [at[each] - due for each, due in due_at.items() if each in at]


@contextmanager
def backlogs_of(environment: Environment) -> Iterator[Backlogs]:
    """Backlogs on an environment's database."""
    engine = open_engine(environment.stack.settings["DATABASE_URL"])
    try:
        yield Backlogs(environment, engine)
    finally:
        engine.dispose()


def text(segments: int) -> str:
    """A text of so many segments."""
    if segments == 1:
        return _TEXT.strip()
    length = segments * _CHARACTERS_A_SEGMENT
    return (_TEXT * (length // len(_TEXT) + 1))[:length].replace(" ", "-")


USED: Final = "use of the rate (%)"
WORST: Final = "worst second (x rate)"
WORST_LATER: Final = "worst second after the first (x rate)"
MISSING: Final = "not posted"
TWICE: Final = "posted twice"
TO_SPARE: Final = "set up before the first reservation (s)"
WAIT: Final = "start to POST "
_WORST_AT_CHECK = "worst second at the last check (x rate)"
_TRIED_SENDER = "+15005560004"
_AMPLE = 2.0
"""Times what was measured so far: the machine may get slower."""
_EXTRA_SECONDS = 60.0


class PacingFixture:
    """What the scenarios share: backlogs, and the speed of this machine."""

    def __init__(
        self,
        environment: Environment,
        backlogs: Backlogs,
        sizes: Sizes,
        *,
        seconds_a_message: float,
    ) -> None:
        self.environment = environment
        self.backlogs = backlogs
        self.sizes = sizes
        self._seconds_a_message = seconds_a_message
        self._seconds_to_wait = seconds_a_message
        """The time until a message waits; less than until it is delivered."""

    async def fill(
        self, senders: Sequence[str], *, each: int, segments: int, rate: float, apart: float = 0.0
    ) -> Backlog:
        """Fill a backlog, with as much of a head start as this machine is likely to need."""
        backlog = await self.backlogs.fill(
            senders,
            each=each,
            segments=segments,
            rate=rate,
            head_start=_AMPLE * self._seconds_to_wait * each * len(senders),
            apart=apart,
        )
        self._seconds_to_wait = backlog.set_up_seconds / backlog.messages
        return backlog

    def timeout(self, backlog: Backlog, seconds: float) -> float:
        """How long to wait for the backlog's end: by the rate, and by the speed of the machine."""
        until_start = max(0.0, backlog.begins_at - time.time())
        return (
            until_start
            + seconds
            + _AMPLE * self._seconds_a_message * backlog.messages
            + _EXTRA_SECONDS
        )


async def calibrate(fixture: PacingFixture) -> None:
    """Fill a short backlog, to know how much time a long one needs."""
    backlog = await fixture.fill([_TRIED_SENDER], each=fixture.sizes.warm_up, segments=1, rate=100)
    await fixture.backlogs.until_posted(within=fixture.timeout(backlog, backlog.messages / 100))


async def until(moment: float) -> None:
    """Sleep until this epoch time."""
    await asyncio.sleep(max(0.0, moment - time.time()))


def pace_figures(
    posted: Posted, sender: str, *, rate: float, since: float = 0.0
) -> dict[str, float]:
    """How one sender kept its rate after `since`."""
    posts, passed = (
        [post for post in series if post.at >= since]
        for series in (posted.of(sender), posted.at_last_check(sender))
    )
    return {
        USED: 100 * used(posts, rate=rate),
        WORST: _times(rate, posts),
        WORST_LATER: _times(rate, after_the_first(posts)),
        _WORST_AT_CHECK: _times(rate, passed),
    }


def whole_figures(backlog: Backlog, posted: Posted, *, missing: int) -> Sample:
    """Whether the whole backlog was posted, once, and was complete before its first reservation."""
    return {
        MISSING: missing,
        TWICE: posted.twice(*backlog.senders),
        TO_SPARE: backlog.seconds_to_spare,
    }


def whole_bounds(side: str) -> list[Bound]:
    """What must hold of `whole_figures`."""
    return [
        Bound(side=side, figure=MISSING, at_most=0),
        Bound(side=side, figure=TWICE, at_most=0),
        Bound(side=side, figure=TO_SPARE, at_least=0),
    ]


def pace_bounds(side: str, *, rate: float, segments: int, urgent_segments: int) -> list[Bound]:
    """What must hold of a sender's seconds.

    At most twice the rate in any second: at the start the rate limiter allows a second's worth in
    advance. Less in a later one: it admits a message while the sender is busy for at most
    BURST_TOLERANCE, or URGENT_BURST_TOLERANCE if the message is urgent. So the last message of a
    second finds the sender busy for that much beyond the second, and adds its own length.
    """
    ahead = max(BURST_TOLERANCE + segments / rate, URGENT_BURST_TOLERANCE + urgent_segments / rate)
    return [
        Bound(side=side, figure=WORST, at_most=2),
        Bound(side=side, figure=WORST_LATER, at_most=1 + ahead),
    ]


def _times(rate: float, posts: Sequence[Post]) -> float:
    return worst_window(posts) / rate
