"""Receipts: statuses in any order lead to the same result."""

from itertools import permutations

import pytest

from signedfor.twilio.statuses import MessageStatus
from tests.workflows.fakes import sid
from workflows.receipts import Receipts

STATUSES = ["queued", "sending", "sent", "delivered"]


@pytest.mark.parametrize("order", list(permutations(STATUSES)))
def test_statuses_in_any_order_lead_to_delivered(order: tuple[str, ...]) -> None:
    """The highest rank wins, not the last arrival; repeated statuses change nothing."""
    receipts = Receipts()
    for status in order:
        receipts.record(sid(), status, None)

    assert [False] * 4 == [receipts.record(sid(), status, None) for status in order]
    receipt = receipts.of(sid())
    assert receipt is not None
    assert MessageStatus.DELIVERED is receipt.status
    assert receipts.delivered() == receipt


@pytest.mark.parametrize("order", list(permutations(["queued", "sent", "undelivered"])))
def test_statuses_in_any_order_lead_to_undelivered(order: tuple[str, ...]) -> None:
    """The error code that came with the final status is kept."""
    receipts = Receipts()
    for status in order:
        receipts.record(sid(), status, 30006 if status == "undelivered" else None)

    receipt = receipts.of(sid())
    assert receipt is not None
    assert (MessageStatus.UNDELIVERED, 30006) == (receipt.status, receipt.error_code)


def test_the_first_of_two_contradicting_final_statuses_wins() -> None:
    """They have the same rank."""
    receipts = Receipts()
    receipts.record(sid(), "undelivered", 30003)

    assert not receipts.record(sid(), "delivered", None)
    assert receipts.delivered() is None


def test_read_supersedes_delivered() -> None:
    """`read` ranks above every other final status."""
    receipts = Receipts()
    receipts.record(sid(), "delivered", None)

    assert receipts.record(sid(), "read", None)


def test_each_sid_has_its_own_receipt() -> None:
    """A status of one Twilio message does not affect another."""
    receipts = Receipts()
    receipts.record(sid(1), "undelivered", 30003)
    receipts.record(sid(2), "sent", None)

    assert receipts.of(sid(2)) != receipts.of(sid(1))
    assert receipts.of(sid(2)) == receipts.newest_besides({sid(1)})
    assert receipts.newest_besides({sid(1), sid(2)}) is None


def test_unknown_statuses_are_deduplicated_and_limited() -> None:
    """Ten are kept; they count as no receipt."""
    receipts = Receipts()
    for number in range(100):
        assert not receipts.record(sid(), f"new-{number % 50}", None)

    assert 10 == len(set(receipts.unknown_statuses)) == len(receipts.unknown_statuses)
    assert receipts.of(sid()) is None
