"""Inbound messages on their way through Temporal: names, ids, inputs and results. Internal."""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from temporalio import activity
from temporalio.common import Priority

from signedfor.contract.fields import problem
from signedfor.message_activities import ActivityModel
from signedfor.twilio.keywords import InboundKind
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender

RECORD_INBOUND_WORKFLOW: Final = "RecordInbound"
CATCH_UP_WORKFLOW: Final = "CatchUpInbound"

CATCH_UP_ID: Final = "inbound-catch-up"
"""Of the schedule, of the workflow that the command starts, and what the schedule's begin with."""

BEFORE_MESSAGES: Final = Priority(priority_key=1)
"""What people said comes before all messages that wait for a worker: some may be to them."""


def inbound_workflow_id(message_sid: str) -> str:
    """The id of the workflow that records this inbound message."""
    return f"inbound:{message_sid}"


def correspondent(raw: str) -> str:
    """Whoever texted: a person, or a short code or alphanumeric id; the one spelling of it.

    Raises:
        InvalidAddress: it is none; says what is wrong with it as a person's address.
    """
    try:
        return normalize_recipient(raw)
    except InvalidAddress as as_recipient:
        try:
            return normalize_sender(raw)
        except InvalidAddress:
            raise as_recipient from None


def is_recipient(address: str) -> bool:
    """Whether one could send to it; short codes and names cannot be sent to."""
    try:
        normalize_recipient(address)
    except InvalidAddress:
        return False
    return True


def _correspondent(raw: str) -> str:
    try:
        return correspondent(raw)
    except InvalidAddress as error:
        raise problem(str(error)) from None


Correspondent = Annotated[str, AfterValidator(_correspondent)]
"""A field that holds whoever texted."""


class InboundRecord(ActivityModel):
    """An inbound message as it is to be recorded; addresses are normalised."""

    message_sid: str
    from_: Annotated[str, Field(repr=False)]
    to: Annotated[str, Field(repr=False)]
    kind: InboundKind
    messaging_service_sid: str | None = None
    body: Annotated[str, Field(repr=False)] = ""
    """Only for `InboundKind.REVIEW`; nobody else has to read it."""
    received_at: datetime


class CatchUp(ActivityModel):
    """Since when to look for inbound messages that never reached us; None: since the last time."""

    since: datetime | None = None


class CatchUpResult(ActivityModel):
    """What a look at Twilio's list brought."""

    since: datetime
    until: datetime
    """Everything Twilio listed between the two is recorded now."""
    listed: int = 0
    """All messages looked at, also those that we sent."""
    inbound: int = 0
    new: int = 0
    """Inbound messages that had not reached us."""
    unusable: int = 0
    """Inbound messages whose addresses cannot be made out; they were left out."""


class InboundActivities(ABC):
    """Recording inbound messages that did not come straight from the webhook."""

    @activity.defn
    @abstractmethod
    def record_inbound(self, record: InboundRecord) -> bool:
        """Record it, and what it asks for; False if it was recorded before."""

    @activity.defn
    @abstractmethod
    def catch_up_inbound(self, request: CatchUp) -> CatchUpResult:
        """Record what is in Twilio's list and not in the database, oldest first."""
