"""Whether a message that has ended may be sent again."""

from datetime import UTC, datetime

import pytest

from signedfor.arrival import Arrival, arrival, sending_again
from signedfor.contract import MessageReport, Outcome
from signedfor.contract.failures import FailureClass


def _report(outcome: Outcome, failure_class: FailureClass | None = None) -> MessageReport:
    return MessageReport(
        message_id="m1",
        outcome=outcome,
        failure_class=failure_class,
        reason="-",
        attempts=1,
        segments=1,
        finished_at=datetime.now(UTC),
        tags={},
    )


@pytest.mark.parametrize(
    ("outcome", "failure_class", "expected", "begins"),
    [
        (Outcome.DELIVERED, None, Arrival.ARRIVED, "No"),
        (Outcome.UNCONFIRMED, FailureClass.NO_RECEIPT, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.UNDELIVERED, FailureClass.OUTCOME_UNKNOWN, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.UNDELIVERED, FailureClass.DELIVERY_FAILED, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.UNDELIVERED, FailureClass.CARRIER_FILTERED, Arrival.NONE, "Yes: Twilio says"),
        (Outcome.UNDELIVERED, FailureClass.RECIPIENT_UNREACHABLE, Arrival.NONE, "It did not"),
        (Outcome.FAILED, FailureClass.RECIPIENT_OPTED_OUT, Arrival.NONE, "It did not arrive"),
        (Outcome.FAILED, FailureClass.CONTENT_REJECTED, Arrival.NONE, "Yes: it was never sent"),
        (Outcome.FAILED, FailureClass.OUTCOME_UNKNOWN, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.EXPIRED, None, Arrival.NONE, "Yes: it was never sent"),
        (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN, Arrival.POSSIBLE, "Not certainly"),
        (Outcome.SUPPRESSED, None, Arrival.NONE, "It did not arrive"),
        (Outcome.CANCELED, None, Arrival.NONE, "Yes: it was never sent"),
    ],
)
def test_sending_again(
    outcome: Outcome, failure_class: FailureClass | None, expected: Arrival, begins: str
) -> None:
    """Safe only after what proves that it did not arrive."""
    report = _report(outcome, failure_class)

    assert expected is arrival(report)
    assert sending_again(report).startswith(begins)
