"""How a message can end, before it is written into its report."""

from dataclasses import dataclass

from signedfor.consent import Reason
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.twilio import codes
from signedfor.twilio.statuses import MessageStatus
from workflows.receipts import Receipt

_SUPPRESSED_BECAUSE = {
    Reason.OPTED_OUT: (FailureClass.RECIPIENT_OPTED_OUT, "The recipient has opted out."),
    Reason.UNDELIVERABLE: (
        FailureClass.RECIPIENT_UNREACHABLE,
        "The recipient is known to be undeliverable.",
    ),
    Reason.MANUAL: (None, "The recipient was suppressed by hand."),
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How and why a message ended, and whether that calls for a dead letter."""

    outcome: Outcome
    reason: str
    failure_class: FailureClass | None = None
    error_code: int | None = None
    message_sid: str | None = None
    letter: bool = False


def delivered(receipt: Receipt) -> Ending:
    """A receipt says delivered."""
    return Ending(
        outcome=Outcome.DELIVERED,
        reason="The carrier confirmed delivery.",
        message_sid=receipt.message_sid,
    )


def suppressed(reason: Reason | None) -> Ending:
    """The recipient must not be sent to."""
    failure_class, text = _SUPPRESSED_BECAUSE[reason or Reason.MANUAL]
    return Ending(outcome=Outcome.SUPPRESSED, failure_class=failure_class, reason=text)


def expired(*, after: FailureClass | None = None, error_code: int | None = None) -> Ending:
    """Its time passed. After failed attempts somebody should look why; otherwise it is as asked."""
    return Ending(
        outcome=Outcome.EXPIRED,
        reason="It expired before it could be submitted.",
        failure_class=after,
        error_code=error_code,
        letter=after is not None,
    )


def canceled(*, error_code: int | None = None) -> Ending:
    """Somebody canceled it in time: before it was submitted, or submitted anew after a failure."""
    tried = "tried again" if error_code else "submitted"
    return Ending(
        outcome=Outcome.CANCELED,
        error_code=error_code,
        reason=f"It was canceled before it was {tried}.",
    )


def refused(failure_class: FailureClass, error_code: int | None) -> Ending:
    """Twilio would not take it, or retries ran out."""
    why = codes.meaning_for(failure_class, error_code)
    if failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        why = f"It could not be submitted within its retry budget. {why}"
    return Ending(
        outcome=Outcome.FAILED,
        failure_class=failure_class,
        error_code=error_code,
        reason=why,
        letter=True,
    )


def unknown() -> Ending:
    """Twilio may or may not have it, and nothing said which."""
    return Ending(
        outcome=Outcome.UNCONFIRMED,
        failure_class=FailureClass.OUTCOME_UNKNOWN,
        reason="It is not known whether Twilio took it, so it was not sent again.",
        letter=True,
    )


def no_receipt(message_sid: str | None) -> Ending:
    """The receipt timeout passed."""
    return Ending(
        outcome=Outcome.UNCONFIRMED,
        failure_class=FailureClass.NO_RECEIPT,
        reason="Twilio took it, but no receipt came in time.",
        message_sid=message_sid,
        letter=True,
    )


def not_delivered(receipt: Receipt) -> Ending:
    """A receipt says undelivered, failed or canceled."""
    if receipt.status is MessageStatus.CANCELED:
        return Ending(
            outcome=Outcome.CANCELED,
            reason="Twilio says it was canceled there.",
            message_sid=receipt.message_sid,
        )
    failure_class = codes.classify_delivery(receipt.error_code)
    return Ending(
        outcome=Outcome.UNDELIVERED,
        failure_class=failure_class,
        error_code=receipt.error_code,
        reason=codes.meaning_for(failure_class, receipt.error_code),
        message_sid=receipt.message_sid,
        letter=True,
    )
