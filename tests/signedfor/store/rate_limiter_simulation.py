"""Messages on their way to a sender's gate: everything but the database is simulated."""

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
    """Seconds since the test began; as a worker sees them, where its clock goes wrong."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.skew = 0.0

    def __call__(self) -> datetime:
        """The time."""
        return START + timedelta(seconds=self.seconds + self.skew)

    def at(self, moment: datetime | None) -> float | None:
        """A moment in the test's seconds."""
        return None if moment is None else round((moment - START).total_seconds(), 3)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One that is to be sent; what happens at its POSTs is no business of the gate."""

    number: int
    born: float
    segments: int = 1
    is_urgent: bool = False
    is_retry: bool = False
    fits: Fits = always


@dataclass(frozen=True)
class Post:
    """A message that passed the gate."""

    at: float
    message: Message

    @property
    def waited(self) -> float:
        """Since it was handed in."""
        return self.at - self.message.born


@dataclass
class Road:
    """What lies between the sender's plan and its gate, in the order in which things happen."""

    engine: Engine
    rate: float
    late: Callable[[], float] = lambda: 0.07
    """How much later than its time a message comes to the gate."""
    skew: Callable[[], float] = lambda: 0.0
    """How far the clock of the worker that takes a step is ahead of Temporal's, which wakes."""
    stall: tuple[float, float] = (0.0, 0.0)
    """From when until when nothing comes to the gate."""
    send_attempts: list[Post] = field(default_factory=list)
    expired: list[Message] = field(default_factory=list)
    """Those whose next slot would be too late for them."""
    looks: int = 0
    """How often a message came to the gate."""

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.limiter = RateLimiter(
            self.engine, rates={SenderKind.LONG_CODE: self.rate}, now=self.clock
        )
        self._numbers = itertools.count()
        self._ahead: list[tuple[float, int, Message, bool]] = []

    def hand_in(
        self,
        at: float,
        segments: int = 1,
        *,
        is_urgent: bool = False,
        fits: Fits = always,
    ) -> None:
        """A message that is admitted then."""
        self._expect(at, self._message(at, segments, is_urgent=is_urgent, fits=fits), planned=False)

    def try_again(self, at: float, segments: int = 1) -> None:
        """A message that had its turn and comes to the gate once more then."""
        self._expect(at, self._message(at, segments, is_retry=True), planned=True)

    def go(self, *, until: float = float("inf")) -> None:
        """Let time pass until then, or until all are sent."""
        while self._ahead and self._ahead[0][0] < until:
            self.clock.seconds, _, message, planned = heappop(self._ahead)
            self.clock.skew = self.skew()
            if planned:
                self._come(message)
            else:
                self._wait(
                    message,
                    self.limiter.reserve(
                        SENDER, message.segments, is_urgent=message.is_urgent, fits=message.fits
                    ),
                )

    def waits(self, *, urgent: bool) -> list[float]:
        """How long the urgent ones, or the others, have waited, in order."""
        return sorted(
            post.waited for post in self.send_attempts if post.message.is_urgent is urgent
        )

    def worst_second(self) -> int:
        """The most segments sent within a second."""
        most = within = 0
        first = 0
        for post in self.send_attempts:
            within += post.message.segments
            while self.send_attempts[first].at <= post.at - 1:
                within -= self.send_attempts[first].message.segments
                first += 1
            most = max(most, within)
        return most

    def used(self, *, since: float = 0.0, until: float = float("inf")) -> float:
        """What part of the rate was used between two moments, from the first POST to the last."""
        send_attempts = [post for post in self.send_attempts if since <= post.at <= until]
        sent = sum(post.message.segments for post in send_attempts[:-1])
        return sent / (send_attempts[-1].at - send_attempts[0].at) / self.rate

    def _message(
        self,
        born: float,
        segments: int,
        *,
        is_urgent: bool = False,
        is_retry: bool = False,
        fits: Fits = always,
    ) -> Message:
        return Message(
            number=next(self._numbers),
            born=born,
            segments=segments,
            is_urgent=is_urgent,
            is_retry=is_retry,
            fits=fits,
        )

    def _come(self, message: Message) -> None:
        self.looks += 1
        again = self.limiter.acquire(
            SENDER,
            message.segments,
            is_urgent=message.is_urgent,
            is_retry=message.is_retry,
            fits=message.fits,
        )
        if again is None:
            self.send_attempts.append(Post(self.clock.seconds, message))
        else:
            self._wait(message, again)

    def _wait(self, message: Message, slot: datetime) -> None:
        if not message.fits(slot):
            self.expired.append(message)
            return
        at = max(self.clock.seconds, (slot - START).total_seconds()) + self.late()
        begins, ends = self.stall
        self._expect(ends if begins <= at < ends else at, message, planned=True)

    def _expect(self, at: float, message: Message, *, planned: bool) -> None:
        heappush(self._ahead, (at, next(self._numbers), message, planned))


def mostly_late(seed: int, mean: float = 0.25) -> Callable[[], float]:
    """Late by so much on average, now and then by a second."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    return lambda: chance.expovariate(1 / mean)
