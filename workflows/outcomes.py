"""The outcomes of a message: each with its reason, and whether it calls for a dead letter."""

from dataclasses import dataclass

from signedfor.consent import Reason
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import DeliveryFailure
from signedfor.twilio import codes
from workflows.receipts import Receipt


@dataclass(frozen=True)
class Proceed:
    """The step succeeded; the next one follows."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The message has ended: how, and why."""

    outcome: Outcome
    reason: str
    failure_class: FailureClass | None = None
    error_code: int | None = None
    message_sid: str | None = None


@dataclass(frozen=True, kw_only=True)
class Escalated(Ended):
    """It ended in a way that an operator should see: a dead letter is opened."""

    failure_class: FailureClass


def delivered(receipt: Receipt) -> Ended:
    """A receipt says delivered."""
    return Ended(
        outcome=Outcome.DELIVERED,
        reason="The carrier confirmed delivery.",
        message_sid=receipt.message_sid,
    )


_SUPPRESSED_BECAUSE: dict[Reason, tuple[FailureClass | None, str]] = {
    Reason.OPTED_OUT: (FailureClass.RECIPIENT_OPTED_OUT, "The recipient has opted out."),
    Reason.UNDELIVERABLE: (
        FailureClass.RECIPIENT_UNREACHABLE,
        "The recipient is known to be undeliverable.",
    ),
    Reason.MANUAL: (None, "The recipient was suppressed by hand."),
    Reason.REVIEW: (None, "A message from the recipient that may be an opt-out awaits review."),
}


def suppressed(reason: Reason) -> Ended:
    """The recipient must not be sent to."""
    failure_class, text = _SUPPRESSED_BECAUSE[reason]
    return Ended(outcome=Outcome.SUPPRESSED, failure_class=failure_class, reason=text)


def no_opt_in() -> Ended:
    """The category demands an opt-in, and there is none."""
    return Ended(
        outcome=Outcome.SUPPRESSED,
        reason="The recipient has not opted in to messages of this category.",
    )


def expired(*, after: FailureClass | None = None, error_code: int | None = None) -> Ended:
    """Its time passed; escalated if attempts had failed before."""
    reason = "It expired before it could be submitted."
    if after is None:
        return Ended(outcome=Outcome.EXPIRED, reason=reason, error_code=error_code)
    return Escalated(
        outcome=Outcome.EXPIRED, reason=reason, failure_class=after, error_code=error_code
    )


def canceled(*, error_code: int | None = None) -> Ended:
    """It was canceled before it was submitted, or submitted again after a failure."""
    tried = "tried again" if error_code else "submitted"
    return Ended(
        outcome=Outcome.CANCELED,
        error_code=error_code,
        reason=f"It was canceled before it was {tried}.",
    )


def refused(failure_class: FailureClass, error_code: int | None) -> Ended:
    """Twilio refused it, or the retry budget ended."""
    why = codes.meaning_for(failure_class, error_code)
    if failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        why = f"It could not be submitted within its retry budget. {why}"
    return Escalated(
        outcome=Outcome.FAILED,
        failure_class=failure_class,
        error_code=error_code,
        reason=why,
    )


def limit_reached(rule: str) -> Ended:
    """A limit left no place for it, and it has waited for a whole window."""
    return Escalated(
        outcome=Outcome.FAILED,
        failure_class=FailureClass.LIMIT_REACHED,
        reason=f"The limit {rule} left no place for it within a whole window; it was not sent.",
    )


def duplicate(of: str) -> Ended:
    """Another message with the same content was sent to the person shortly before."""
    return Escalated(
        outcome=Outcome.FAILED,
        failure_class=FailureClass.DUPLICATE,
        reason=f"The same content had just been sent to the same person, by message {of}.",
    )


def unknown(*, resends: int = 0, was_canceled: bool = False) -> Ended:
    """Twilio may have it, and that could not be resolved."""
    reason = "It is not known whether Twilio accepted it, so it was not sent again."
    if was_canceled:
        reason = "It was canceled while it was not known whether Twilio had accepted it."
    if resends:
        times = "once" if resends == 1 else f"{resends} times"
        reason = (
            f"{'It was canceled after it' if was_canceled else 'It'} had been sent again {times}. "
            f"Twilio confirmed none of the {resends + 1} submissions, and the recipient may have "
            "any or all of them."
        )
    return Escalated(
        outcome=Outcome.UNCONFIRMED,
        failure_class=FailureClass.OUTCOME_UNKNOWN,
        reason=reason,
    )


def no_receipt(message_sid: str) -> Ended:
    """The receipt timeout passed."""
    return Escalated(
        outcome=Outcome.UNCONFIRMED,
        failure_class=FailureClass.NO_RECEIPT,
        reason="Twilio accepted it, but no receipt came in time.",
        message_sid=message_sid,
    )


def canceled_at_twilio(message_sid: str) -> Ended:
    """A receipt says canceled."""
    return Ended(
        outcome=Outcome.CANCELED,
        reason="Twilio says that it was canceled there.",
        message_sid=message_sid,
    )


def not_delivered(receipt: Receipt, failure: DeliveryFailure) -> Ended:
    """A receipt says undelivered or failed."""
    return Escalated(
        outcome=Outcome.UNDELIVERED,
        failure_class=failure.failure_class,
        error_code=receipt.error_code,
        reason=failure.meaning,
        message_sid=receipt.message_sid,
    )
