"""The failure classes: they decide whether to retry, to end, or to open a dead letter."""

from enum import StrEnum


class FailureClass(StrEnum):
    """The class of a failure; the value is the Temporal error type and `failure_class` in reports.

    | class | retried by the policy | then |
    |---|---|---|
    | TEMPORARILY_UNAVAILABLE | yes | dead letter when the retry time is over |
    | OUTCOME_UNKNOWN | never | Twilio is asked, then sent again or a dead letter |
    | RECIPIENT_OPTED_OUT | no | suppression recorded, dead letter closed at once |
    | RECIPIENT_UNREACHABLE | no | suppression recorded, dead letter closed at once |
    | SENDER_MISCONFIGURED | no | dead letter |
    | CONTENT_REJECTED | no | dead letter |
    | CARRIER_FILTERED | no | dead letter |
    | DELIVERY_DELAYED | no | submitted again later as a new Twilio message, then a dead letter |
    | DELIVERY_FAILED | no | dead letter |
    | REQUEST_REJECTED | no | dead letter |
    | NO_RECEIPT | no | dead letter |
    | LIMIT_REACHED | no | dead letter, after a wait |
    | DUPLICATE | no | dead letter |
    """

    TEMPORARILY_UNAVAILABLE = "TemporarilyUnavailable"
    """Not sent, and may work soon: no connection, 429, or Twilio says it was not processed."""
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    """Twilio may or may not have accepted it: the POST must not simply be repeated."""
    RECIPIENT_OPTED_OUT = "RecipientOptedOut"
    """The recipient sent STOP, to us or to Twilio."""
    RECIPIENT_UNREACHABLE = "RecipientUnreachable"
    """The number cannot receive messages: invalid, landline, unknown."""
    SENDER_MISCONFIGURED = "SenderMisconfigured"
    """Account, sender, region or registration must be corrected in the Twilio console."""
    CONTENT_REJECTED = "ContentRejected"
    """The message itself is invalid and must be changed."""
    CARRIER_FILTERED = "CarrierFiltered"
    """Twilio or a carrier filtered it; the same text would be filtered again."""
    DELIVERY_DELAYED = "DeliveryDelayed"
    """Accepted, then not delivered for a temporary reason: may be submitted again later."""
    DELIVERY_FAILED = "DeliveryFailed"
    """Accepted, then failed with an unknown code or none."""
    REQUEST_REJECTED = "RequestRejected"
    """A 4xx with an unknown code: terminal."""
    NO_RECEIPT = "NoReceipt"
    """Accepted, but no final status arrived within the receipt timeout."""
    LIMIT_REACHED = "LimitReached"
    """A rule of MESSAGE_LIMITS left no place for it within a whole window: never submitted."""
    DUPLICATE = "Duplicate"
    """Another message with the same content had just been sent to the person: never submitted."""


RETRYABLE = frozenset({FailureClass.TEMPORARILY_UNAVAILABLE})
"""The classes that the send activity's retry policy retries."""

RECORDED = frozenset({FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE})
"""The classes whose dead letter is closed at once, by recording a suppression."""

TERMINAL = frozenset(FailureClass) - RETRYABLE
"""The classes that `non_retryable_error_types` must list."""
