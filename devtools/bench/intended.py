"""Intended submissions: how often a message may be accepted by Twilio, derived from its history.

A message is meant to be submitted once. It is meant to be submitted again only

- **later**, after Twilio had taken it and then said, by a receipt, that it was not delivered for a
  passing reason (`DeliveryDelayed`), or
- **anew**, after a POST of unknown fate, when two searches of Twilio's list since then found no
  trace of it and no callback named it.

Each of these begins an intended submission, with the send activity that the workflow schedules for
it. A further send activity while Twilio has certainly not taken the message (429, never connected,
held back by the last check because it was not its turn, or no POST noted when its worker died)
goes on with the same one. Any other send activity was not intended, whatever came of it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from signedfor.steps import Finding

from devtools.bench.trails import Heard, Searched, SendBegun, SendEnd, SendEnded, Trail
from signedfor.contract.failures import FailureClass
from signedfor.twilio.codes import classify_delivery
from signedfor.twilio.statuses import is_receipt, parse_status

_SEARCHES = 2
"""Without a trace. The product's own constant would move with a mistake in it."""


class Why(Enum):
    """Why a submission was begun."""

    FIRST = auto()
    LATER = auto()
    """The one before was accepted and then not delivered, for a passing reason."""
    ANEW = auto()
    """The one before left no trace."""
    UNINTENDED = auto()
    """Nothing in the history justifies it."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An intended submission: every send activity from `started_at` until the next one begins."""

    started_at: datetime
    why: Why


def submissions_in(trail: Trail) -> list[Submission]:
    """The submissions of a message's history, in order; those that nobody intended too."""
    reader = _Reader()
    for step in trail.steps:
        match step:
            case SendBegun():
                reader.begin(step.at)
            case SendEnded():
                reader.end(step)
            case Searched(finding=Finding.ABSENT):
                reader.absent += 1
            case Searched(finding=Finding.NOT_SUBMITTED):
                reader.was_not_sent()
            case Searched(finding=Finding.FOUND, message_sid=str() as sid):
                reader.taken_as(sid)
            case Heard():
                reader.hear(step)
            case _:
                pass
    return reader.submissions


class _Reader:
    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.absent = 0
        self._last_end: SendEnd | None = None
        self._taken = False
        self._newest_sid: str | None = None
        self._sids: set[str] = set()
        self._passing_failures: set[str] = set()
        self._over: set[str] = set()

    def begin(self, at: datetime) -> None:
        if self._last_end is SendEnd.NOT_SENT and not self._taken:
            self._last_end = None
            return
        self.submissions.append(Submission(started_at=at, why=self._why()))
        self.absent, self._taken, self._last_end = 0, False, None

    def _why(self) -> Why:
        if not self.submissions:
            return Why.FIRST
        if self._taken:
            return Why.LATER if self._newest_sid in self._passing_failures else Why.UNINTENDED
        traceless = self._last_end is SendEnd.UNKNOWN and self.absent >= _SEARCHES
        return Why.ANEW if traceless else Why.UNINTENDED

    def end(self, step: SendEnded) -> None:
        self._last_end = step.end
        if step.message_sid is not None:
            self.taken_as(step.message_sid)

    def was_not_sent(self) -> None:
        """Its worker died before the POST: what follows goes on with the same submission."""
        self._last_end = SendEnd.NOT_SENT

    def taken_as(self, sid: str) -> None:
        self._taken = True
        self._newest_sid = sid
        self._sids.add(sid)

    def hear(self, step: Heard) -> None:
        """The first final status of a SID counts; a SID that was not known names our own POST."""
        sid = step.message_sid
        if sid not in self._sids:
            self.taken_as(sid)
        status = parse_status(step.status)
        if status is None or not is_receipt(status) or sid in self._over:
            return
        self._over.add(sid)
        delayed = classify_delivery(step.error_code) is FailureClass.DELIVERY_DELAYED
        if step.status in {"failed", "undelivered"} and delayed:
            self._passing_failures.add(sid)
