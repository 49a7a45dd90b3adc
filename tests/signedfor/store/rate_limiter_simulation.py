"""A simulation of messages and the rate limiter; only the database is real."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from sqlalchemy import Engine

from signedfor.store.rate_limiter import Fits, RateLimiter, always
from signedfor.twilio.rates import SenderKind

SENDER = "+15005550006"
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    """Seconds since the start of the test; `skew` makes a worker's clock wrong."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.skew = 0.0

    def __call__(self) -> datetime:
        """The current time."""
        return START + timedelta(seconds=self.seconds + self.skew)

    def at(self, time: datetime | None) -> float | None:
        """A time in seconds since the start of the test."""
        return None if time is None else round((time - START).total_seconds(), 3)


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to be sent once; the results of its POSTs do not matter to the rate limiter."""

    number: int
    first_at: float
    """When its first attempt is made."""
    segments: int = 1
    is_urgent: bool = False
    is_retry: bool = False
    fits: Fits = always


@dataclass(frozen=True)
class Post:
    """The POST of a message, which the rate limiter has allowed."""

    at: float
    message: Message

    @property
    def waited(self) -> float:
        """Seconds since its first attempt."""
        return self.at - self.message.first_at


@dataclass
class Simulation:
    """Runs the attempts of messages, up to their POSTs, in the order of their times."""

    engine: Engine
    rate: float
    delay: Callable[[], float] = lambda: 0.07
    """How much later than its reserved time a message tries again."""
    skew: Callable[[], float] = lambda: 0.0
    """How far the clock of the worker that handles an event is ahead of Temporal's."""
    stall: tuple[float, float] = (0.0, 0.0)
    """Start and end of a time in which no message tries again."""
    posts: list[Post] = field(default_factory=list)
    expired: list[Message] = field(default_factory=list)
    """The messages whose next reserved time would have been too late."""
    checks: int = 0
    """The number of attempts of messages that had a reservation."""

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.limiter = RateLimiter(
            self.engine, rates={SenderKind.LONG_CODE: self.rate}, now=self.clock
        )
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Message, bool]] = []

    def add(
        self,
        at: float,
        segments: int = 1,
        *,
        is_urgent: bool = False,
        fits: Fits = always,
    ) -> None:
        """Schedule the first attempt of a message, which has no reservation."""
        self._schedule(
            at, self._message(at, segments, is_urgent=is_urgent, fits=fits), reserved=False
        )

    def retry(self, at: float, segments: int = 1) -> None:
        """Schedule the attempt of a message that is retried."""
        self._schedule(at, self._message(at, segments, is_retry=True), reserved=True)

    def run(self, *, until: float = float("inf")) -> None:
        """Let time pass, or until all messages have been sent or have expired."""
        while self._events and self._events[0][0] < until:
            self.clock.seconds, _, message, reserved = heappop(self._events)
            self.clock.skew = self.skew()
            self._check(message, is_reserved=reserved)

    def waits(self, *, urgent: bool) -> list[float]:
        """The sorted waits of the urgent messages, or of the others."""
        return sorted(post.waited for post in self.posts if post.message.is_urgent is urgent)

    def worst_second(self) -> int:
        """The maximum number of segments sent within any second."""
        worst = within = 0
        first = 0
        for post in self.posts:
            within += post.message.segments
            while self.posts[first].at <= post.at - 1:
                within -= self.posts[first].message.segments
                first += 1
            worst = max(worst, within)
        return worst

    def used(self, *, since: float = 0.0, until: float = float("inf")) -> float:
        """The part of the rate that was used, from the first POST in this time to the last."""
        posts = [post for post in self.posts if since <= post.at <= until]
        sent = sum(post.message.segments for post in posts[:-1])
        return sent / (posts[-1].at - posts[0].at) / self.rate

    def _message(
        self,
        first_at: float,
        segments: int,
        *,
        is_urgent: bool = False,
        is_retry: bool = False,
        fits: Fits = always,
    ) -> Message:
        return Message(
            number=next(self._numbers),
            first_at=first_at,
            segments=segments,
            is_urgent=is_urgent,
            is_retry=is_retry,
            fits=fits,
        )

    def _check(self, message: Message, *, is_reserved: bool) -> None:
        self.checks += is_reserved
        deferred_until = self.limiter.acquire(
            SENDER,
            message.segments,
            is_urgent=message.is_urgent,
            is_reserved=is_reserved,
            is_retry=message.is_retry,
            fits=message.fits,
        )
        if deferred_until is None:
            self.posts.append(Post(self.clock.seconds, message))
        else:
            self._wait(message, deferred_until)

    def _wait(self, message: Message, reserved_at: datetime) -> None:
        if not message.fits(reserved_at):
            self.expired.append(message)
            return
        at = max(self.clock.seconds, (reserved_at - START).total_seconds()) + self.delay()
        start, end = self.stall
        self._schedule(end if start <= at < end else at, message, reserved=True)

    def _schedule(self, at: float, message: Message, *, reserved: bool) -> None:
        heappush(self._events, (at, next(self._numbers), message, reserved))


def random_delay(seed: int, mean: float = 0.25) -> Callable[[], float]:
    """Exponentially distributed delays with this mean."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    return lambda: rng.expovariate(1 / mean)
