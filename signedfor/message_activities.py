"""The activities of a message as its workflow sees them: signatures, inputs and results. Internal.

The classes below are interfaces: `activities/` implements them, and workflows call them by their
methods, so that mypy checks both sides. Each result names what was decided by a type of its own.
"""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from signedfor.consent import Reason
from signedfor.contract import MessageRequest, SendWindow
from signedfor.contract.failures import FailureClass


class ActivityModel(BaseModel):
    """An activity's input or result: tolerant of fields that a newer worker adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class PolicySnapshot(ActivityModel):
    """The settings that apply to a message, read at its first attempt and kept in its history."""

    receipt_checks: tuple[timedelta, ...]
    """When to ask Twilio for a missing receipt, counted from submission."""
    retry_budget: timedelta
    unknown_wait: timedelta
    dead_letter_hold: timedelta


DEFAULT_POLICY = PolicySnapshot(
    receipt_checks=(timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6)),
    retry_budget=timedelta(hours=4),
    unknown_wait=timedelta(seconds=30),
    dead_letter_hold=timedelta(days=30),
)
"""The settings' defaults, for a message that Twilio has before an attempt could report."""


# What was decided about a message.


class Suppressed(ActivityModel):
    """The recipient must not be sent to."""

    kind: Literal["suppressed"] = "suppressed"
    reason: Reason


class NoOptIn(ActivityModel):
    """The recipient has not agreed to its category, which demands that."""

    kind: Literal["no_opt_in"] = "no_opt_in"


class Expired(ActivityModel):
    """It would be sent after its `expires_at`."""

    kind: Literal["expired"] = "expired"


class NoSender(ActivityModel):
    """It names no sender, and no default is configured."""

    kind: Literal["no_sender"] = "no_sender"


class InvalidWindow(ActivityModel):
    """Its send window never opens for its recipient: bad input, found with time zone data."""

    kind: Literal["invalid_window"] = "invalid_window"
    problem: str


class InvalidRecipient(ActivityModel):
    """Nothing may be sent to its recipient: bad input, found with tables of number ranges."""

    kind: Literal["invalid_recipient"] = "invalid_recipient"
    problem: str


class LimitReached(ActivityModel):
    """A rule of MESSAGE_LIMITS leaves no place for it now."""

    rule: str
    max_wait: timedelta
    """Within this time a place becomes free, unless other messages take it."""


class WindowClosed(ActivityModel):
    """Its send window opens later, or there is a place for it later. Nothing is reserved for it."""

    kind: Literal["window_closed"] = "window_closed"
    opens_at: datetime
    limit: LimitReached | None = None
    """What it waits for instead of its window. No kind of its own: a worker of an older version
    that takes over the message must read this too, and waits until then as well."""


class AlreadyClaimed(ActivityModel):
    """Another attempt has claimed this submission: Twilio may have the message.

    For instance after `temporal workflow reset`, or when a worker lost its task and continued.
    """

    kind: Literal["already_claimed"] = "already_claimed"
    claimed_at: datetime
    attempts: int = 1
    """Of the message so far, by the attempt records."""


class Listed(ActivityModel):
    """Twilio lists a message that may be an earlier submission of this one."""

    kind: Literal["listed"] = "listed"


class Sent(ActivityModel):
    """Twilio accepted it."""

    kind: Literal["sent"] = "sent"
    message_sid: str
    status: str | None
    segments: int | None
    submitted_at: datetime
    was_unreachable: bool = False
    """Twilio called the recipient unreachable before; a delivery shows that it is not."""


class Deferred(ActivityModel):
    """Its sender or the account is busy; a later time is reserved for it."""

    kind: Literal["deferred"] = "deferred"
    reserved_at: datetime
    by_account: bool = False


class Paused(ActivityModel):
    """Its sender or its campaign is paused."""

    kind: Literal["paused"] = "paused"


class CampaignCanceled(ActivityModel):
    """Its campaign was canceled."""

    kind: Literal["campaign_canceled"] = "campaign_canceled"


class Resumed(ActivityModel):
    """Neither its sender nor its campaign is paused any longer."""

    kind: Literal["resumed"] = "resumed"


class DatabaseAway(ActivityModel):
    """The database does not answer. Nothing is sent until it does."""

    kind: Literal["database_away"] = "database_away"


