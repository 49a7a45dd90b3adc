"""Intended submissions: how often Twilio may accept a message, derived from its history.

A message is meant to be submitted once. It is meant to be submitted again only

- **delayed**, after Twilio had accepted it and then reported, by a receipt, that it was not
  delivered for a temporary reason (`DeliveryDelayed`), or
- **resent**, after a POST with an unknown outcome, once two later searches of Twilio's list found
  no trace of it and no callback named it.

Each of these starts an intended submission, with the send activity that the workflow schedules for
it. A further send activity belongs to the same submission while Twilio has certainly not accepted
the message: after a 429, without a connection, when the last check found that it was not due yet,
or when its worker died before it recorded an attempt. A local send whose worker died leaves no
trace but the workflow task that did not complete. Any other send activity was not intended,
whatever came of it.

A message that was reset has several runs. The product numbers the submissions of each run, and the
database knows them by that number: so submission 2 of one run is submission 2 of another, and may
be accepted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Found, NeverSubmitted
from signedfor.twilio.codes import classify_delivery
from signedfor.twilio.statuses import is_receipt, parse_status
from tests.faults.soak.history import (
    History,
    Searched,
    SendFinished,
    SendOutcome,
    SendStarted,
    StatusReceived,
    TaskLost,
)

_SEARCHES = 2
"""Without a trace. Not the product's own constant, which a bug could change together with it."""


class Reason(Enum):
    """Why a submission was started."""

    FIRST = auto()
    DELAYED = auto()
    """The previous one was accepted and then not delivered, for a temporary reason."""
    RESENT = auto()
    """The previous one left no trace."""
    UNINTENDED = auto()
    """Nothing in the history justifies it."""


@dataclass(frozen=True, kw_only=True)
class IntendedSubmission:
    """Every send activity from `started_at` until the next submission starts."""

    started_at: datetime
    reason: Reason


def submissions_of(runs: Sequence[History]) -> list[IntendedSubmission]:
    """The submissions of a message, by number: each from where it was first started."""
    by_run = [submissions_in(run) for run in runs]
    return [
        min(
            (submissions[number] for submissions in by_run if number < len(submissions)),
            key=lambda each: each.started_at,
        )
        for number in range(max(map(len, by_run), default=0))
    ]


def submissions_in(history: History) -> list[IntendedSubmission]:
    """The submissions in one run of a message, in order; unintended ones included."""
    reader = _Reader(is_reset=history.is_reset)
    for event in history.events:
        match event:
            case TaskLost():
                reader.lose_task(event)
            case SendStarted():
                reader.start(event.at)
            case SendFinished():
                reader.finish(event)
            case Searched(finding=Absent()):
                reader.absent += 1
            case Searched(finding=NeverSubmitted()):
                reader.was_not_sent()
            case Searched(finding=Found(message_sid=sid)):
                reader.accepted_as(sid)
            case StatusReceived():
                reader.receive(event)
            case _:
                pass
    if history.unfinished_task_at is not None:
        reader.may_start(history.unfinished_task_at)
    return reader.submissions


class _Reader:
    def __init__(self, *, is_reset: bool) -> None:
        self.submissions: list[IntendedSubmission] = []
        self.absent = 0
        self._is_reset = is_reset
        self._lost_task_at: datetime | None = None
        """A local send may have begun then."""
        self._sent_locally_at: datetime | None = None
        """The same, but only in a task of this run, and not of the one before a reset."""
        self._last_outcome: SendOutcome | None = None
        self._accepted = False
        self._is_named_by_callback = False
        """Accepted, as a callback says; the send itself has not ended in this history."""
        self._may_repeat = False
        """The newest send may be that of the callback's lost task again, if it posts nothing."""
        self._newest_sid: str | None = None
        self._sids: set[str] = set()
        self._temporary_failures: set[str] = set()
        self._final: set[str] = set()

    def lose_task(self, event: TaskLost) -> None:
        self._lost_task_at = self._lost_task_at or event.at
        if not event.by_reset:
            self._sent_locally_at = self._sent_locally_at or event.at

    def may_start(self, at: datetime) -> None:
        """A send without a trace: counted if there was a reason for it."""
        is_retry = self._last_outcome is SendOutcome.NOT_SENT and not self._accepted
        if is_retry or self._reason() is not Reason.UNINTENDED:
            self.start(at)

    def start(self, at: datetime) -> None:
        # A callback named the local send before its workflow task was lost: this repeats it. If it
        # posts again, two rows of the ledger belong to one submission.
        is_repeated = self._sent_locally_at is not None and self._is_named_by_callback
        self._may_repeat = self._sent_locally_at is None and self._is_named_by_callback
        at = self._lost_task_at or at
        self._lost_task_at = self._sent_locally_at = None
        if is_repeated:
            return
        if self._last_outcome is SendOutcome.NOT_SENT and not self._accepted:
            self._last_outcome = None
            return
        self.submissions.append(IntendedSubmission(started_at=at, reason=self._reason()))
        self.absent, self._accepted, self._last_outcome = 0, False, None

    def _reason(self) -> Reason:
        if not self.submissions:
            return Reason.FIRST
        if self._accepted:
            is_delayed = self._newest_sid in self._temporary_failures
            return Reason.DELAYED if is_delayed else Reason.UNINTENDED
        without_trace = self._last_outcome is SendOutcome.UNKNOWN and self.absent >= _SEARCHES
        return Reason.RESENT if without_trace else Reason.UNINTENDED

    def finish(self, event: SendFinished) -> None:
        self._last_outcome = event.outcome
        self._is_named_by_callback = False
        posted_nothing = event.is_claim_held or event.outcome is SendOutcome.NOT_SENT
        if posted_nothing and self._may_repeat:
            self.submissions.pop()
            self._accepted = True
        elif event.is_claim_held and self._is_reset:
            self._take_back()
        self._may_repeat = False
        if event.message_sid is not None:
            self.accepted_as(event.message_sid)

    def _take_back(self) -> None:
        """An earlier run has submitted it, with a reason that this run's history may lack."""
        if len(self.submissions) > 1 and self.submissions[-1].reason is Reason.UNINTENDED:
            self.submissions.pop()

    def was_not_sent(self) -> None:
        """Its worker died before the POST: the next send continues the same submission."""
        self._last_outcome = SendOutcome.NOT_SENT

    def accepted_as(self, sid: str) -> None:
        self._accepted = True
        self._newest_sid = sid
        self._sids.add(sid)

    def receive(self, event: StatusReceived) -> None:
        """The first final status of a SID counts; an unknown SID identifies our own POST."""
        sid = event.message_sid
        if sid not in self._sids:
            if self._sent_locally_at is not None and (not self.submissions or self._accepted):
                self.start(self._sent_locally_at)  # the send of the lost workflow task
            self.accepted_as(sid)
            self._is_named_by_callback = True
        status = parse_status(event.status)
        if status is None or not is_receipt(status) or sid in self._final:
            return
        self._final.add(sid)
        delayed = classify_delivery(event.error_code) is FailureClass.DELIVERY_DELAYED
        if event.status in {"failed", "undelivered"} and delayed:
            self._temporary_failures.add(sid)
