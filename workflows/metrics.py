"""The metrics of workflows, through Temporal's meter: a replay counts nothing again.

A workflow task that is executed again because its result was lost does; no metric of a workflow can
be more exact than that.
"""

from datetime import datetime

from temporalio import workflow

from signedfor import metric_labels
from signedfor.contract import DeadLetterOutcome
from signedfor.contract.failures import FailureClass
from signedfor.metric_labels import NONE
from signedfor.metrics import (
    DEAD_LETTERS_CLOSED,
    DEAD_LETTERS_OPENED,
    OUTCOMES,
    RECEIPT_DELAY,
    RECEIPTS_OVERDUE,
)
from workflows.outcomes import Ended
from workflows.receipts import Receipt


def count_outcome(ended: Ended, sender: str | None) -> None:
    """A message has ended."""
    workflow.metric_meter().create_counter(OUTCOMES, "Messages that have ended").add(
        1,
        {
            "outcome": ended.outcome.value,
            "failure_class": _class(ended.failure_class),
            "sender_kind": metric_labels.sender_kind(sender),
        },
    )


def record_receipt(receipt: Receipt, sender: str | None, *, submitted_at: datetime) -> None:
    """The final status of a submission is known."""
    seconds = max(0.0, (workflow.now() - submitted_at).total_seconds())
    workflow.metric_meter().create_histogram_float(
        RECEIPT_DELAY, "From Twilio's answer to the final status"
    ).record(
        seconds,
        {"status": receipt.status.value, "sender_kind": metric_labels.sender_kind(sender)},
    )


def count_overdue_receipt(sender: str | None) -> None:
    """Twilio is asked for the first time for the status of a submission."""
    workflow.metric_meter().create_counter(
        RECEIPTS_OVERDUE, "Submissions without a final status when Twilio was first asked for it"
    ).add(1, {"sender_kind": metric_labels.sender_kind(sender)})


def count_opened(failure_class: FailureClass | None) -> None:
    """A dead letter is opened."""
    workflow.metric_meter().create_counter(DEAD_LETTERS_OPENED, "Dead letters").add(
        1, {"failure_class": _class(failure_class)}
    )


def count_closed(outcome: DeadLetterOutcome, failure_class: FailureClass | None) -> None:
    """A dead letter is closed."""
    workflow.metric_meter().create_counter(DEAD_LETTERS_CLOSED, "Dead letters closed").add(
        1,
        {"outcome": outcome.value, "failure_class": _class(failure_class)},
    )


def _class(failure_class: FailureClass | None) -> str:
    return NONE if failure_class is None else failure_class.value
