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
from devtools.stack.local import message_id_of
from signedfor.store.database import open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.rate_limiter_statements import CLAIM_AHEAD, GATE_AHEAD
from signedfor.store.tables import send_attempts

_AT_ONCE = 50
_SHORTEST_HEAD_START = 2.0
_POLL_SECONDS = 0.25
_MOMENT = timedelta(milliseconds=50)
_FINE_RATE = 1000.0
"""Segments a second while an empty slot is taken: it is then measured to the millisecond."""
_TEXT = "Your parcel is at the door. "
_CHARACTERS_A_SEGMENT = 153
"""Where there are several."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Messages that all wait for their slots."""

    senders: Sequence[str]
    messages: int
    begins_at: float
    """Epoch seconds: the first slot of the sender that is last to begin."""
    set_up_seconds: float
    """From the first handing in until all were admitted."""
    seconds_to_spare: float
    """Seconds from the last admission to the first slot; below zero the two overlapped."""


class Backlogs:
    """Hands in messages to the senders of a environment, and tells what was posted."""

    def __init__(self, environment: Environment, engine: Engine) -> None:
        self._house = environment
        self._engine = engine
        self._pacing = RateLimiter(engine)
        self._since = time.time()
        self._before = environment.stack.sandbox.summary()["accepted"]
        self._ids: set[str] = set()

    async def start(self, sender: str, *, segments: int = 1, **fields: Any) -> str:
        """Hand in one message; its id."""
        side = self._house.side(PRODUCT)
        fields = {"from": sender, "body": text(segments), **fields}
        handle = await self._house.start(side, **fields)
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
        """Have `each` messages of every sender wait; their slots begin after the head start.

        The head start is a slot that nobody uses. While it lasts messages are handed in and
        admitted, so that this costs nothing any more when the first of them is due. The senders
        begin one after the other, so many seconds `apart`.
        """
        begin_at = time.time() + _SHORTEST_HEAD_START + head_start
        moments = {sender: begin_at + number * apart for number, sender in enumerate(senders)}
        begins = await asyncio.to_thread(self._reserve_head_start, moments, rate=rate)
        left = (sender for _ in range(each) for sender in senders)
        started = time.perf_counter()

        async def start_the_rest() -> None:
            for sender in left:
                await self.start(sender, segments=segments)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
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
        """Hand in messages at a steady rate; when each was due, by its id."""
        due_at: dict[str, float] = {}

        async def start(_number: int, due: float) -> None:
            at = time.time() - (time.perf_counter() - due)
            due_at[await self.start(sender, **fields)] = at

        await at_rate(count, rate, start)
        return due_at

    async def set_rate(self, sender: str, rate: float) -> None:
        """Give the sender its rate, in segments a second."""
        await asyncio.to_thread(self._pacing.set_rate, sender, rate)

    async def until_posted(self, *, within: float) -> int:
        """Return when every message was posted, or the time is up; how many are missing."""
        give_up_at = time.monotonic() + within
        while True:
            is_over = time.monotonic() > give_up_at
            # The whole ledger is long: it is read when the count says that it is time.
            if is_over or await self._accepted() >= self._before + len(self._ids):
                missing = len(self._ids - (await self.posted()).message_ids)
                if is_over or not missing:
                    return missing
            await asyncio.sleep(_POLL_SECONDS)

    async def posted(self) -> "Posted":
        """Everything that was posted from the beginning, by the sandbox's books and our attempts."""
        ledger = await asyncio.to_thread(self._house.stack.sandbox.ledger, since=self._since)
        return Posted(ledger["accepted"], await asyncio.to_thread(self._attempts))

    async def _accepted(self) -> int:
        return (await asyncio.to_thread(self._house.stack.sandbox.summary))["accepted"]

    def _attempts(self) -> list[tuple[str, float]]:
        """The messages that the last check let by, and when."""
        query = select(send_attempts.c.message_id, send_attempts.c.started_at)
        with transaction(self._engine, read_only=True) as connection:
            return [(each, at.timestamp()) for each, at in connection.execute(query)]

    def _reserve_head_start(self, until: Mapping[str, float], *, rate: float) -> dict[str, float]:
        """Give each sender its rate, and a slot until then that nobody uses; when that ends."""
        ends = {}
        for sender, moment in until.items():
            self._pacing.set_rate(sender, _FINE_RATE)
            segments = max(1, round((moment - time.time()) * _FINE_RATE))
            slot = self._pacing.reserve(sender, segments)
            self._pacing.set_rate(sender, rate)
            ends[sender] = slot.timestamp() + segments / _FINE_RATE
        return ends

    def _all_reserved(self, until: dict[str, float]) -> bool:
        """Whether the senders' slots are given away until then, or that is over."""
        now = time.time()
        backlogs = {each.sender: each.backlog for each in self._pacing.states()}
        return all(
            backlogs[sender] + _MOMENT >= timedelta(seconds=at - now)
            for sender, at in until.items()
        )


