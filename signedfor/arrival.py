"""Whether a message that has ended may have reached its recipient, and so may be sent again."""

from enum import StrEnum
from typing import assert_never

from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass

_TWILIO_DOES_NOT_KNOW = frozenset({FailureClass.OUTCOME_UNKNOWN, FailureClass.DELIVERY_FAILED})
"""Classes of failure after which the message may be with the recipient all the same."""


_ABOUT_THE_NUMBER = frozenset(
    {FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE}
)
"""Classes of failure that a suppression follows."""


class Arrival(StrEnum):
    """Whether the recipient has it."""

    ARRIVED = "arrived"
    """The carrier confirmed that."""
    POSSIBLE = "possible"
    """Twilio accepted it, or may have, and nothing proves that it did not arrive."""
    NONE = "none"
    """It was not sent, or Twilio says that it was not delivered."""


def arrival(report: MessageReport) -> Arrival:
    """Whether the recipient has the message."""
    match report.outcome:
        case Outcome.DELIVERED:
            return Arrival.ARRIVED
        case Outcome.UNCONFIRMED:
            return Arrival.POSSIBLE
        case Outcome.UNDELIVERED | Outcome.FAILED | Outcome.EXPIRED:
            is_unknown = report.failure_class in _TWILIO_DOES_NOT_KNOW
            return Arrival.POSSIBLE if is_unknown else Arrival.NONE
        case Outcome.SUPPRESSED | Outcome.CANCELED:
            return Arrival.NONE
        case _:
            assert_never(report.outcome)


def sending_again(report: MessageReport) -> str:
    """Whether it is safe to send it again, and because of what, in a sentence."""
    match arrival(report):
        case Arrival.ARRIVED:
            return "No: the carrier confirmed delivery, so it would arrive twice."
        case Arrival.POSSIBLE:
            return "Not certainly: it may have arrived, and nothing proves that it did not."
        case Arrival.NONE:
            if report.outcome is Outcome.SUPPRESSED or report.failure_class in _ABOUT_THE_NUMBER:
                return "It did not arrive, and would not now either: see the recipient's opt-outs."
            if report.outcome is Outcome.UNDELIVERED:
                return "Yes: Twilio says that it was not delivered."
            if report.failure_class is FailureClass.DUPLICATE:
                return "It was not sent, because another message had just brought the same content."
            return "Yes: it was never sent."
