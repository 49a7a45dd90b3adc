"""The worker's own metrics, besides those of the Temporal SDK."""

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
