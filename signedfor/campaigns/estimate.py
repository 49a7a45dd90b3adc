"""What a campaign will be: how many messages and segments, how long it takes, what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

from signedfor.campaigns.checks import Tally
from signedfor.masks import masked_recipient
from signedfor.message_limits import LimitRule
from signedfor.twilio.segments import Encoding

_CENT = Decimal("0.01")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Duration and cost of a campaign, for a sender with this rate and at this price."""

    tally: Tally
    rate: float
    """Segments per second."""
    backlog: timedelta = timedelta()
    """How long the sender's earlier messages take."""
    price: Decimal | None
    """Per segment."""
    currency: str
    has_window: bool = False
    is_sender_paused: bool = False
    limits: Sequence[LimitRule] = ()
    """Those that count its messages together."""

    @property
    def duration(self) -> timedelta:
        """Until the last message is submitted, at the sender's rate."""
        return self.backlog + timedelta(seconds=self.tally.segments_to_send / self.rate)

    @property
    def cost(self) -> Decimal | None:
        """Of all segments; None without a price."""
        if self.price is None:
            return None
        return (self.price * self.tally.segments_to_send).quantize(_CENT, rounding=ROUND_HALF_UP)

    def warnings(self, expires_at: datetime | None) -> list[str]:
        """What will not be sent, or not before `--expires-at`: sender or window are too late."""
        found = [
            f"Warning: MESSAGE_LIMITS has {rule.text}, and this is for {self.tally.to_send:,} "
            "recipients: what is beyond waits, and becomes a dead letter if no place becomes free "
            "within a whole window."
            for rule in self.limits
            if self.tally.to_send > rule.messages
        ]
        if expires_at is None:
            return found
        left = expires_at - datetime.now(UTC)
        if self.duration > left:
            found.append(
                f"Warning: the sender needs {in_words(self.duration)}, and --expires-at is in "
                f"{in_words(left)}: what is not submitted by then is never sent."
            )
        if late := self.tally.too_late:
            found.append(
                f"Warning: for {late:,} of {self.tally.rows:,} recipients the send window does not "
                "open before --expires-at: nothing is sent to them."
            )
        return found

    def document(self) -> dict[str, Any]:
        """The estimate for programs, without numbers and texts."""
        tally = self.tally
        return {
            "rows": tally.rows,
            "skipped": tally.skipped,
            "suppressed": tally.suppressed,
            "too_late": tally.too_late,
            "segments": tally.segments_to_send,
            "encodings": {each.value: tally.encodings[each] for each in Encoding},
            "segments_per_second": self.rate,
            "seconds_to_send": round(self.duration.total_seconds()),
            "cost": None if self.cost is None else str(self.cost),
            "currency": None if self.cost is None else self.currency,
        }

    def facts(self) -> list[tuple[str, str]]:
        """The estimate for people: names and values."""
        tally = self.tally
        encodings = ", ".join(
            f"{tally.encodings[each]:,} in {each}" for each in Encoding if tally.encodings[each]
        )
        pace = f"{in_words(self.duration)} at {self.rate:g} per second"
        if self.backlog:
            pace += f", {in_words(self.backlog)} of it for messages that already wait"
        if self.is_sender_paused:
            pace += ", once the sender is resumed"
        if self.has_window:
            pace += ", plus the hours outside the send window"
        suppressed = "none"
        if tally.suppressed:
            suppressed = f"{tally.suppressed:,}, or unreachable; nothing is sent to them"
        cost = "not known; give --price, or set PRICE_PER_SEGMENT"
        if self.cost is not None:
            cost = f"{self.cost:,} {self.currency} at {self.price:f} per segment"
        rows = [("Recipients", f"{tally.rows:,}")]
        if tally.skipped:
            rows.append(("Skipped", f"{tally.skipped:,} bad rows"))
        return [
            *rows,
            ("Opted out", suppressed),
            ("Texts", encodings),
            ("Segments", f"{tally.segments_to_send:,} to send"),
            ("Time to send", pace),
            ("Cost", cost),
        ]

    def messages(self) -> list[str]:
        """The first messages as they will be sent, with masked numbers."""
        lines = []
        for each in self.tally.first:
            count = each.row.segments
            lines.append(
                f"To {masked_recipient(each.row.to)}, {count} segment{'s' if count > 1 else ''} "
                f"in {each.encoding}:"
            )
            lines += [f"  {line}" for line in each.text.splitlines()]
            lines.append("")
        return lines


def in_words(span: timedelta) -> str:
    """A length of time in its two largest units: `2 h 47 min`."""
    seconds = round(span.total_seconds())
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (lower_name, lower_size) in pairwise(units):
        if seconds >= size:
            lower = seconds % size // lower_size
            return f"{seconds // size:,} {name}" + (f" {lower} {lower_name}" if lower else "")
    return f"{seconds} s" if seconds else "less than a second"
