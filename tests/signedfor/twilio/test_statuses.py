from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.twilio.statuses import MessageStatus, is_receipt, parse_status, rank, supersedes

# The enum of Twilio's OpenAPI document for the Message resource.
TWILIO_STATUSES = {
    "queued",
    "sending",
    "sent",
    "failed",
    "delivered",
    "undelivered",
    "receiving",
    "received",
    "accepted",
    "scheduled",
    "read",
    "partially_delivered",
    "canceled",
}

statuses = st.sampled_from(MessageStatus)


def test_our_statuses_are_twilios() -> None:
    """None is missing or added."""
    assert {status.value for status in MessageStatus} == TWILIO_STATUSES


@pytest.mark.parametrize("raw", sorted(TWILIO_STATUSES))
def test_a_known_status_is_parsed(raw: str) -> None:
    """The names are Twilio's."""
    assert MessageStatus(raw) is parse_status(raw)


@pytest.mark.parametrize("raw", ["", "exploded", "Delivered", " delivered", "delivered\n"])
def test_an_unknown_status_is_none(raw: str) -> None:
    """Twilio may add statuses; they raise no error."""
    assert parse_status(raw) is None


@pytest.mark.parametrize(
    ("earlier", "later"),
    list(pairwise(["scheduled", "accepted", "queued", "sending", "sent", "delivered", "read"])),
)
def test_a_later_status_supersedes_an_earlier_one(earlier: str, later: str) -> None:
    """It is never the other way around."""
    first, second = MessageStatus(earlier), MessageStatus(later)

    assert supersedes(second, first)
    assert not supersedes(first, second)


def test_the_receipts_are_the_final_statuses() -> None:
    """Only `read` supersedes a final status."""
    receipts = {status for status in MessageStatus if is_receipt(status)}

    assert {"delivered", "undelivered", "failed", "canceled", "read"} == receipts
    assert {"read"} == {
        new for new, old in product(MessageStatus, receipts) if supersedes(new, old)
    }


def test_partially_delivered_means_no_more_than_sent() -> None:
    """The deprecated status is no receipt and does not supersede `sent`."""
    assert rank(MessageStatus.SENT) == rank(MessageStatus.PARTIALLY_DELIVERED)
    assert not is_receipt(MessageStatus.PARTIALLY_DELIVERED)


@given(statuses)
def test_the_first_status_is_used(status: MessageStatus) -> None:
    """Unless it belongs to an inbound message."""
    inbound = status in {MessageStatus.RECEIVING, MessageStatus.RECEIVED}

    assert supersedes(status, None) is not inbound


@given(st.lists(statuses, min_size=1), st.randoms(use_true_random=False))
def test_the_final_rank_does_not_depend_on_the_order_of_callbacks(
    callbacks: list[MessageStatus], random: Random
) -> None:
    """Callbacks in any order, or repeated, lead to the same rank."""

    def final_rank(order: list[MessageStatus]) -> int:
        known = None
        for status in order:
            known = status if supersedes(status, known) else known
        return -1 if known is None else rank(known)

    shuffled = callbacks * 2
    random.shuffle(shuffled)

    assert final_rank(callbacks) == final_rank(shuffled)
