"""What a campaign will be: how many messages, segments, how long it takes and what it costs."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any, Final

from rich.console import RenderableType

from signedfor.cli.campaigns.rows import CheckedRow
from signedfor.cli.output import facts
from signedfor.cli.views import masked_recipient
from signedfor.twilio.segments import Encoding

SHOWN: Final = 3
_CENT = Decimal("0.01")


@dataclass(kw_only=True)
class Tally:
    """What the rows of a file come to; it is added up while they are read."""

    rows: int = 0
    segments: int = 0
    encodings: Counter[Encoding] = field(default_factory=Counter)
    suppressed: int = 0
    suppressed_segments: int = 0
    too_late: int = 0
    """Rows whose send window opens no more before they expire."""
    first: list[CheckedRow] = field(default_factory=list)

    def add(self, checked: CheckedRow) -> None:
        """Count one row."""
        self.rows += 1
        self.segments += checked.row.segments
        self.encodings[checked.encoding] += 1
        if len(self.first) < SHOWN:
            self.first.append(checked)

    @property
    def segments_to_send(self) -> int:
        """Without those whom nothing is sent to."""
        return self.segments - self.suppressed_segments


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a tally means for a sender of this rate, at this price."""

    tally: Tally
    rate: float
    """Segments a second."""
    ahead: timedelta = timedelta()
    """What the sender has to send before."""
    price: Decimal | None
    """Of a segment."""
    currency: str
    has_window: bool = False
    is_paused: bool = False
    """Whether the sender is."""

    @property
    def duration(self) -> timedelta:
        """From now until the last message is submitted, at the sender's rate."""
        return self.ahead + timedelta(seconds=self.tally.segments_to_send / self.rate)

    @property
    def cost(self) -> Decimal | None:
        """Of all segments; None without a price."""
        if self.price is None:
            return None
        return (self.price * self.tally.segments_to_send).quantize(_CENT, rounding=ROUND_HALF_UP)

    def document(self) -> dict[str, Any]:
        """For programs; without numbers and texts."""
        tally = self.tally
        return {
            "rows": tally.rows,
            "suppressed": tally.suppressed,
            "too_late": tally.too_late,
            "segments": tally.segments_to_send,
            "encodings": {each.value: tally.encodings[each] for each in Encoding},
            "segments_per_second": self.rate,
            "seconds_to_send": round(self.duration.total_seconds()),
            "cost": None if self.cost is None else str(self.cost),
            "currency": None if self.cost is None else self.currency,
        }

    def summary(self, *before: tuple[str, object]) -> RenderableType:
        """For people, with other facts before it."""
        tally = self.tally
        encodings = ", ".join(
            f"{tally.encodings[each]:,} in {each}" for each in Encoding if tally.encodings[each]
        )
        pace = f"{in_words(self.duration)} at {self.rate:g} a second"
        if self.ahead:
            pace += f", {in_words(self.ahead)} of it for what waits already"
        if self.is_paused:
            pace += ", once the sender is resumed"
        if self.has_window:
            pace += ", and the hours outside the send window"
        cost = "not known; give --price, or set PRICE_PER_SEGMENT"
        if self.cost is not None:
            cost = f"{self.cost:,} {self.currency} at {self.price:f} a segment"
        return facts(
            [
                *before,
                ("Recipients", f"{tally.rows:,}"),
                ("Opted out", _suppressed(tally.suppressed)),
                ("Texts", encodings),
                ("Segments", f"{tally.segments_to_send:,} to send"),
                ("Time to send", pace),
                ("Cost", cost),
            ]
        )

    def messages(self) -> list[str]:
        """The first messages as they will be, with the numbers masked."""
        said = []
        for each in self.tally.first:
            count = each.row.segments
            said.append(
                f"To {masked_recipient(each.row.to)}, {count} segment{'s' if count > 1 else ''} "
                f"in {each.encoding}:"
            )
            said += [f"  {line}" for line in each.text.splitlines()]
            said.append("")
        return said


def in_words(span: timedelta) -> str:
    """A length of time in its two largest units: `2 h 47 min`."""
    seconds = round(span.total_seconds())
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (lower_name, lower_size) in pairwise(units):
        if seconds >= size:
            lower = seconds % size // lower_size
            return f"{seconds // size:,} {name}" + (f" {lower} {lower_name}" if lower else "")
    return f"{seconds} s" if seconds else "less than a second"


def _suppressed(count: int) -> str:
    return f"{count:,}, or unreachable; nothing is sent to them" if count else "none"