class Posted:
    """What Twilio's books say was posted; driver, database and sandbox share one clock."""

    def __init__(self, rows: Sequence[AcceptedRow], attempts: Sequence[tuple[str, float]]) -> None:
        self._rows = rows
        self._attempts = attempts

    @property
    def message_ids(self) -> set[str]:
        """Of the messages that were posted."""
        return {message_id for row in self._rows if (message_id := message_id_of(row))}

    def of(self, sender: str) -> list[Post]:
        """This sender's POSTs."""
        return [
            Post(at=row["created"], segments=row["segments"])
            for row in self._rows
            if row["from"] == sender
        ]

    def at_last_check(self, sender: str) -> list[Post]:
        """The same POSTs, as of when the last check let them by: their way to Twilio left out."""
        own = {message_id_of(row): row for row in self._rows if row["from"] == sender}
        return [
            Post(at=at, segments=own[each]["segments"])
            for each, at in self._attempts
            if each in own
        ]

    def twice(self, *senders: str) -> int:
        """How many POSTs of these senders are of a message that was posted before."""
        ids = [message_id_of(row) for row in self._rows if row["from"] in senders]
        return len(ids) - len(set(ids))

    def waits(self, due_at: dict[str, float]) -> list[float]:
        """Seconds until the POST, of those of these messages that were posted."""
        at = {message_id_of(row): row["created"] for row in self._rows}
        return [at[each] - due for each, due in due_at.items() if each in at]


@contextmanager
def backlogs_of(environment: Environment) -> Iterator[Backlogs]:
    """The lines of a environment, on its database."""
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
TO_SPARE: Final = "set up before the first slot (s)"
WAIT: Final = "start to POST "
_WORST_AT_GATE = "worst second at the gate (x rate)"
_TRIED_SENDER = "+15005560004"
_AMPLE = 2.0
"""Times what the machine has shown: it may get slower."""
_EXTRA_SECONDS = 60.0


class PacingFixture:
    """What the scenarios share, and how fast this machine is."""

    def __init__(
        self, environment: Environment, lines: Backlogs, sizes: Sizes, *, seconds_a_message: float
    ) -> None:
        self.environment = environment
        self.lines = lines
        self.sizes = sizes
        self._seconds_a_message = seconds_a_message
        self._seconds_to_wait = seconds_a_message
        """A message takes so long until it waits; less than its whole life."""

    async def fill(
        self, senders: Sequence[str], *, each: int, segments: int, rate: float, apart: float = 0.0
    ) -> Backlog:
        """Have them wait, with as much of a head start as this machine is likely to need."""
        line = await self.lines.fill(
            senders,
            each=each,
            segments=segments,
            rate=rate,
            head_start=_AMPLE * self._seconds_to_wait * each * len(senders),
            apart=apart,
        )
        self._seconds_to_wait = line.set_up_seconds / line.messages
        return line

    def timeout(self, line: Backlog, seconds: float) -> float:
        """How long to wait for the line's end: by the rate, and by what the machine can do."""
        until_begun = max(0.0, line.begins_at - time.time())
        return (
            until_begun
            + seconds
            + _AMPLE * self._seconds_a_message * line.messages
            + _EXTRA_SECONDS
        )


async def calibrate(fixture: PacingFixture) -> None:
    """A short line that nobody measures: from it the fixture knows what a long one will need."""
    line = await fixture.fill([_TRIED_SENDER], each=fixture.sizes.warm_up, segments=1, rate=100)
    await fixture.lines.until_posted(within=fixture.timeout(line, line.messages / 100))


async def until(moment: float) -> None:
    """Sleep until then, by the clock."""
    await asyncio.sleep(max(0.0, moment - time.time()))


def pace_figures(
    posted: Posted, sender: str, *, rate: float, since: float = 0.0
) -> dict[str, float]:
    """How one sender kept its pace, from a moment on."""
    posts, passed = (
        [post for post in series if post.at >= since]
        for series in (posted.of(sender), posted.at_last_check(sender))
    )
    return {
        USED: 100 * used(posts, rate=rate),
        WORST: _times(rate, posts),
        WORST_LATER: _times(rate, after_the_first(posts)),
        _WORST_AT_GATE: _times(rate, passed),
    }


def whole_figures(line: Backlog, posted: Posted, *, missing: int) -> Sample:
    """That all of a line was posted, and once; and that it waited before its time came."""
    return {
        MISSING: missing,
        TWICE: posted.twice(*line.senders),
        TO_SPARE: line.seconds_to_spare,
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

    In any second twice the rate at most: at its start the gate lets a second's worth by in advance.
    In a later one less: the gate lets a message by while the sender is busy for at most GATE_AHEAD
    from then on, or CLAIM_AHEAD if it is urgent. So the last of a second's messages finds the
    sender busy for that much beyond the second, and adds its own length.
    """
    ahead = max(GATE_AHEAD + segments / rate, CLAIM_AHEAD + urgent_segments / rate)
    return [
        Bound(side=side, figure=WORST, at_most=2),
        Bound(side=side, figure=WORST_LATER, at_most=1 + ahead),
    ]


def _times(rate: float, posts: Sequence[Post]) -> float:
    return worst_window(posts) / rate
