"""Messages that wait in line for their sender's slots, and the POSTs that come of them."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select

from devtools.stack.local import message_id_of
from devtools.bench.harness.house import OURS, House
from devtools.bench.harness.loads import at_rate
from devtools.bench.harness.pace import Post
from devtools.sandbox.client import AcceptedRow
from signedfor.store.database import open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.tables import send_attempts

_AT_ONCE = 50
_SHORTEST_HEAD_START = 2.0
_LOOK_EVERY_SECONDS = 0.25
_MOMENT = timedelta(milliseconds=50)
_FINE_RATE = 1000.0
"""Segments a second while an empty slot is taken: it is then measured to the millisecond."""
_TEXT = "Your parcel is at the door. "
_CHARACTERS_A_SEGMENT = 153
"""Where there are several."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Messages that all wait for their slots."""

    senders: Sequence[str]
    messages: int
    begins_at: float
    """Epoch seconds: the first slot of the sender that is last to begin."""
    set_up_seconds: float
    """From the first handing in until all were admitted."""
    to_spare: float
    """Seconds from the last admission to the first slot; below zero the two overlapped."""


class Lines:
    """Hands in messages to the senders of a house, and tells what was posted."""

    def __init__(self, house: House, engine: Engine) -> None:
        self._house = house
        self._engine = engine
        self._pacing = RateLimiter(engine)
        self._since = time.time()
        self._before = house.stack.sandbox.summary()["accepted"]
        self._ids: set[str] = set()

    async def hand_in(self, sender: str, *, segments: int = 1, **fields: Any) -> str:
        """Hand in one message; its id."""
        side = self._house.side(OURS)
        fields = {"from": sender, "body": text(segments), **fields}
        handle = await self._house.hand_in(side, **fields)
        message_id = handle.id.removeprefix(side.prefix)
        self._ids.add(message_id)
        return message_id

    async def line_up(
        self,
        senders: Sequence[str],
        *,
        each: int,
        segments: int,
        rate: float,
        head_start: float,
        apart: float = 0.0,
    ) -> Line:
        """Have `each` messages of every sender wait; their slots begin after the head start.

        The head start is a slot that nobody uses. While it lasts messages are handed in and
        admitted, so that this costs nothing any more when the first of them is due. The senders
        begin one after the other, so many seconds `apart`.
        """
        begin_at = time.time() + _SHORTEST_HEAD_START + head_start
        moments = {sender: begin_at + number * apart for number, sender in enumerate(senders)}
        begins = await asyncio.to_thread(self._keep_free, moments, rate=rate)
        left = (sender for _ in range(each) for sender in senders)
        begun = time.perf_counter()

        async def hand_in_the_rest() -> None:
            for sender in left:
                await self.hand_in(sender, segments=segments)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(hand_in_the_rest())
        length = each * segments / rate
        ends = {sender: at + length for sender, at in begins.items()}
        while not await asyncio.to_thread(self._given_away, ends):  # noqa: ASYNC110 - remote
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return Line(
            senders=senders,
            messages=each * len(senders),
            begins_at=max(begins.values()),
            set_up_seconds=time.perf_counter() - begun,
            to_spare=min(begins.values()) - time.time(),
        )

    async def hand_in_at_rate(
        self, sender: str, *, count: int, rate: float, **fields: Any
    ) -> dict[str, float]:
        """Hand in messages at a steady rate; when each was due, by its id."""
        due_at: dict[str, float] = {}

        async def hand_in(_number: int, due: float) -> None:
            at = time.time() - (time.perf_counter() - due)
            due_at[await self.hand_in(sender, **fields)] = at

        await at_rate(count, rate, hand_in)
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
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def posted(self) -> "Posted":
        """Everything that was posted from the beginning, by the sandbox's books and our notes."""
        ledger = await asyncio.to_thread(self._house.stack.sandbox.ledger, since=self._since)
        return Posted(ledger["accepted"], await asyncio.to_thread(self._notes))

    async def _accepted(self) -> int:
        return (await asyncio.to_thread(self._house.stack.sandbox.summary))["accepted"]

    def _notes(self) -> list[tuple[str, float]]:
        """The messages that the last check let by, and when."""
        query = select(send_attempts.c.message_id, send_attempts.c.started_at)
        with transaction(self._engine, read_only=True) as connection:
            return [(each, at.timestamp()) for each, at in connection.execute(query)]

    def _keep_free(self, until: Mapping[str, float], *, rate: float) -> dict[str, float]:
        """Give each sender its rate, and a slot until then that nobody uses; when that ends."""
        ends = {}
        for sender, moment in until.items():
            self._pacing.set_rate(sender, _FINE_RATE)
            segments = max(1, round((moment - time.time()) * _FINE_RATE))
            slot = self._pacing.reserve(sender, segments)
            self._pacing.set_rate(sender, rate)
            ends[sender] = slot.timestamp() + segments / _FINE_RATE
        return ends

    def _given_away(self, until: dict[str, float]) -> bool:
        """Whether the senders' slots are given away until then, or that is over."""
        now = time.time()
        backlogs = {each.sender: each.backlog for each in self._pacing.states()}
        return all(
            backlogs[sender] + _MOMENT >= timedelta(seconds=at - now)
            for sender, at in until.items()
        )


class Posted:
    """What Twilio's books say was posted; driver, database and sandbox share one clock."""

    def __init__(self, rows: Sequence[AcceptedRow], notes: Sequence[tuple[str, float]]) -> None:
        self._rows = rows
        self._notes = notes

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

    def at_gate(self, sender: str) -> list[Post]:
        """The same POSTs, as of when the last check let them by: their way to Twilio left out."""
        own = {message_id_of(row): row for row in self._rows if row["from"] == sender}
        return [
            Post(at=at, segments=own[each]["segments"]) for each, at in self._notes if each in own
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
def lines_of(house: House) -> Iterator[Lines]:
    """The lines of a house, on its database."""
    engine = open_engine(house.stack.settings["DATABASE_URL"])
    try:
        yield Lines(house, engine)
    finally:
        engine.dispose()


def text(segments: int) -> str:
    """A text of so many segments."""
    if segments == 1:
        return _TEXT.strip()
    length = segments * _CHARACTERS_A_SEGMENT
    return (_TEXT * (length // len(_TEXT) + 1))[:length].replace(" ", "-")
