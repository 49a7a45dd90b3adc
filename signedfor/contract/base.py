"""The contract's enumerations, and the base of its models."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class ContractModel(BaseModel):
    """A model of the public contract: unknown fields are rejected, errors do not show values."""

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
    """A result or an answer: ignores unknown fields, so that an older client reads a newer one."""

    model_config = ConfigDict(extra="ignore")


class OwnInput(OutputModel):
    """The input of a workflow that our own processes start, and that nothing else holds.

    Encrypted with a key that a worker lacks, it waits for the key, as failing would lose it.
    """


class Priority(StrEnum):
    """The order in which a sender's messages are sent."""

    URGENT = "urgent"
    """For one-time codes and the like: sent before everything else the sender has waiting."""
    NORMAL = "normal"
    """In turn."""
    BULK = "bulk"
    """In turn, and after `normal` where workers or the account limit are the bottleneck."""

    @property
    def temporal_key(self) -> int:
        """Temporal's priority key; 1 is first."""
        return {Priority.URGENT: 1, Priority.NORMAL: 3, Priority.BULK: 5}[self]


class OnUnknownOutcome(StrEnum):
    """What to do when it remains unknown whether Twilio accepted a message."""

    RESEND = "resend"
    """Submit it again, at the risk of sending it twice."""
    DEAD_LETTER = "dead_letter"
    """Open a dead letter, at the risk of not sending it."""


class Outcome(StrEnum):
    """How a message ended."""

    DELIVERED = "delivered"
    """The carrier confirmed delivery (WhatsApp and RCS: also read)."""
    UNCONFIRMED = "unconfirmed"
    """Twilio accepted it, or may have; no delivery receipt arrived in time."""
    UNDELIVERED = "undelivered"
    """Twilio accepted it, then Twilio or the carrier did not deliver it."""
    FAILED = "failed"
    """Twilio rejected it, or all retries failed."""
    SUPPRESSED = "suppressed"
    """The recipient opted out or is known to be unreachable; nothing was submitted."""
    EXPIRED = "expired"
    """`expires_at` passed before it could be submitted."""
    CANCELED = "canceled"
    """Canceled before submission."""


class Stage(StrEnum):
    """The status of a running message; `MessageStatus` holds it, and later the outcome."""

    SENDING = "sending"
    """Being checked and submitted; usually takes well under a second."""
    SCHEDULED = "scheduled"
    """Waiting for its `send_at`."""
    WAITING = "waiting"
    """Waiting for its send window, its sender's rate limit, a paused campaign, or the database."""
    RETRYING = "retrying"
    """Twilio could not accept it yet; the retry policy applies."""
    RESOLVING = "resolving"
    """It is unknown whether Twilio accepted it; Twilio is being asked."""
    AWAITING_RECEIPT = "awaiting_receipt"
    """Twilio accepted it; waiting for the delivery receipt."""
    DELAYED = "delayed"
    """Not delivered for a temporary reason; waiting to be submitted as a new Twilio message."""


class DeadLetterOutcome(StrEnum):
    """How a dead letter was closed."""

    RECORDED = "recorded"
    """The recipient was added to the suppressions; no decision was needed."""
    RETRIED = "retried"
    """An operator sent it again, as a new message."""
    DISCARDED = "discarded"
    """An operator closed it without sending."""
    DELIVERED_LATE = "delivered_late"
    """A late status callback said delivered."""
    EXPIRED = "expired"
    """It was not resolved within `hold_days`."""
