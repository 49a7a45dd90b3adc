"""What workflows and their activities say to each other: names, inputs and results. Internal."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from signedfor.consent import Reason
from signedfor.contract import MessageRequest, Priority, SendWindow
from signedfor.contract.failures import FailureClass

ADMIT: Final = "admit"
SEND: Final = "send"
LOOK_UP: Final = "look_up"
SEARCH: Final = "search"
RECORD_SUPPRESSION: Final = "record_suppression"
AWAIT_RELEASE: Final = "await_release"
GIVE_BACK: Final = "give_back"
CHECK_WINDOW: Final = "check_window"


class Step(BaseModel):
    """An activity's input or result: tolerant of fields that a newer worker adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Decision(StrEnum):
    """What a check found."""

    GO = "go"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    NO_SENDER = "no_sender"
    INVALID_WINDOW = "invalid_window"
    """Its send window never opens for its recipient: bad input, which only zone data can tell."""
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


class WindowCheck(Step):
    """A send window that will be waited for only later."""

    to: str
    send_window: SendWindow


class Admission(Step):
    """Whether, from what sender and from when the message may be submitted."""

    decision: Decision
    terms: Terms
    sender: str | None = None
    not_before: datetime | None = None
    """Its slot; or when its window opens, where that is CLOSED."""
    is_now: bool = False
    """Whether its slot is this moment, by the clock that gave it: a workflow's own lags behind."""
    suppressed_by: Reason | None = None
    problem: str | None = None
    """What is wrong with `send_window`, where that is INVALID_WINDOW."""


class SendRequest(Step):
    """One message, and what the last check before its POST needs."""

    message_id: str
    message: MessageRequest
    sender: str
    deadline: datetime
    """End of the retry budget: no POST begins after it."""
    segments: int = 1
    is_retry: bool = False
    """It was tried in its turn and failed: trying again, it does not queue anew."""
    earlier_attempts: int = 0
    hand_back_after: timedelta | None = None
    """A retry that must wait longer than this is left to the workflow."""


class Submission(Step):
    """What became of a send that did not fail."""

    decision: Decision
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
    has_priority: bool = False
    """It does not queue: it is urgent, or has had its turn and is tried again."""


class GiveBackRequest(Step):
    """A slot that lies ahead and will not be used."""

    sender: str
    segments: int
    slot: datetime
    is_urgent: bool
    is_retry: bool = False


class Release(Step):
    """GO: it may try again now. CANCELED: its campaign was canceled."""

    decision: Decision


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
    """Before the first POST was begun that may have been taken."""
    own_sids: tuple[str, ...]
    """SIDs it has had before."""


class Finding(StrEnum):
    """What the search came to."""

    FOUND = "found"
    ABSENT = "absent"
    """Twilio lists nothing that could be it."""
    NOT_SUBMITTED = "not_submitted"
    """No POST was begun for it: our own notes, which come before each, have none."""
    UNDECIDED = "undecided"
    """Twilio lists what could be it, and could as well be something else."""


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
