"""When the breaker pauses a sender: the limits, and what is counted against them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass
from signedfor.prices import MICROS, in_micros

SPEND_WINDOW: Final = timedelta(days=1)
"""The time in which the spend limit holds."""
_COUNTED: Final = frozenset(
    {Outcome.DELIVERED, Outcome.UNDELIVERED, Outcome.UNCONFIRMED, Outcome.FAILED}
)
_FAILED: Final = frozenset({Outcome.UNDELIVERED, Outcome.FAILED})
_SAYS_NOTHING: Final = frozenset(
    {
        FailureClass.TEMPORARILY_UNAVAILABLE,
        FailureClass.LIMIT_REACHED,
        FailureClass.DUPLICATE,
    }
)
"""Failures that are not the sender's: Twilio, or the way to it, was away for hours; or a message
was not tried because of a limit of ours."""


class BreakerReason(StrEnum):
    """Why the breaker has paused a sender."""

    FAILED = "failed"
    """Too many of its messages failed."""
    FILTERED = "filtered"
    """Too many of its messages were filtered by Twilio or a carrier."""
    SPEND = "spend"
    """It has spent too much."""


@dataclass(frozen=True, slots=True)
class SenderCounts:
    """What became of a sender's messages within some time."""

    accepted: int = 0
    """Submissions that Twilio took."""
    ended: int = 0
    """Messages that Twilio took or refused, and that have ended."""
    failed: int = 0
    """Of them, those that were refused or not delivered."""
    filtered: int = 0
    """Of those, the ones that Twilio or a carrier filtered."""
    spent_micros: int = 0
    """The price of what was accepted, in millionths of the currency."""

    def __add__(self, other: "SenderCounts") -> "SenderCounts":
        """Both together."""
        return SenderCounts(
            accepted=self.accepted + other.accepted,
            ended=self.ended + other.ended,
            failed=self.failed + other.failed,
            filtered=self.filtered + other.filtered,
            spent_micros=self.spent_micros + other.spent_micros,
        )


def counts_of(report: MessageReport) -> SenderCounts | None:
    """What a message that has ended adds; None if its end says nothing of its sender.

    That is so if it was not tried (suppressed, canceled, expired), or could not be while Twilio or
    the way to it was away. One without a receipt has ended, and has not failed.
    """
    if report.outcome not in _COUNTED or report.failure_class in _SAYS_NOTHING:
        return None
    return SenderCounts(
        ended=1,
        failed=int(report.outcome in _FAILED),
        filtered=int(report.failure_class is FailureClass.CARRIER_FILTERED),
    )


@dataclass(frozen=True, kw_only=True)
class Exceeded:
    """A limit that a sender has reached."""

    reason: BreakerReason
    because: str
    """A sentence with the counts, the time and the limit; no number."""


@dataclass(frozen=True, kw_only=True)
class BreakerLimits:
    """The limits of every sender; None: there is none."""

    window: timedelta
    """The time in which failures count."""
    min_messages: int
    """Of fewer messages within the window no share is taken."""
    failed_percent: float | None
    filtered_percent: float | None
    spend_per_day: Decimal | None
    currency: str

    @property
    def has_any(self) -> bool:
        """Whether there is anything to count for."""
        return any(
            each is not None
            for each in (self.failed_percent, self.filtered_percent, self.spend_per_day)
        )

    def exceeded_by(self, recent: SenderCounts, today: SenderCounts) -> Exceeded | None:
        """The limit that a sender has reached, the most telling one, if any.

        `recent` are its counts within the window, `today` those within `SPEND_WINDOW`.
        """
        for reason, count, limit, verb in self._shares(recent):
            percent = 100 * count / recent.ended if recent.ended else 0.0
            if limit is not None and recent.ended >= self.min_messages and percent >= limit:
                minutes = self.window.total_seconds() / 60
                return Exceeded(
                    reason=reason,
                    because=f"{percent:.0f} % of {recent.ended:,} messages {verb} within "
                    f"{minutes:.0f} minutes; the limit is {limit:g} %.",
                )
        limit_of_spend = self.spend_per_day
        if limit_of_spend is not None and today.spent_micros >= in_micros(limit_of_spend):
            spent = Decimal(today.spent_micros) / MICROS
            return Exceeded(
                reason=BreakerReason.SPEND,
                because=f"{today.accepted:,} messages cost {spent:,.2f} {self.currency} within 24 "
                f"hours; the limit is {limit_of_spend:,f} {self.currency}.",
            )
        return None

    def _shares(
        self, recent: SenderCounts
    ) -> Sequence[tuple[BreakerReason, int, float | None, str]]:
        # A message that was filtered has failed too, and says more.
        return (
            (BreakerReason.FILTERED, recent.filtered, self.filtered_percent, "were filtered"),
            (BreakerReason.FAILED, recent.failed, self.failed_percent, "failed"),
        )
