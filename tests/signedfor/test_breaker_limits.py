"""What a message that has ended says of its sender."""

from datetime import UTC, datetime

import pytest

from signedfor.breaker_limits import SenderCounts, counts_of
from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass

_DELIVERED = SenderCounts(ended=1)
_FAILED = SenderCounts(ended=1, failed=1)
_FILTERED = SenderCounts(ended=1, failed=1, filtered=1)


def report(outcome: Outcome, failure_class: FailureClass | None = None) -> MessageReport:
    """A report of a message that has ended so."""
    return MessageReport(
        message_id="m1",
        outcome=outcome,
        failure_class=failure_class,
        reason="Because.",
        attempts=1,
        segments=1,
        finished_at=datetime.now(UTC),
        tags={},
    )


@pytest.mark.parametrize(
    ("outcome", "failure_class", "counts"),
    [
        (Outcome.DELIVERED, None, _DELIVERED),
        (Outcome.UNCONFIRMED, FailureClass.NO_RECEIPT, _DELIVERED),
        (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, _DELIVERED),
        (Outcome.UNDELIVERED, FailureClass.CARRIER_FILTERED, _FILTERED),
        (Outcome.FAILED, FailureClass.CARRIER_FILTERED, _FILTERED),
        (Outcome.UNDELIVERED, FailureClass.RECIPIENT_UNREACHABLE, _FAILED),
        (Outcome.UNDELIVERED, FailureClass.DELIVERY_DELAYED, _FAILED),
        (Outcome.FAILED, FailureClass.SENDER_MISCONFIGURED, _FAILED),
        (Outcome.FAILED, FailureClass.TEMPORARILY_UNAVAILABLE, None),
        (Outcome.FAILED, FailureClass.LIMIT_REACHED, None),
        (Outcome.FAILED, FailureClass.DUPLICATE, None),
        (Outcome.EXPIRED, FailureClass.TEMPORARILY_UNAVAILABLE, None),
        (Outcome.EXPIRED, None, None),
        (Outcome.CANCELED, None, None),
        (Outcome.SUPPRESSED, FailureClass.RECIPIENT_OPTED_OUT, None),
    ],
)
def test_what_counts(
    outcome: Outcome, failure_class: FailureClass | None, counts: SenderCounts | None
) -> None:
    """What Twilio took or refused; a failure only if it is the sender's or its messages'."""
    assert counts == counts_of(report(outcome, failure_class))
