"""What workflows and their activities say to each other: names, inputs and results. Internal."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from messaging.consent import Reason
from messaging.contract import MessageRequest, Priority, SendWindow
from messaging.failures import FailureClass

ADMIT: Final = "admit"
SEND: Final = "send"
LOOK_UP: Final = "look_up"
SEARCH: Final = "search"
RECORD_SUPPRESSION: Final = "record_suppression"
AWAIT_RELEASE: Final = "await_release"


class Step(BaseModel):
    """An activity's input or result: tolerant of fields that a newer worker adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Verdict(StrEnum):
    """What a check found."""

    GO = "go"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    NO_SENDER = "no_sender"
    NOT_YET = "not_yet"
    """Its sender's slot lies in the future."""
    CLOSED = "closed"
    """Its send window opens later; until then it has no slot."""
    HELD = "held"
    """Its sender or its campaign is paused."""
    CANCELED = "canceled"
    """Its campaign was canceled."""


class Terms(Step):
    """The settings that rule a message, read once at admission so that its history holds them."""

    receipt_checks: tuple[timedelta, ...]
    """When to ask Twilio for a missing receipt, counted from submission."""
    retry_budget: timedelta
    unknown_wait: timedelta
    letter_hold: timedelta


class AdmitRequest(Step):
    """Who wants to send to whom."""

    to: str
    sender: str | None
    category: str | None
    priority: Priority
    segments: int
    expires_at: datetime | None
    send_window: SendWindow | None = None


class Admission(Step):
    """Whether, from what sender and from when the message may be submitted."""

    verdict: Verdict
    terms: Terms
    sender: str | None = None
    not_before: datetime | None = None
    """Its slot; or when its window opens, where that is CLOSED."""
    is_now: bool = False
    """Whether its slot is this moment, by the clock that gave it: a workflow's own lags behind."""
    suppressed_by: Reason | None = None


class SendRequest(Step):
    """One message, and what the last check before its POST needs."""

    message_id: str
    message: MessageRequest
    sender: str
    deadline: datetime
    """End of the retry budget: no POST begins after it."""
    segments: int = 1
    slot: datetime | None = None
    """The slot that it has waited for, unless that has been used."""
    has_priority: bool = False
    """It does not queue: it is urgent, or has had its turn and is tried again."""
    earlier_attempts: int = 0
    hand_back_after: timedelta | None = None
    """A retry that must wait longer than this is left to the workflow."""


class Submission(Step):
    """What became of a send that did not fail."""

    verdict: Verdict
    attempts: int = 0
    message_sid: str | None = None
    status: str | None = None
    segments: int | None = None
    submitted_at: datetime | None = None
    suppressed_by: Reason | None = None
    not_before: datetime | None = None
    """When to try again, where it is NOT_YET or CLOSED."""


class ReleaseRequest(Step):
    """A message that waits because its sender or its campaign is paused."""

    sender: str
    segments: int
    campaign_id: str | None


class Release(Step):
    """GO: it may try again now. CANCELED: its campaign was canceled."""

    verdict: Verdict


class SendFailure(Step):
    """Detail of a failed send: the error type carries the class."""

    error_code: int | None = None
    http_status: int | None = None
    attempts: int = 1
    retry_after: timedelta | None = None
    """How long to wait before the next attempt, for a retryable class."""


class LookUpRequest(Step):
    """Which Twilio message to ask for."""

    message_sid: str


class LookUp(Step):
    """What Twilio says of a message; `status` is None when it knows none by that SID."""

    status: str | None
    error_code: int | None = None


class SearchRequest(Step):
    """A message of which it is not known whether Twilio took it."""

    message_id: str
    message: MessageRequest
    sender: str
    since: datetime
    """Before its first POST was begun."""
    own_sids: tuple[str, ...]
    """SIDs it has had before."""


class Finding(StrEnum):
    """What the search came to."""

    FOUND = "found"
    ABSENT = "absent"
    """Twilio lists nothing that could be it."""
    UNDECIDED = "undecided"
    """Twilio lists what could be it, or another message of ours whose fate is open too."""


class SearchResult(Step):
    """What Twilio's list says."""

    finding: Finding
    message_sid: str | None = None
    status: str | None = None
    error_code: int | None = None
    created_at: datetime | None = None


class SuppressionRecord(Step):
    """A recipient not to send to again, and why."""

    message_id: str
    to: str
    sender: str | None
    category: str | None
    failure_class: FailureClass
    error_code: int | None
    message_sid: str | None
