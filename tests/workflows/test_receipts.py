"""What Twilio says, in any order: every permutation comes to the same."""

from itertools import permutations

import pytest

from signedfor.twilio.statuses import MessageStatus
from tests.workflows.fakes import sid
from workflows.receipts import Receipts

SAID = ["queued", "sending", "sent", "delivered"]


@pytest.mark.parametrize("order", list(permutations(SAID)))
def test_every_order_comes_to_delivered(order: tuple[str, ...]) -> None:
    """Ranks decide, not arrival; saying it all again changes nothing."""
    receipts = Receipts()
    for status in order:
        receipts.record(sid(), status, None)

    assert [False] * 4 == [receipts.record(sid(), status, None) for status in order]
    receipt = receipts.of(sid())
    assert receipt is not None
    assert MessageStatus.DELIVERED is receipt.status
    assert receipts.delivered() == receipt


@pytest.mark.parametrize("order", list(permutations(["queued", "sent", "undelivered"])))
def test_every_order_comes_to_undelivered(order: tuple[str, ...]) -> None:
    """The code that came with the final status stays with it."""
    receipts = Receipts()
    for status in order:
        receipts.record(sid(), status, 30006 if status == "undelivered" else None)

    receipt = receipts.of(sid())
    assert receipt is not None
    assert (MessageStatus.UNDELIVERED, 30006) == (receipt.status, receipt.error_code)


def test_the_first_final_word_stays() -> None:
    """Two final statuses that contradict each other have equal rank: the first holds."""
    receipts = Receipts()
    receipts.record(sid(), "undelivered", 30003)

    assert not receipts.record(sid(), "delivered", None)
    assert receipts.delivered() is None


def test_a_read_supersedes_delivered() -> None:
    """`read` ranks above every other final status."""
    receipts = Receipts()
    receipts.record(sid(), "delivered", None)

    assert receipts.record(sid(), "read", None)


def test_sids_are_kept_apart() -> None:
    """What is said of one Twilio message says nothing of another."""
    receipts = Receipts()
    receipts.record(sid(1), "undelivered", 30003)
    receipts.record(sid(2), "sent", None)

    assert receipts.of(sid(2)) != receipts.of(sid(1))
    assert receipts.of(sid(2)) == receipts.newest_besides({sid(1)})
    assert receipts.newest_besides({sid(1), sid(2)}) is None


def test_unknown_statuses_are_kept_once_and_bounded() -> None:
    """They are there for whoever looks; a flood of them is cut."""
    receipts = Receipts()
    for number in range(100):
        assert not receipts.record(sid(), f"new-{number % 50}", None)

    assert 10 == len(set(receipts.unknown_statuses)) == len(receipts.unknown_statuses)
    assert receipts.of(sid()) is None
