"""Names and buckets of the metrics that Temporal's meter publishes, and what all metrics share.

The names follow Prometheus: base units, and `_total` at the end of a counter, which the exporters
add.
"""

from typing import Final

CHECK_TO_POST: Final = "signedfor_check_to_post_seconds"
"""From the commit of the check to the POST's first byte: a STOP within this time comes too late."""

CHECK_TO_POST_BUCKETS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0),
)

CLOCK_OFFSET: Final = "signedfor_clock_offset_seconds"
"""How far the worker's clock is ahead of Temporal's or behind it."""

INBOUND_WAITING: Final = "signedfor_inbound_waiting"
"""Inbound messages that Temporal holds since the database was away; sends wait for them."""

OUTCOMES: Final = "signedfor_outcomes"
"""Messages that have ended, by outcome, failure class and sender kind."""

RECEIPT_DELAY: Final = "signedfor_receipt_delay_seconds"
"""From Twilio's answer to the final status, by status and sender kind."""

RECEIPT_DELAY_BUCKETS: Final = (
    *(0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    *(1800.0, 3600.0, 21_600.0, 86_400.0, 259_200.0),
)

RECEIPTS_OVERDUE: Final = "signedfor_receipts_overdue"
"""Submissions without a final status when Twilio was first asked for it, by sender kind."""

DEAD_LETTERS_OPENED: Final = "signedfor_dead_letters_opened"
"""Dead letters, by failure class."""

DEAD_LETTERS_CLOSED: Final = "signedfor_dead_letters_closed"
"""Dead letters that are closed, by outcome and failure class."""

LATENCY_BUCKETS: Final = (*(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),)
"""For requests and transactions: the longest timeouts of both are below 30 seconds."""

SDK_LATENCY_BUCKETS: Final = (*LATENCY_BUCKETS, 60.0, 300.0, 1800.0)
"""For the latencies of Temporal's SDK, some of which are those of a backlog."""

SDK_LATENCIES: Final = (
    "workflow_task_schedule_to_start_latency",
    "workflow_task_execution_latency",
    "activity_schedule_to_start_latency",
    "activity_execution_latency",
    "local_activity_execution_latency",
    "request_latency",
)
