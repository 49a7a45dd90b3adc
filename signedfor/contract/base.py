"""The contract's enumerations, and the base of its models."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class ContractModel(BaseModel):
    """A model that crosses the border: strict about fields, silent about values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
        use_attribute_docstrings=True,
    )


class OutputModel(ContractModel):
    """What we tell: an older reader ignores what a newer writer adds."""

    model_config = ConfigDict(extra="ignore")


class Priority(StrEnum):
    """How a message stands among others of its sender."""

    URGENT = "urgent"
    """One-time codes and the like: jumps the sender's queue."""
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def temporal_key(self) -> int:
        """Temporal's priority key, 1 being served first."""
        return {Priority.URGENT: 1, Priority.NORMAL: 3, Priority.BULK: 5}[self]


class OnUnknownOutcome(StrEnum):
    """What to do when it cannot be found out whether Twilio took a message."""

    RESEND = "resend"
    DEAD_LETTER = "dead_letter"


class Outcome(StrEnum):
    """How a message ended."""

    DELIVERED = "delivered"
    """The carrier confirmed delivery (WhatsApp and RCS: also read)."""
    UNCONFIRMED = "unconfirmed"
    """Twilio took it, or may have; no receipt came in time."""
    UNDELIVERED = "undelivered"
    """Carrier or Twilio refused it after acceptance."""
    FAILED = "failed"
    """Twilio would not take it, or retries ran out."""
    SUPPRESSED = "suppressed"
    """Recipient opted out or known undeliverable; nothing was submitted."""
    EXPIRED = "expired"
    """Its time passed before it could be submitted."""
    CANCELED = "canceled"
    """Canceled before submission."""


class Stage(StrEnum):
    """Where a running message stands; `MessageStatus` holds this, then the outcome."""

    SENDING = "sending"
    """Being checked and submitted; normally well under a second."""
    SCHEDULED = "scheduled"
    """Waits for its `send_at`."""
    WAITING = "waiting"
    """Waits for its sender's next slot, or for the database to answer."""
    RETRYING = "retrying"
    """Twilio could not take it yet; tried again under the retry policy."""
    RESOLVING = "resolving"
    """It is not known whether Twilio took it; being found out."""
    AWAITING_RECEIPT = "awaiting_receipt"
    """Twilio took it; a receipt is awaited."""
    DELAYED = "delayed"
    """Not delivered for a passing reason; waits to be tried again as a new message."""


class DeadLetterOutcome(StrEnum):
    """How a dead letter was closed."""

    RECORDED = "recorded"
    """A suppression was recorded; nobody had to decide."""
    RETRIED = "retried"
    DISCARDED = "discarded"
    DELIVERED_LATE = "delivered_late"
    """A late receipt said delivered."""
    EXPIRED = "expired"
    """Nobody decided while it was held."""