class AccountHeld(ActivityModel):
    """Twilio refuses the account's requests. Messages wait until it takes them again."""

    kind: Literal["account_held"] = "account_held"
    error_code: int | None = None


class WrongClock(ActivityModel):
    """The clock of the worker that was to send it differs from Temporal's."""

    kind: Literal["wrong_clock"] = "wrong_clock"


NotYet = Deferred | WindowClosed | Paused | DatabaseAway | AccountHeld | WrongClock
"""Reasons for a message to wait before it is sent."""


NotSent = (
    AlreadyClaimed
    | Listed
    | Suppressed
    | NoOptIn
    | Expired
    | NoSender
    | InvalidWindow
    | InvalidRecipient
    | CampaignCanceled
    | NotYet
)
"""What a send may decide instead of making a POST."""


class InputCheck(ActivityModel):
    """What to validate of a message before it waits for its `send_at`."""

    to: str
    sender: str | None
    send_window: SendWindow | None


class InputProblems(ActivityModel):
    """Bad fields, each with what is wrong with it."""

    problems: tuple[tuple[str, str], ...]


class ResumeRequest(ActivityModel):
    """A message that waits for its sender, its campaign, the account or the database."""

    sender: str
    segments: int
    campaign_id: str | None
    has_priority: bool = False
    """It does not queue: it is urgent, or a retry."""


class ResumeResult(ActivityModel):
    """How the wait ended."""

    decision: Annotated[Resumed | CampaignCanceled, Field(discriminator="kind")]


class Reservation(ActivityModel):
    """A reserved time that will not be used."""

    sender: str
    segments: int
    reserved_at: datetime
    is_urgent: bool
    is_retry: bool


class SendRequest(ActivityModel):
    """One message, and what the checks before its POST need."""

    message_id: str
    submission: int
    """Which intended Twilio message of it, from 1; only one POST of each can be accepted."""
    message: MessageRequest
    sender: str | None
    """The default one, if the message names none and no attempt was made."""
    requested_at: datetime
    """Temporal's time. A local activity has no other measure of it."""
    deadline: datetime | None
    """End of the retry budget: no POST begins after it. None: the budget begins now."""
    segments: int
    is_reserved: bool
    """Its sender's rate limiter has reserved a time for it, which has come."""
    is_reserved_by_account: bool = False
    is_retry: bool
    """An attempt was made at its reserved time and failed: it does not queue again."""
    earlier_attempts: int
    max_retry_wait: timedelta | None
    """The workflow itself waits if a retry must wait longer than this."""
    unresolved_since: datetime | None = None
    """Before the first POST whose outcome is unknown, if this is sent after one."""
    unresolved_from: int = 1
    """The first submission of unknown outcome, if this is sent after one."""
    listed_sids: tuple[str, ...] = ()
    """What Twilio listed since then that is not this message."""


class SendResult(ActivityModel):
    """The result of a send that did not fail."""

    attempts: int
    """All attempts so far, this one included if it made a POST."""
    sender: str | None
    policy: PolicySnapshot
    decision: Annotated[
        Sent | NotSent,
        Field(discriminator="kind"),
    ]


class SendFailureDetail(ActivityModel):
    """Detail of a failed send; the error's type is the failure class."""

    error_code: int | None = None
    http_status: int | None = None
    attempts: int
    retry_after: timedelta | None = None
    """How long to wait before the next attempt, for a retryable class."""
    duplicate_of: str | None = None
    """The other message, for a duplicate."""
    sender: str | None
    policy: PolicySnapshot


ATTEMPT_FAILED_SIGNAL = "attempt_failed"


class AttemptFailed(ActivityModel):
    """Signal from a send that Temporal will retry, so that the progress shows each attempt."""

    is_signal: ClassVar[bool] = True

    attempts: int
    """All attempts so far, this one included."""
    error_code: int | None
    next_attempt_at: datetime


class StatusRequest(ActivityModel):
    """A Twilio message whose status to fetch."""

    message_sid: str


class StatusResult(ActivityModel):
    """Twilio's status of a message; None if it has no message with that SID."""

    status: str | None
    error_code: int | None = None


class FailedDelivery(ActivityModel):
    """Twilio's code for a message that failed after it had accepted it."""

    error_code: int | None


