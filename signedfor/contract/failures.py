"""The named kinds of failure; each decides whether to retry, settle or escalate."""

from enum import StrEnum


class FailureClass(StrEnum):
    """What kind of failure it was; the value is the Temporal error type and the report's word.

    | class | retried by the policy | settled how |
    |---|---|---|
    | TEMPORARILY_UNAVAILABLE | yes | dead letter when the budget ends |
    | OUTCOME_UNKNOWN | never | the truth is looked for, then a dead letter |
    | RECIPIENT_OPTED_OUT | no | suppression recorded, letter closed at once |
    | RECIPIENT_UNREACHABLE | no | suppression recorded, letter closed at once |
    | SENDER_MISCONFIGURED | no | dead letter |
    | CONTENT_REJECTED | no | dead letter |
    | CARRIER_FILTERED | no | dead letter |
    | DELIVERY_DELAYED | no | tried again later as a new message, then a dead letter |
    | DELIVERY_FAILED | no | dead letter |
    | REQUEST_REJECTED | no | dead letter |
    | NO_RECEIPT | no | dead letter |
    """

    TEMPORARILY_UNAVAILABLE = "TemporarilyUnavailable"
    """Not sent and may work soon: never connected, 429, or said by Twilio to be unprocessed."""
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    """Twilio may or may not have taken it: a POST must not be repeated blindly."""
    RECIPIENT_OPTED_OUT = "RecipientOptedOut"
    """The recipient said STOP, to us or to Twilio."""
    RECIPIENT_UNREACHABLE = "RecipientUnreachable"
    """The number cannot receive messages: invalid, landline, unknown."""
    SENDER_MISCONFIGURED = "SenderMisconfigured"
    """Account, sender, region or registration must be put right in the Twilio console."""
    CONTENT_REJECTED = "ContentRejected"
    """The message itself is not acceptable and must be changed."""
    CARRIER_FILTERED = "CarrierFiltered"
    """Twilio or a carrier filtered it; the same text would be filtered again."""
    DELIVERY_DELAYED = "DeliveryDelayed"
    """Accepted, then known not delivered for a passing reason: may be tried again later."""
    DELIVERY_FAILED = "DeliveryFailed"
    """Accepted, then failed with a code the table does not know, or with none."""
    REQUEST_REJECTED = "RequestRejected"
    """A 4xx that the table does not know: terminal."""
    NO_RECEIPT = "NoReceipt"
    """Accepted, but no final status came within the receipt timeout."""


RETRYABLE = frozenset({FailureClass.TEMPORARILY_UNAVAILABLE})
"""The only classes the send activity's policy may retry."""

TERMINAL = frozenset(FailureClass) - RETRYABLE
"""The classes that `non_retryable_error_types` must list."""