class DeliveryFailure(ActivityModel):
    """What such a code means. The table of codes changes, a message's history does not."""

    failure_class: FailureClass
    meaning: str
    resubmissions: int
    """How often a message that failed so is submitted again, at most."""
    delay: timedelta
    """How long to wait before that."""


class SearchRequest(ActivityModel):
    """A message whose outcome is unknown: a POST was made, or may have been."""

    message_id: str
    unresolved_from: int
    """The first submission whose outcome is unknown."""
    message: MessageRequest
    sender: str
    since: datetime
    """Before the first POST of unknown outcome."""
    own_sids: tuple[str, ...]
    """SIDs it is known to have."""


class Found(ActivityModel):
    """Twilio has it."""

    kind: Literal["found"] = "found"
    message_sid: str
    status: str
    error_code: int | None
    created_at: datetime | None


class Absent(ActivityModel):
    """Twilio lists nothing that could be it."""

    kind: Literal["absent"] = "absent"
    listed_sids: tuple[str, ...] = ()
    """What Twilio listed for its recipient and sender: other messages."""


class NeverSubmitted(ActivityModel):
    """Twilio does not have it: the submission was never claimed, or Twilio refused it."""

    kind: Literal["never_submitted"] = "never_submitted"


class Ambiguous(ActivityModel):
    """Twilio lists a message that could be this one or another."""

    kind: Literal["ambiguous"] = "ambiguous"


class SearchResult(ActivityModel):
    """The result of a search in Twilio's list and our attempt records."""

    finding: Annotated[Found | Absent | NeverSubmitted | Ambiguous, Field(discriminator="kind")]


class SuppressionRecord(ActivityModel):
    """A recipient not to send to again, and why."""

    message_id: str
    to: str
    sender: str | None
    category: str | None
    failure_class: FailureClass
    error_code: int | None
    message_sid: str | None


class DeliveryConfirmed(ActivityModel):
    """A message was delivered to a recipient whom Twilio had called unreachable."""

    message_id: str
    to: str
    sender: str
    message_sid: str


class WaitActivities(ABC):
    """What a message needs while it waits to be sent."""

    @activity.defn
    @abstractmethod
    def check_input(self, request: InputCheck) -> InputProblems:
        """What only a worker can know is wrong with a message, such as a send window."""

    @activity.defn
    @abstractmethod
    def await_resume(self, request: ResumeRequest) -> ResumeResult:
        """Return when neither a pause nor the account's hold stops it; fail until then."""

    @activity.defn
    @abstractmethod
    def release_reservation(self, reservation: Reservation) -> None:
        """Let others have the reserved time."""


class SendActivities(ABC):
    """The send itself: within the workflow task at first, later on a task queue of its own."""

    @activity.defn
    @abstractmethod
    def send(self, request: SendRequest) -> SendResult:
        """Check opt-outs, pass the rate limiter and claim the submission; then make one POST."""


class StatusActivities(ABC):
    """What Twilio knows of a message by its SID, and what that means."""

    @activity.defn
    @abstractmethod
    def fetch_status(self, request: StatusRequest) -> StatusResult:
        """What Twilio says of the message now."""

    @activity.defn
    @abstractmethod
    async def classify_delivery(self, failed: FailedDelivery) -> DeliveryFailure:
        """What the code means by today's table."""


class Submission(ActivityModel):
    """One intended Twilio message."""

    message_id: str
    submission: int


class SearchActivities(ABC):
    """What Twilio knows of a message without a SID."""

    @activity.defn
    @abstractmethod
    async def find_message(self, request: SearchRequest) -> SearchResult:
        """Say whether Twilio has the message."""

    @activity.defn
    @abstractmethod
    def find_claim(self, submission: Submission) -> AlreadyClaimed | None:
        """The attempt after which Twilio may have the submission, if there is one."""


class SuppressionActivities(ABC):
    """Consent that follows from Twilio's error codes."""

    @activity.defn
    @abstractmethod
    def record_suppression(self, record: SuppressionRecord) -> bool:
        """Record the suppression; whether it is new."""

    @activity.defn
    @abstractmethod
    def lift_undeliverable(self, delivery: DeliveryConfirmed) -> int:
        """Lift what the delivery disproves; how many suppressions there were."""
